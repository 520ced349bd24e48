//! The transcript in `docs/protocol.md` is read, checked frame by frame, and applied as a client would.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "a test")]

use std::collections::BTreeSet;

use fanfold_fold::{Cursor, Part, SessionStatus, View};
use fanfold_wire::v1::client_frame::Frame as In;
use fanfold_wire::v1::server_frame::Frame as Out;
use fanfold_wire::{Format, convert, v1};
use serde_json::Value;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/protocol.md");

/// What the transcript must show.
const SHOWN: [&str; 18] = [
    "hello",
    "welcome",
    "subscribe",
    "subscribed",
    "snapshot",
    "send",
    "receipt",
    "message_added",
    "run_changed",
    "part_set",
    "part_appended",
    "cut",
    "subscribe with a cursor",
    "resumed",
    "cancel",
    "cancelled",
    "ping",
    "closed",
];

/// The content of the one fenced block of this name.
fn block<'a>(document: &'a str, name: &str) -> &'a str {
    let (_, from) = document.split_once(&format!("\n```{name}\n")).unwrap_or_else(|| panic!("no block {name}"));
    from.split_once("\n```").unwrap_or_else(|| panic!("block {name} has no end")).0
}

/// A client that checks everything it is told.
#[derive(Default)]
struct Client {
    view: Option<View>,
    cursor: String,
    said_hello: bool,
    welcomed: bool,
    asked: BTreeSet<String>,
    snapshot_due: bool,
    commands: BTreeSet<String>,
    unanswered: BTreeSet<String>,
    shown: BTreeSet<&'static str>,
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// Whether everything that `part` says stands in `whole` too.
fn says(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(key, part)| whole.get(key).is_some_and(|whole| says(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| says(whole, part))
        }
        _ => whole == part,
    }
}

impl Client {
    fn line(&mut self, line: &str) -> Result<(), String> {
        match line.split_at_checked(2) {
            Some(("> ", json)) => self.sent(json),
            Some(("< ", json)) => self.received(json),
            Some(("# ", remark)) => {
                if remark.contains("cut") {
                    self.shown.insert("cut");
                    (self.said_hello, self.welcomed) = (false, false);
                }
                Ok(())
            }
            _ => Err("a line begins with '> ', '< ' or '# '".into()),
        }
    }

    fn sent(&mut self, json: &str) -> Result<(), String> {
        let documented: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let frame = Format::Json.decode(json.as_bytes()).map_err(|error| format!("{error:?}"))?;
        let mut ours = Vec::new();
        Format::Json.encode_client(&frame, &mut ours);
        let ours: Value = serde_json::from_slice(&ours).map_err(|error| error.to_string())?;
        // A client may leave out what has its default value; it may not say what the schema hasn't.
        ensure(says(&ours, &documented), || format!("the schema says {ours}"))?;
        let frame = frame.frame.ok_or("an empty frame")?;
        ensure(self.welcomed || matches!(frame, In::Hello(_)), || "hello comes first".into())?;
        match frame {
            In::Hello(_) => {
                self.said_hello = true;
                self.show("hello");
            }
            In::Subscribe(subscribe) => {
                self.show("subscribe");
                let held = self.view.is_some().then_some(self.cursor.as_str());
                ensure(subscribe.cursor.as_deref() == held, || format!("the client holds {held:?}"))?;
                if held.is_some() {
                    self.show("subscribe with a cursor");
                }
                self.asked.insert(subscribe.session);
            }
            In::Command(command) => {
                match command.action {
                    Some(v1::command::Action::Send(_)) => self.show("send"),
                    Some(v1::command::Action::Cancel(_)) => self.show("cancel"),
                    _ => {}
                }
                self.unanswered.insert(command.id);
            }
            In::Unsubscribe(_) | In::Presence(_) | In::Refresh(_) | In::Watch(_) | In::Unwatch(_) => {}
        }
        Ok(())
    }

    fn received(&mut self, json: &str) -> Result<(), String> {
        let documented: Value = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let frame = Format::Json.decode_server(json.as_bytes()).map_err(|error| format!("{error:?}"))?;
        let mut ours = Vec::new();
        Format::Json.encode(&frame, &mut ours);
        let ours: Value = serde_json::from_slice(&ours).map_err(|error| error.to_string())?;
        ensure(ours == documented, || format!("the node would send {ours}"))?;
        let frame = frame.frame.ok_or("an empty frame")?;
        ensure(!self.snapshot_due || matches!(frame, Out::Snapshot(_)), || "a snapshot follows at once".into())?;
        match frame {
            Out::Welcome(_) => {
                ensure(self.said_hello, || "nobody said hello".into())?;
                self.welcomed = true;
                self.show("welcome");
            }
            Out::Subscribed(subscribed) => return self.subscribed(&subscribed),
            Out::Snapshot(snapshot) => {
                self.snapshot_due = false;
                let view = View::try_from(snapshot.view.unwrap_or_default()).map_err(|error| error.to_string())?;
                ensure(self.cursor == snapshot.cursor, || format!("the client was told {}", self.cursor))?;
                self.view = Some(view);
                self.show("snapshot");
            }
            Out::Delta(delta) => return self.delta(delta),
            Out::Ping(ping) => {
                self.show("ping");
                let position = ping.positions.first().ok_or("a ping without a position")?;
                ensure(position.cursor == self.cursor, || format!("the client holds {}", self.cursor))?;
            }
            Out::Receipt(receipt) => {
                self.show("receipt");
                ensure(self.unanswered.remove(&receipt.command), || "nobody waits for this".into())?;
                let first = self.commands.insert(receipt.command.clone());
                let repeated = receipt.verdict() == v1::Verdict::Repeated;
                ensure(first != repeated, || format!("the first of its id: {first}"))?;
            }
            Out::Closed(closed) => {
                self.show("closed");
                ensure(closed.cursor == self.cursor, || format!("the client holds {}", self.cursor))?;
            }
            Out::CaughtUp(_) | Out::Error(_) | Out::Presence(_) | Out::Draining(_) | Out::SnapshotPart(_) | Out::Listed(_) => {}
        }
        Ok(())
    }

    fn subscribed(&mut self, subscribed: &v1::Subscribed) -> Result<(), String> {
        self.show("subscribed");
        ensure(self.asked.remove(&subscribed.session), || "nobody asked for it".into())?;
        offset_fits(&subscribed.cursor, subscribed.offset)?;
        ensure(subscribed.recovered == (subscribed.how() == v1::How::Resumed), || "recovered is not resumed".into())?;
        match subscribed.how() {
            v1::How::Resumed => {
                self.show("resumed");
                ensure(subscribed.cursor == self.cursor, || format!("the client holds {}", self.cursor))
            }
            v1::How::Fresh | v1::How::Snapshot => {
                self.snapshot_due = true;
                self.cursor.clone_from(&subscribed.cursor);
                Ok(())
            }
            v1::How::Unspecified => Err("how is missing".into()),
        }
    }

    fn delta(&mut self, delta: v1::Delta) -> Result<(), String> {
        ensure(delta.after == self.cursor, || format!("the client holds {}", self.cursor))?;
        offset_fits(&delta.cursor, delta.offset)?;
        for op in &delta.ops {
            match &op.op {
                Some(v1::op::Op::MessageAdded(_)) => self.show("message_added"),
                Some(v1::op::Op::PartSet(_)) => self.show("part_set"),
                Some(v1::op::Op::PartAppended(_)) => self.show("part_appended"),
                Some(v1::op::Op::RunChanged(run)) => {
                    self.show(if run.status() == v1::RunStatus::Cancelled { "cancelled" } else { "run_changed" });
                }
                _ => {}
            }
        }
        let ops = convert::delta(delta.ops).map_err(|error| error.to_string())?;
        let view = self.view.as_mut().ok_or("a delta before any snapshot")?;
        view.apply(&ops).map_err(|error| error.to_string())?;
        self.cursor = delta.cursor;
        Ok(())
    }

    fn show(&mut self, what: &'static str) {
        self.shown.insert(what);
    }
}

fn offset_fits(cursor: &str, offset: u64) -> Result<(), String> {
    let parsed: Cursor = cursor.parse().map_err(|_| format!("{cursor} is no cursor"))?;
    ensure(parsed.offset.0 == offset, || format!("{cursor} is of offset {}", parsed.offset))
}

/// Plays a transcript to its end: the newest message's text, if everything is as it must be.
fn play(transcript: &str) -> Result<String, String> {
    let mut client = Client::default();
    for (line, number) in transcript.lines().zip(1..) {
        client.line(line).map_err(|error| format!("line {number}: {error}: {line}"))?;
    }
    let missing: Vec<_> = SHOWN.iter().filter(|what| !client.shown.contains(*what)).collect();
    ensure(missing.is_empty(), || format!("the transcript doesn't show {missing:?}"))?;
    ensure(client.unanswered.is_empty(), || format!("no receipt for {:?}", client.unanswered))?;
    let view = client.view.ok_or("no state")?;
    ensure(matches!(view.session.status, SessionStatus::Closed(_)), || "it ends with a closed session".into())?;
    ensure(view.open_runs().next().is_none(), || "it ends without an open run".into())?;
    let last = view.messages.last().ok_or("no message")?;
    Ok(last.parts.iter().filter_map(Part::stream).collect())
}

#[test]
fn the_transcript_is_what_a_client_can_follow() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let text = play(block(&document, "transcript")).unwrap();
    let expected = block(&document, "final");
    assert_eq!(text, expected);
    assert!(document.contains(&format!("with this text of {} bytes", expected.len())), "{} bytes", expected.len());
}

/// The test above can fail: without any one of its lines, or with a number or a letter changed, the transcript is wrong.
#[test]
fn a_spoilt_transcript_is_noticed() {
    let document = std::fs::read_to_string(DOCUMENT).unwrap();
    let (transcript, expected) = (block(&document, "transcript"), block(&document, "final"));
    let lines: Vec<&str> = transcript.lines().collect();
    let remark = |line: &str| line.starts_with("# ") && !line.contains("cut");
    let mut unnoticed = Vec::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, line)| !remark(line)) {
        let mut without = lines.clone();
        without.remove(at);
        if play(&without.join("\n")).is_ok_and(|text| text == expected) {
            unnoticed.push(*line);
        }
    }
    assert_eq!(unnoticed, Vec::<&str>::new(), "lines that can be left out");
    for (from, to) in [
        (r#""at":12"#, r#""at":13"#),
        (r#""after":"A"#, r#""after":"B"#),
        (r#"" ist""#, r#"" war""#),
        ("RUN_STATUS_CANCELLED", "RUN_STATUS_RUNNING"),
        (r#""offset":"13""#, r#""offset":"14""#),
        ("HOW_RESUMED", "HOW_FRESH"),
        (r#""older_messages""#, r#""olderMessages""#),
        (r#""answer""#, r#""reply_wanted""#),
        ("VERDICT_REPEATED", "VERDICT_APPLIED"),
    ] {
        assert!(transcript.contains(from), "{from} is in it");
        let spoilt = transcript.replacen(from, to, 1);
        assert!(!play(&spoilt).is_ok_and(|text| text == expected), "{from} became {to}");
    }
}
