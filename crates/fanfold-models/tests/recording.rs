//! Recordings: what is tolerated in a file, and how the errors of a broken one read.

use std::error::Error;
use std::fs;

use fanfold_models::{DialectName, FILE_BYTES_MAX, FinishReason, LINE_BYTES_MAX, ModelEvent, Recording, RecordingError};

const TEXT: &str = r#"{"choices":[{"index":0,"delta":{"content":"Grüß"}}]}"#;
const STOP: &str = r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#;

fn open(content: impl AsRef<[u8]>) -> Result<Recording, RecordingError> {
    Recording::parse("answer.jsonl", content.as_ref())
}

fn text(recording: &Recording) -> String {
    recording.play().flatten().filter_map(|event| if let ModelEvent::Text(text) = event { Some(text) } else { None }).collect()
}

#[test]
fn tolerated() {
    let check = |content: String| {
        let recording = open(&content).unwrap_or_else(|error| panic!("{error}: {content}"));
        assert_eq!(recording.dialect(), DialectName::ChatCompletions);
        assert_eq!(text(&recording), "Grüß", "{content}");
        let pieces: Vec<Vec<ModelEvent>> = recording.play().collect();
        assert_eq!(pieces, [vec![ModelEvent::Text("Grüß".into())], vec![ModelEvent::Finished(FinishReason::Stop)]]);
    };
    check(format!("{TEXT}\n{STOP}"));
    check(format!("\n{TEXT}\r\n\r\n{STOP}\n\n"));
    check(format!("data: {TEXT}\n\ndata:{STOP}\n\ndata: [DONE]\n\n"));
    check(format!("\u{FEFF}: hello\nretry: 3\nevent: x\nid: 7\ndata: {TEXT}\n\n{STOP}\n[DONE]"));
    check(format!("{{\"unknown\":1}}\n{TEXT}\n{STOP}"));
}

#[test]
fn a_stream_that_breaks_off_plays_to_its_failure() {
    let recording = open(TEXT).expect("a recording");
    let last = recording.play().last().expect("a piece");
    assert!(
        matches!(&last[..], [ModelEvent::Failed(failure)] if failure.code == "stream_ended" && failure.retryable),
        "{last:?}"
    );
}

#[test]
fn broken_files_are_named_with_their_line() {
    let check = |content: &[u8], expected: &str| {
        let error = open(content).expect_err("broken");
        let said = error.to_string();
        assert!(said.starts_with(expected), "{said:?} begins with {expected:?}");
        let cause = error.source().map(ToString::to_string);
        assert!(cause.is_none_or(|cause| !said.contains(&cause)), "an error doesn't repeat its source: {said}");
    };
    let lines = |lines: &[&str]| lines.join("\n").into_bytes();
    check(&lines(&[TEXT, "", "{\"choices\":["]), "answer.jsonl:3: not JSON: EOF while parsing");
    check(&lines(&["not json"]), "answer.jsonl:1: not JSON: expected ident");
    check(&lines(&[TEXT, "[1]"]), "answer.jsonl:2: broken chunk");
    check(&lines(&["7"]), "answer.jsonl:1: broken chunk");
    check(&lines(&["", r#"{"a":1}"#, r#"{"b":1}"#]), "answer.jsonl:2: unknown format");
    check(&lines(&[TEXT, r#"{"type":"message_stop"}"#]), "answer.jsonl:2: messages in a recording of chat completions");
    check(b"", "answer.jsonl: no chunk in it");
    check(b"\n[DONE]\n", "answer.jsonl: no chunk in it");
    check(b"{}\n\xFF\xFE\n", "answer.jsonl:2: not UTF-8");
    check(&lines(&[TEXT, &" ".repeat(LINE_BYTES_MAX + 1)]), "answer.jsonl:2: line longer than");
}

#[test]
fn limits_are_exact() {
    let padded = |bytes: usize| format!("{TEXT}{}\n{STOP}\n", " ".repeat(bytes - TEXT.len()));
    assert!(open(padded(LINE_BYTES_MAX)).is_ok());
    assert!(matches!(open(padded(LINE_BYTES_MAX + 1)), Err(RecordingError::LineTooLong { line: 1, .. })));
    let bytes = usize::try_from(FILE_BYTES_MAX).expect("an address space");
    let comments = format!("{}\n", ":".repeat((1 << 20) - 1)).repeat(bytes >> 20);
    assert!(matches!(open(&comments), Err(RecordingError::Empty { .. })));
    assert!(matches!(open(comments + "\n"), Err(RecordingError::FileTooLong { .. })));
}

#[test]
fn errors_alone_are_a_recording() {
    let check = |content: &str, dialect: DialectName, code: &str| {
        let recording = open(content).expect("a recording");
        assert_eq!(recording.dialect(), dialect, "{content}");
        let said: Vec<ModelEvent> = recording.play().flatten().collect();
        assert!(matches!(&said[..], [ModelEvent::Failed(failure)] if failure.code == code), "{said:?}");
    };
    check(r#"{"error":{"code":"x","message":"m"}}"#, DialectName::ChatCompletions, "x");
    check(r#"{"type":"error","error":{"type":"x_error","message":"m"}}"#, DialectName::Messages, "x_error");
    check(r#"{"type":"error","sequence_number":2,"code":"x","message":"m"}"#, DialectName::Responses, "x");
}

#[test]
fn files() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("answer.jsonl");
    fs::write(&path, format!("{TEXT}\n{STOP}\n")).expect("written");
    let recording = Recording::open(&path).expect("a recording");
    assert_eq!((text(&recording).as_str(), recording.path(), recording.ignored()), ("Grüß", path.as_path(), 0));
    for absent in [folder.path().join("absent.jsonl"), folder.path().to_owned()] {
        let error = Recording::open(&absent).expect_err("no file");
        assert_eq!(error.to_string(), format!("{}: can't be read", absent.display()));
        assert!(error.source().is_some(), "the system's reason is the source");
    }
}
