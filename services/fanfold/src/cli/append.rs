//! `append`: writes an attempt from JSON lines on standard input, each one thing said, such as `{"text":{"text":"Hello"}}`.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use fanfold_client::{AppendEnd, AppendError, Client, RequestError};
use fanfold_wire::{ErrorCode, v1};
use tokio::io::AsyncBufReadExt as _;
use tokio::time::Instant;

use super::{AppendTo, Output, REFUSED, UNKNOWN, ask};

/// Between two words on how far it is.
const TELL_EVERY: Duration = Duration::from_secs(5);

pub(super) async fn append(client: &Client, output: Output, append: AppendTo) -> anyhow::Result<ExitCode> {
    let run = match append.run {
        Some(run) => run,
        None => match next_run(client, &append.session).await {
            Ok(Some(run)) => run,
            Err(error) => return ask::failed(error),
            Ok(None) => {
                eprintln!("fanfold: no run of the session is waiting");
                return Ok(ExitCode::from(REFUSED));
            }
        },
    };
    let start = v1::AppendStart { session: append.session, run, worker: "cli".into(), ..v1::AppendStart::default() };
    let mut writing = match client.append(start).await {
        Ok(writing) => writing,
        Err(error) => return failed(error),
    };
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let (mut number, mut told) = (0, Instant::now());
    while let Some(line) = lines.next_line().await.context("standard input")? {
        number += 1;
        if line.trim().is_empty() {
            continue;
        }
        let said: v1::Said = serde_json::from_str(&line).with_context(|| format!("line {number}"))?;
        match writing.say(vec![said]).await {
            Ok(None) if told.elapsed() >= TELL_EVERY => {
                told = Instant::now();
                eprintln!("# {number} lines, of which {} are durable", writing.acked());
            }
            Ok(None) => {}
            Ok(Some(end)) => return over(output, &end),
            Err(error) => return failed(error),
        }
    }
    let attempt = writing.attempt().to_owned();
    match writing.finish().await {
        Ok(AppendEnd::Done) => {
            let done = serde_json::json!({ "attempt": attempt, "lines": number });
            output.line(&done, || format!("{number} lines are durable"))?;
            Ok(ExitCode::SUCCESS)
        }
        Ok(end) => over(output, &end),
        Err(error) => failed(error),
    }
}

/// The run that comes next in the session.
async fn next_run(client: &Client, session: &str) -> Result<Option<String>, RequestError> {
    let request = v1::GetStateRequest { session: session.to_owned(), ..v1::GetStateRequest::default() };
    let snapshot = client.state(request).await?;
    let runs = snapshot.view.unwrap_or_default().runs;
    Ok(runs.into_iter().find(|run| run.status() == v1::RunStatus::Queued).map(|run| run.id))
}

fn over(output: Output, end: &AppendEnd) -> anyhow::Result<ExitCode> {
    if let AppendEnd::Over(run) = end {
        output.line(&**run, || format!("run {} is {}", run.id, run.status().as_str_name()))?;
    }
    Ok(ExitCode::from(REFUSED))
}

fn failed(error: AppendError) -> anyhow::Result<ExitCode> {
    let code = match error {
        AppendError::Status(status) => return ask::failed(RequestError::from(*status)),
        AppendError::Refused(ref refused) => ask::exit_code(ErrorCode::from_name(&refused.code)),
        AppendError::Ended => UNKNOWN,
    };
    eprintln!("fanfold: {error}");
    Ok(ExitCode::from(code))
}
