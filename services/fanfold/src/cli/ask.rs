//! `sessions`, `open`, `send`, `state`, `events`, `cancel`, `parked`, `unpark`: one request, one answer.

use std::process::ExitCode;

use fanfold_client::{Client, RequestError};
use fanfold_wire::grpc::Details;
use fanfold_wire::v1::command::Action;
use fanfold_wire::{ErrorCode, Outcome, Retry, v1};

use super::{Cancel, DeadLetters, EventsOf, Open, Output, REFUSED, SendText, SessionsOf, StateOf, UNKNOWN, UNREACHABLE};

use super::time::Time;
use crate::clock;

/// What to print, or why not.
type Done = anyhow::Result<ExitCode>;

/// Exit codes that scripts can tell apart.
pub(super) fn failed(error: RequestError) -> Done {
    eprintln!("fanfold: {error}");
    Ok(ExitCode::from(match &error {
        RequestError::Refused(status) => exit_code(Details::of(status).map(|details| details.code)),
        RequestError::Unreachable(_) => UNREACHABLE,
        RequestError::Unknown(_) => UNKNOWN,
    }))
}

/// Of what the node says.
pub(super) fn exit_code(said: Option<ErrorCode>) -> u8 {
    match said.map(ErrorCode::row) {
        Some(row) if row.outcome == Outcome::Unknown => UNKNOWN,
        Some(row) if matches!(row.retry, Retry::Later | Retry::Resume) => UNREACHABLE,
        Some(_) | None => REFUSED,
    }
}

pub(super) async fn sessions(client: &Client, output: Output, asked: SessionsOf) -> Done {
    let SessionsOf { user, since, until, query } = asked;
    let (since_ms, until_ms) = (since.map(|Time(at_ms)| at_ms), until.map(|Time(at_ms)| at_ms));
    let asked = v1::ListSessionsRequest { user, since_ms, until_ms, query, page: None, limit: 500 };
    let mut page = None;
    loop {
        let request = v1::ListSessionsRequest { page, ..asked.clone() };
        let reply = match client.list(request).await {
            Ok(reply) => reply,
            Err(error) => return failed(error),
        };
        for row in &reply.sessions {
            let title = row.title.as_deref().unwrap_or("-");
            output.line(row, || format!("{}\t{}\t{}\t{title}", row.session, row.status, row.active_at_ms))?;
        }
        match reply.next_page {
            Some(next) => page = Some(next),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

pub(super) async fn parked(client: &Client, output: Output) -> Done {
    let reply = match client.parked().await {
        Ok(reply) => reply,
        Err(error) => return failed(error),
    };
    for row in &reply.sessions {
        output.line(row, || format!("{}\t{}\t{}\t{}", row.session, row.attempts, row.parked_at_ms, row.reason))?;
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn unpark(client: &Client, session: &str) -> Done {
    match client.unpark(session).await {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) => failed(error),
    }
}

pub(super) async fn dead_letters(client: &Client, output: Output, what: Option<DeadLetters>) -> Done {
    let done = match what {
        None => return list_dead_letters(client, output).await,
        Some(DeadLetters::Show { session, run }) => client.dead_letter(v1::RunRef { session, run }).await.map(|letter| {
            output.line(&letter, || {
                let error = letter.details.as_ref().and_then(|run| run.error.as_ref()).map_or("", |error| &error.message);
                format!("{}\n{error}", letter_line(&letter))
            })
        }),
        Some(DeadLetters::Redrive { session, run }) => {
            client.redrive(v1::RunRef { session, run }).await.map(|run| output.line(&run, || run.clone()))
        }
    };
    match done {
        Ok(printed) => printed.map(|()| ExitCode::SUCCESS),
        Err(error) => failed(error),
    }
}

async fn list_dead_letters(client: &Client, output: Output) -> Done {
    let mut page = None;
    loop {
        let reply = match client.dead_letters(v1::ListDeadLettersRequest { page, limit: 500 }).await {
            Ok(reply) => reply,
            Err(error) => return failed(error),
        };
        for letter in &reply.letters {
            output.line(letter, || letter_line(letter))?;
        }
        match reply.next_page {
            Some(next) => page = Some(next),
            None => return Ok(ExitCode::SUCCESS),
        }
    }
}

fn letter_line(letter: &v1::DeadLetter) -> String {
    let v1::DeadLetter { session, run, reason, deliveries, buried_at_ms, .. } = letter;
    format!("{session}\t{run}\t{reason}\t{deliveries}\t{buried_at_ms}")
}

pub(super) async fn open(client: &Client, output: Output, open: Open) -> Done {
    let session = open.session.unwrap_or_else(|| clock::new_session().to_string());
    submit(client, output, session, Action::Open(v1::SessionOpened { title: open.title, user: None })).await
}

pub(super) async fn send(client: &Client, output: Output, send: SendText) -> Done {
    let part = v1::Part { part: Some(v1::part::Part::Text(v1::Text { text: send.text })) };
    let answer = (!send.no_answer).then(|| v1::Answer { interrupt: send.interrupt, ..v1::Answer::default() });
    let message = v1::Send { parts: vec![part], answer, role: v1::Role::User.into(), ..v1::Send::default() };
    submit(client, output, send.session, Action::Send(message)).await
}

pub(super) async fn cancel(client: &Client, output: Output, cancel: Cancel) -> Done {
    let action = Action::Cancel(v1::Cancel { run: cancel.run, reason: cancel.reason });
    submit(client, output, cancel.session, action).await
}

async fn submit(client: &Client, output: Output, session: String, action: Action) -> Done {
    let command = v1::Command { id: clock::new_command().to_string(), session, action: Some(action), ..v1::Command::default() };
    let receipt = match client.submit(command).await {
        Ok(receipt) => receipt,
        Err(error) => return failed(error),
    };
    output.line(&receipt, || {
        let ids = [&receipt.message, &receipt.run, &receipt.reply].map(String::as_str).join(" ");
        format!("{}\t{}\t{}", receipt.session, receipt.cursor, ids.trim())
    })?;
    if receipt.refusal.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("fanfold: refused: {}", receipt.refusal);
    Ok(ExitCode::from(REFUSED))
}

pub(super) async fn state(client: &Client, output: Output, state: StateOf) -> Done {
    let request = v1::GetStateRequest { session: state.session, at: state.at, at_least: None, window: state.window };
    match client.state(request).await {
        Ok(snapshot) => {
            print_state(output, &snapshot)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => failed(error),
    }
}

pub(super) fn print_state(output: Output, snapshot: &v1::Snapshot) -> anyhow::Result<()> {
    output.line(snapshot, || text_of(snapshot))
}

/// A conversation for people.
fn text_of(snapshot: &v1::Snapshot) -> String {
    let view = snapshot.view.clone().unwrap_or_default();
    let mut lines = vec![format!("offset {}", snapshot.offset)];
    for message in &view.messages {
        let run = view.runs.iter().find(|run| Some(&run.id) == message.run.as_ref());
        let status = run.map(|run| format!(" ({})", run.status().as_str_name())).unwrap_or_default();
        lines.push(format!("\n[{}]{status}", message.role().as_str_name()));
        lines.extend(message.parts.iter().map(part_text));
    }
    lines.join("\n")
}

fn part_text(part: &v1::Part) -> String {
    use v1::part::Part;
    match &part.part {
        Some(Part::Text(part)) => part.text.clone(),
        Some(Part::Reasoning(part)) => format!("(reasoning) {}", part.text),
        Some(Part::ToolCall(call)) => {
            format!("(tool) {}({}) {}", call.name, call.arguments, call.result.as_deref().unwrap_or(""))
        }
        Some(Part::Citation(part)) => {
            format!("(source) {}", part.url.as_ref().or(part.title.as_ref()).or(part.source.as_ref()).map_or("", |text| text))
        }
        Some(Part::File(part)) => format!("(file) {}", part.url),
        Some(Part::Steering(part)) => format!("(steered) {}", part.text),
        Some(Part::Step(_)) => "(step)".to_owned(),
        Some(Part::Sealed(_)) => "(sealed reasoning)".to_owned(),
        None => "(unknown)".to_owned(),
    }
}

pub(super) async fn events(client: &Client, output: Output, events: EventsOf) -> Done {
    let mut after = events.from;
    loop {
        let request = v1::ListEventsRequest { session: events.session.clone(), after, upto: events.to, limit: 1000 };
        let reply = match client.events(request).await {
            Ok(reply) => reply,
            Err(error) => return failed(error),
        };
        for record in &reply.records {
            after = record.offset;
            print_record(output, record)?;
        }
        if reply.end {
            return Ok(ExitCode::SUCCESS);
        }
    }
}

pub(super) fn print_record(output: Output, record: &v1::Record) -> anyhow::Result<()> {
    output.line(record, || {
        let events = record.events.iter().map(|event| serde_json::to_string(event).unwrap_or_default());
        format!("{}\t{}\t{}", record.offset, record.by.as_deref().unwrap_or("-"), events.collect::<Vec<_>>().join(" "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_work_later_and_what_may_have_been_done_have_codes_of_their_own() {
        let rows = [
            (Some(ErrorCode::SessionClosed), REFUSED),
            (Some(ErrorCode::PermissionDenied), REFUSED),
            (Some(ErrorCode::Busy), UNREACHABLE),
            (Some(ErrorCode::Draining), UNREACHABLE),
            (Some(ErrorCode::UnknownOutcome), UNKNOWN),
            (Some(ErrorCode::Internal), UNKNOWN),
            (None, REFUSED),
        ];
        for (said, code) in rows {
            assert_eq!(exit_code(said), code, "{said:?}");
        }
    }
}
