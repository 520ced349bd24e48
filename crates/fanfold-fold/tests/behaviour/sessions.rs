//! A session: opened, titled, closed, erased; its messages as a tree and how they are shown.

use fanfold_fold::{Action, Command, Merger, Op, Part, Role, SessionOpened, State, Verdict, View};

use crate::script::*;

#[test]
fn a_session_is_opened_once_and_closed_for_good() {
    check("open => Applied\nopen => Refused(SessionExists)\nopen + open => Refused(SessionExists)", "Open");
    check("title x => Refused(SessionNotFound)\nopen + title x\ntitle y", "Open y");
    check("open + open => Refused(SessionExists)", "Absent");
    check("open + close so => Applied\ntitle x => Refused(SessionClosed)\nclose => Refused(SessionClosed)", "Closed(\"so\")");
    check("open\nclose + title x => Refused(SessionClosed)\nclose + msg m - x => Refused(SessionClosed)", "Open");
    check(&format!("{ASKED}close"), "Closed(\"\")\nm1 <- hi\na1 <m1\nr1 Cancelled - 0/2");
    check(&format!("{STARTED}close + cancel r1 => Refused(RunEnded)"), "Open\nm1 <- hi\na1 <m1\nr1 Running t1 1/2");
}

#[test]
fn the_first_words_of_a_person_are_the_title_unless_there_is_one() {
    let title = |opened: Option<&str>, roles_and_texts: &[(Role, &str)]| {
        let mut state = State::default();
        let open = SessionOpened { title: opened.map(str::to_owned), user: None };
        let actions = roles_and_texts.iter().map(|(role, text)| {
            let (parent, parts) = (Default::default(), vec![Part::text(*text)]);
            Action::Send(fanfold_fold::Send {
                message: id(&format!("m{}", text.len())),
                parent,
                role: *role,
                parts,
                answer: None,
            })
        });
        for (number, action) in std::iter::once(Action::Open(open)).chain(actions).enumerate() {
            let command = Command { id: id(&format!("c{number}")), at_ms: 0, by: None, action };
            let record = state.decide(&command).unwrap();
            assert_eq!(state.apply(&record).0, Verdict::Applied);
        }
        state.view().session.title.clone()
    };
    fn user(text: &str) -> (Role, &str) {
        (Role::User, text)
    }
    assert_eq!(title(None, &[user("  What is\n a log? ")]).as_deref(), Some("What is a log?"));
    assert_eq!(title(None, &[(Role::System, "Be brief."), user("Hello"), user("And more")]).as_deref(), Some("Hello"));
    assert_eq!(title(Some("Mine"), &[user("Hello")]).as_deref(), Some("Mine"));
    assert_eq!(title(None, &[user(" \n "), user("Later")]), None, "it said nothing, and was the first");
    let long = title(None, &[user(&"words and ".repeat(20))]).unwrap();
    assert!(long.ends_with("words and…") && long.chars().count() <= 61, "{long:?}");
    assert_eq!(title(None, &[user(&"é".repeat(100))]), Some("é".repeat(60) + "…"));
}

#[test]
fn a_title_that_a_person_gave_stays() {
    check("open\ntitle? words\ntitle? better\ntitle mine\ntitle? worse => Applied", "Open mine");
    check("open + title mine\ntitle? worse\ntitle yours", "Open yours");
}

#[test]
fn an_erased_session_is_nothing_but_erased() {
    check(
        &format!("{STARTED}custom k v\nerase\nopen => Refused(SessionErased)\nout t1 1 text:x => Refused(Fenced)\n???"),
        "Erased",
    );
    check("erase => Refused(SessionNotFound)\nopen\nerase + title x => Refused(Limit)", "Open");
}

#[test]
fn edits_and_further_answers_are_siblings() {
    check(
        "open\nmsg m1 - hi\nask r1 m1 a1\ncancel r1\nask r2 m1 a2\nmsg m2 - hello\nmsg m1 - x => Refused(MessageExists)
         msg m3 m9 x => Refused(MessageNotFound)\nmsg m4 m4 x => Refused(MessageNotFound)\nmsg m5 - a + msg m6 m5 b
         ask r2 m1 a9 => Refused(RunExists)\nask r3 m1 m1 => Refused(MessageExists)\nask r3 m9 a9 => Refused(MessageNotFound)",
        "Open\nm1 <- hi\na1 <m1\na2 <m1\nm2 <- hello\nm5 <- a\nm6 <m5 b\nr1 Cancelled - 0/3\nr2 Queued - 0/3",
    );
}

#[test]
fn the_newest_custom_event_of_a_kind_wins() {
    check("open\ncustom k old\ncustom a x\ncustom k new + custom k newer", "Open\na=x\nk=newer");
}

#[test]
fn a_command_is_remembered_with_its_verdict() {
    check(
        "#c1 open\n#c1 open => Repeated(Applied)\n#c2 open => Refused(SessionExists)\n#c2 title x => Repeated(Refused(SessionExists))
         #c3 msg m - hi + ask r m9 a => Refused(MessageNotFound)\n#c4 ???\n#c4 title x => Repeated(Applied)",
        "Open",
    );
}

#[test]
fn a_branch_leads_from_the_root_to_its_leaf() {
    let state = state_of("open\nmsg m1 - a\nmsg m2 m1 b\nmsg m3 m1 c\nmsg m4 m2 d");
    let branch = |leaf| state.view().branch(&id(leaf)).iter().map(|message| message.id.as_str()).collect::<Vec<_>>().join(" ");
    assert_eq!([branch("m4"), branch("m3"), branch("m9")], ["m1 m2 m4", "m1 m3", ""]);
    // A view from elsewhere may go in circles.
    let circle =
        r#"{"messages": [{"id": "a", "parent": "a", "role": "user", "author": null, "at_ms": 0, "run": null, "parts": []}]}"#;
    let view: View = serde_json::from_str(circle).unwrap();
    assert_eq!(view.branch(&id("a")).len(), 1);
}

#[test]
fn a_window_shows_the_newest_messages_and_what_writes_them() {
    let state = state_of("open\nmsg m1 - a\nask r1 m1 a1\ncancel r1\nask r2 m1 a2\nmsg m2 - b\nmsg m3 - c\ncustom k v");
    let window = |max| {
        let (view, older) = state.view().window(max);
        (told(&view).lines().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>().join(" "), older)
    };
    assert_eq!(window(2), ("Open m2 m3 r2 k=v".into(), 3));
    assert_eq!(window(0), ("Open r2 k=v".into(), 5));
    assert_eq!(window(4), ("Open a1 a2 m2 m3 r1 r2 k=v".into(), 1));
    assert_eq!(window(100).1, 0);
}

#[test]
fn merged_deltas_say_each_thing_once() {
    let merged = |script: &str| {
        let (mut state, mut merger) = (state_of(STARTED), Merger::default());
        lines(script).for_each(|line| merger.push(state.apply(&record(line)).1));
        let kinds = merger.finish().ops.into_iter().map(|op| match op {
            Op::SessionChanged(_) => "session".to_owned(),
            Op::MessageAdded(message) => format!("added {}", message.parts.iter().map(part).collect::<Vec<_>>().join("|")),
            Op::MessageReset { .. } => "reset".into(),
            Op::PartAppended { text, .. } => format!("append {text}"),
            Op::PartSet { value, .. } => format!("set {}", part(&value)),
            Op::ToolCallChanged { .. } => "tool".into(),
            Op::RunChanged(_) => "run".into(),
            Op::Custom { .. } => "custom".into(),
        });
        kinds.collect::<Vec<_>>().join(", ")
    };
    assert_eq!(merged("out t1 1 text:a\nout t1 2 text:b text:c usage:1\nout t1 5 usage:2 text:d"), "set abcd, run");
    assert_eq!(merged("out t1 1 text:a step text:b\nstart r1 t2\nout t2 1 text:c"), "reset, run, set c");
    assert_eq!(merged("out t1 1 call:c args:c:{\nout t1 3 args:c:} ready:c result:c:ok"), "set c{} Done ok");
    assert_eq!(
        merged("title a\nask r2 m1 a2\ncustom k a\nout t1 1 done\nstart r2 t2\nout t2 1 text:x\ncustom k b\ntitle b"),
        "session, added x, run, custom, run"
    );
    assert_eq!(merged("title a\ncustom k v\nout t1 1 text:a\nerase"), "session");
}

#[test]
fn a_damaged_snapshot_is_refused() {
    let mut state = state_of(STARTED);
    state.apply(&record("out t1 1 text:x"));
    let bytes = state.encode();
    assert_eq!(State::decode(&bytes).unwrap(), state);
    let text = bytes.windows(2).position(|pair| pair == [0xa1, b'x']).unwrap();
    let mut longer = bytes.clone();
    longer.splice(text..text + 2, [0xa2, b'x', b'y']);
    assert!(State::decode(&longer).is_err(), "its bytes are not counted");
    assert!(State::decode(&[&[2], &bytes[1..]].concat()).is_err());
}
