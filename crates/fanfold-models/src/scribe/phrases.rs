//! What the generator can say. Written for this project; any combination reads as one answer.

/// Said in thought, after the topic.
pub(super) const THOUGHTS: [&str; 3] = [
    "I have no knowledge of the world, only of the house I live in, so I will be open about that and explain how this very answer \
     travels. A short list, an example, then a summary. The reader may be on a phone, so: short sentences.",
    "I am a small generator without a network, so the honest thing is to talk about what I can see from here: the log that \
     these words are written to, and the readers at its other end. I'll keep it concrete and show one example.",
    "Let me think about what would help. I can't look anything up; what I do know is how these words reach the screen, and \
     that is worth knowing. First the idea, then the parts, then something to try out.",
];

/// The first paragraph.
pub(super) const OPENINGS: [&str; 3] = [
    "I'm the generator that is built into Fanfold, so take what follows as a demonstration rather than as advice. While you read, \
     each of these words is written to a log, folded into the state of this conversation, and only then shown to you. \
     Nothing reaches your screen that the log has not made durable first. ✅",
    "To be frank: I'm a modest text generator, not an oracle. 🙂 But I can tell you about the stage I stand on. Fanfold keeps every \
     conversation as a log of events, and what you see is that log, folded. That is why a reload in the middle of this \
     sentence costs you nothing.",
    "Here is what I can offer without a network: a walk through the machine that carries this answer. 🚶 It begins as events from a \
     worker, becomes durable in a log, turns into state in a fold, and ends as frames on your connection — the same ones \
     for everybody who reads along.",
];

/// The list's items.
pub(super) const POINTS: [(&str, &str); 8] = [
    (
        "The log",
        "every word is an event with its place in one order. Two readers can disagree about the time of day, never about that order.",
    ),
    (
        "The fold",
        "a pure function from events to state. No clock, no chance: the same events give the same bytes on every node, \
                  in Malmö as in São Paulo. 🌍",
    ),
    (
        "Resuming",
        "your browser remembers one short cursor. After a reload it shows the cursor, and gets exactly what it missed, déjà vu excluded.",
    ),
    ("Leaving", "closing the tab doesn't stop an answer. The run goes on, and you find it finished when you come back. ☕"),
    ("Cancelling", "a command in the log like any other; the first valid one wins, whoever sent it."),
    (
        "Slow readers",
        "whoever falls behind gets wider batches, then a merged change, then a snapshot. The quick ones never wait for them. 🐢",
    ),
    (
        "Endings",
        "each run has exactly one: completed, cancelled, failed or orphaned. A worker that dies can't leave a cursor blinking for ever.",
    ),
    (
        "Replay",
        "since the log is the truth, any moment of this conversation can be looked at again, step by step, for a bug’s sake or out of curiosity. 🔍",
    ),
];

/// The paragraph before the example.
pub(super) const ASIDES: [&str; 3] = [
    "If you want to see it at work, reload this page now, in the middle of the answer. The text continues where it stood, \
     without a gap and without a repetition. The idea fits into a few lines:",
    "The heart of it is smaller than one might think. Leave out the network and the disks, and what remains is roughly this:",
    "Try it: open a second window beside this one. Both follow the same log, so both show the same words; a naïve broadcast could \
     not promise that. In miniature:",
];

/// The examples: language and code.
pub(super) const EXAMPLES: [(&str, &str); 3] = [
    (
        "rust",
        "/// The whole truth of a session: events in, state out.\nfn fold(events: &[Event]) -> State {\n    \
         let mut state = State::default();\n    for event in events {\n        \
         state.apply(event); // never fails, never asks the clock ⏰\n    }\n    state\n}",
    ),
    (
        "javascript",
        "// A reader that survives everything but its own boredom 😴\nlet cursor = localStorage.cursor;\n\
         for await (const frame of session.subscribe({ cursor })) {\n  state = apply(state, frame);\n  \
         localStorage.cursor = frame.cursor; // « où j'en étais »\n}",
    ),
    (
        "text",
        "worker ──append──▶ log ──▶ fold ──▶ frames ──▶ 💻 you\n                    │                     └──▶ 📱 your phone\n                    \
         └──▶ archive (for the señora who asks in a year)",
    ),
];

/// The summary.
pub(super) const CLOSINGS: [&str; 3] = [
    "The log says what happened, the fold says what it means, and a cursor says how much of it you have seen. Everything else \
     is plumbing behind the façade: good plumbing, one hopes, but plumbing.",
    "Voilà: write first, show afterwards, and let everybody continue from where they were. Three rules, and most of the sorrows of a \
     streaming interface — lost words, doubled words, answers that never end — have no place left to live.",
    "An answer is not something that happens to a connection; it is something that stands in a log, and connections come and \
     go. Once that is settled, a café's bad Wi-Fi is merely a café's bad Wi-Fi.",
];

/// The last sentence.
pub(super) const QUESTIONS: [&str; 3] = [
    "Shall I go on? 🎐",
    "Ask me again, and I'll put it another way. ✨",
    "For a real answer, connect a real model: nothing else has to change. 🔌",
];
