//! `tail`: follows a session, comes back when the connection is lost, and prints each change.

use std::io::Write as _;
use std::process::ExitCode;

use fanfold_client::{Client, FollowError, FollowOptions, Start, Transport, Update};
use fanfold_wire::v1;
use fanfold_wire::v1::server_frame::Frame;

use super::{Output, REFUSED, Tail, UNREACHABLE, Via};

pub(super) async fn tail(client: &Client, output: Output, tail: Tail) -> anyhow::Result<ExitCode> {
    let transport = match tail.transport {
        Via::Ws => Transport::WebSocket,
        Via::Sse => Transport::Sse,
        Via::Grpc => Transport::Grpc,
    };
    let start = match tail.from.as_deref() {
        None => Start::Now,
        Some("start") => Start::Replay(0),
        Some(offset) => Start::Replay(offset.parse().map_err(|_| anyhow::anyhow!("--from takes `start` or an offset"))?),
    };
    let options = FollowOptions { transport, start, tries_max: tail.tries, ..FollowOptions::default() };
    let mut follow = client.follow(&tail.session, options)?;
    loop {
        match follow.next().await {
            Ok(Update::Changed { frame }) => {
                print(output, &frame)?;
                if tail.until_idle && follow.view().open_runs().next().is_none() && !follow.view().runs.is_empty() {
                    return Ok(ExitCode::SUCCESS);
                }
            }
            Ok(Update::Subscribed { how, reset }) => eprintln!("# {} {}", how.as_str_name(), reset_name(reset)),
            Ok(Update::Presence(presence)) => output.line(&presence, || format!("# {} present", presence.present.len()))?,
            Ok(Update::LogAway(true)) => eprintln!("# the node has lost its log; what it shows stands still"),
            Ok(Update::LogAway(false)) => eprintln!("# the node has its log again"),
            Ok(Update::Lost { why, after }) => eprintln!("# {why}; again in {} ms", after.as_millis()),
            Ok(Update::Closed(closed)) => {
                eprintln!("# {}: {}", closed.code, closed.reason);
                return Ok(ExitCode::SUCCESS);
            }
            Err(error @ FollowError::Refused { .. }) => {
                eprintln!("fanfold: {error}");
                return Ok(ExitCode::from(REFUSED));
            }
            Err(error @ FollowError::Unreachable(_)) => {
                eprintln!("fanfold: {error}");
                return Ok(ExitCode::from(UNREACHABLE));
            }
        }
    }
}

fn reset_name(reset: v1::ResetReason) -> &'static str {
    match reset {
        v1::ResetReason::Unspecified => "",
        other => other.as_str_name(),
    }
}

fn print(output: Output, frame: &Frame) -> anyhow::Result<()> {
    match (output, frame) {
        (Output::Json, frame) => {
            let line = serde_json::to_string(&v1::ServerFrame::from(frame.clone()))?;
            writeln!(std::io::stdout().lock(), "{line}")?;
        }
        (Output::Text, Frame::Delta(delta)) => {
            let mut out = std::io::stdout().lock();
            for op in &delta.ops {
                out.write_all(text(op).as_bytes())?;
            }
            out.flush()?;
        }
        (Output::Text, Frame::Snapshot(snapshot)) => {
            let messages = snapshot.view.as_ref().map_or(0, |view| view.messages.len());
            eprintln!("# snapshot at {} with {messages} messages", snapshot.offset);
        }
        (Output::Text, _) => {}
    }
    Ok(())
}

/// What a person wants to see of a change.
fn text(op: &v1::Op) -> String {
    use v1::op::Op;
    use v1::part::Part;
    let part = |part: &v1::Part| match &part.part {
        Some(Part::Text(part)) => part.text.clone(),
        Some(Part::Reasoning(part)) => format!("\n(reasoning) {}", part.text),
        Some(Part::ToolCall(call)) => format!("\n(tool) {} {}", call.name, call.arguments),
        Some(Part::Citation(_) | Part::File(_) | Part::Steering(_) | Part::Step(_) | Part::Sealed(_)) | None => String::new(),
    };
    match &op.op {
        Some(Op::PartAppended(op)) => op.text.clone(),
        Some(Op::PartSet(op)) => op.value.as_ref().map(part).unwrap_or_default(),
        Some(Op::MessageAdded(message)) => {
            let parts: String = message.parts.iter().map(part).collect();
            format!("\n[{}] {parts}", message.role().as_str_name())
        }
        Some(Op::RunChanged(run)) => format!("\n# run {}\n", run.status().as_str_name()),
        Some(Op::SessionChanged(_) | Op::MessageReset(_) | Op::ToolCallChanged(_) | Op::CustomSet(_)) | None => String::new(),
    }
}
