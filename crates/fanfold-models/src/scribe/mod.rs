//! A small model of our own, offline: it explains Fanfold in well-formed Markdown, and never says the same by chance.
//!
//! The same seed and prompt give the same answer, on every machine and in every build of one version.

mod phrases;

use self::phrases::{ASIDES, CLOSINGS, EXAMPLES, OPENINGS, POINTS, QUESTIONS, THOUGHTS};
use crate::{FinishReason, ModelEvent, Usage};

/// Points that an answer makes, of all there are.
const POINTS_MADE: usize = 4;

/// Characters of the prompt that are repeated in the answer.
const TOPIC_CHARS_MAX: usize = 60;

/// An answer, word by word: the model's name, some reasoning, a few hundred words, usage, [`FinishReason::Stop`].
#[derive(Debug, Clone)]
pub struct Scribe {
    said: std::vec::IntoIter<ModelEvent>,
}

impl Scribe {
    /// The name it gives itself.
    pub const NAME: &'static str = "scribe-1";

    /// Answers a prompt with seed 0.
    pub fn new(prompt: &str) -> Self {
        Self::seeded(prompt, 0)
    }

    /// Answers a prompt. Another seed gives another choice of words.
    pub fn seeded(prompt: &str, seed: u64) -> Self {
        let topic = topic(prompt);
        let mut dice = Dice::new(prompt, seed);
        let reasoning = reasoning(topic.as_deref(), &mut dice);
        let answer = answer(topic.as_deref(), &mut dice);
        let mut said = vec![ModelEvent::Model(Self::NAME.into())];
        said.extend(pieces(&reasoning).map(|piece| ModelEvent::Reasoning(piece.to_owned())));
        said.extend(pieces(&answer).map(|piece| ModelEvent::Text(piece.to_owned())));
        said.push(ModelEvent::Usage(Usage {
            input: pieces(prompt).count() as u64,
            output: (pieces(&reasoning).count() + pieces(&answer).count()) as u64,
            reasoning: pieces(&reasoning).count() as u64,
            cached_input: 0,
        }));
        said.push(ModelEvent::Finished(FinishReason::Stop));
        Self { said: said.into_iter() }
    }
}

impl Iterator for Scribe {
    type Item = ModelEvent;

    fn next(&mut self) -> Option<ModelEvent> {
        self.said.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.said.size_hint()
    }
}

impl ExactSizeIterator for Scribe {}

fn reasoning(topic: Option<&str>, dice: &mut Dice) -> String {
    let subject =
        topic.map_or_else(|| "Nothing in particular was asked.".to_owned(), |topic| format!("The question is about “{topic}”."));
    format!("{subject} {}", dice.pick(&THOUGHTS))
}

fn answer(topic: Option<&str>, dice: &mut Dice) -> String {
    let opening = dice.pick(&OPENINGS);
    let opening = match topic {
        Some(topic) => format!("You asked: *{topic}*\n\n{opening}"),
        None => format!("Hello! 👋\n\n{opening}"),
    };
    let (language, code) = dice.pick(&EXAMPLES);
    let points: String = dice.some(&POINTS, POINTS_MADE).map(|(name, point)| format!("- **{name}:** {point}\n")).collect();
    let aside = dice.pick(&ASIDES);
    let (closing, question) = (dice.pick(&CLOSINGS), dice.pick(&QUESTIONS));
    format!(
        "{opening}\n\n## What happens here\n\n{points}\n{aside}\n\n```{language}\n{code}\n```\n\n## In short\n\n{closing} {question}"
    )
}

/// What a prompt is about: its first line that says something, shortened at a word, free of marks that Markdown would act on.
fn topic(prompt: &str) -> Option<String> {
    let plain = |char: char| if char.is_control() || "*_`[]<>#|\\~".contains(char) { ' ' } else { char };
    let lines = prompt.lines().map(|line| line.chars().map(plain).collect::<String>());
    let words: Vec<String> = lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    let line = words.into_iter().find(|line| line.chars().any(char::is_alphanumeric))?;
    let Some((cut, _)) = line.char_indices().nth(TOPIC_CHARS_MAX) else { return Some(line) };
    let kept = &line[..cut];
    let end = kept.rfind(' ').unwrap_or(cut);
    Some(format!("{}…", &kept[..end]))
}

/// Cuts a text into pieces like tokens: a word with the space before it. Together they are the text.
fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let word = rest.find(|char: char| !char.is_whitespace()).unwrap_or(rest.len());
        let end = rest[word..].find(char::is_whitespace).map_or(rest.len(), |at| word + at);
        let (piece, after) = rest.split_at(end);
        rest = after;
        (!piece.is_empty()).then_some(piece)
    })
}

/// Choices that follow from seed and prompt alone (splitmix64; FNV-1a over the prompt).
struct Dice(u64);

impl Dice {
    fn new(prompt: &str, seed: u64) -> Self {
        let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3);
        Self(prompt.bytes().fold(0xCBF2_9CE4_8422_2325, hash) ^ seed.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// A number below a limit that isn't 0.
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ (mixed >> 31)) % limit as u64) as usize
    }

    fn pick<T: Copy, const N: usize>(&mut self, of: &[T; N]) -> T {
        of[self.below(N)]
    }

    /// Some of them, in their order.
    fn some<T: Copy, const N: usize>(&mut self, of: &[T; N], count: usize) -> impl Iterator<Item = T> + use<T, N> {
        let mut left: Vec<T> = of.to_vec();
        while left.len() > count {
            let out = self.below(left.len());
            left.remove(out);
        }
        left.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(prompt: &str, seed: u64) -> String {
        let text = |event| if let ModelEvent::Text(text) = event { Some(text) } else { None };
        Scribe::seeded(prompt, seed).filter_map(text).collect()
    }

    #[test]
    fn answers_are_whole_and_pleasant() {
        for seed in 0..200 {
            let events: Vec<ModelEvent> = Scribe::seeded("How does a reload work?", seed).collect();
            let (last, before) = events.split_last().expect("it says something");
            assert!(last.is_terminal() && !before.iter().any(ModelEvent::is_terminal), "one terminal event, at the end");
            let said = text("How does a reload work?", seed);
            assert!(said.contains("How does a reload work?"), "{said}");
            assert_eq!(said.matches("```").count(), 2, "{said}");
            assert_eq!(said.matches("\n- **").count(), POINTS_MADE, "{said}");
            assert!(said.chars().any(|char| char.len_utf8() == 2) && said.chars().any(|char| char.len_utf8() == 4), "{said}");
            assert!((200..700).contains(&events.len()), "{} events", events.len());
        }
    }

    #[test]
    fn the_same_question_gets_the_same_answer() {
        assert_eq!(text("Why?", 7), text("Why?", 7));
        assert_ne!(text("Why?", 7), text("Why?", 8));
        assert_ne!(text("Why not?", 7).split_once("\n\n"), text("Why?", 7).split_once("\n\n"));
    }

    #[test]
    fn topics_are_short_and_harmless() {
        let check = |prompt: &str, expected: Option<&str>| assert_eq!(topic(prompt).as_deref(), expected, "{prompt:?}");
        check("", None);
        check(" \n\t--\n", None);
        check("\n  What  is a *fold*?\nAnd more", Some("What is a fold ?"));
        check("```rust\nfn main() {}", Some("rust"));
        check(
            "Please explain at great length how all of the parts of this system fit together",
            Some("Please explain at great length how all of the parts of this…"),
        );
        check(&"ü".repeat(80), Some(&format!("{}…", "ü".repeat(60))));
    }

    #[test]
    fn pieces_are_the_text() {
        for text in ["", " ", "a", "  a b\n\nc ", "naïve 👋 ok\n"] {
            assert_eq!(pieces(text).collect::<String>(), text);
        }
    }
}
