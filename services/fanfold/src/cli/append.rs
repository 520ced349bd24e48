//! `append`: writes an attempt from JSON lines on standard input, each one thing said, such as `{"text":{"text":"Hello"}}`.

use std::process::ExitCode;

use anyhow::Context as _;
use fanfold_client::{AppendEnd, AppendError, Client};
use fanfold_wire::v1;
use tokio::io::AsyncBufReadExt as _;

use super::{AppendTo, Output, REFUSED, UNREACHABLE};

pub(super) async fn append(client: &Client, output: Output, append: AppendTo) -> anyhow::Result<ExitCode> {
    let run = match append.run {
        Some(run) => run,
        None => match next_run(client, &append.session).await? {
            Some(run) => run,
            None => {
                eprintln!("fanfold: no run of the session is waiting");
                return Ok(ExitCode::from(REFUSED));
            }
        },
    };
    let start = v1::AppendStart { session: append.session, run, worker: "cli".into(), ..v1::AppendStart::default() };
    let mut writing = match client.append(start).await {
        Ok(writing) => writing,
        Err(error) => return failed(&error),
    };
    let mut lines = tokio::io::BufReader::new(tokio::io::stdin()).lines();
    let mut number = 0;
    while let Some(line) = lines.next_line().await.context("standard input")? {
        number += 1;
        if line.trim().is_empty() {
            continue;
        }
        let said: v1::Said = serde_json::from_str(&line).with_context(|| format!("line {number}"))?;
        match writing.say(vec![said]).await {
            Ok(None) => {}
            Ok(Some(end)) => return over(output, &end),
            Err(error) => return failed(&error),
        }
    }
    match writing.finish().await {
        Ok(AppendEnd::Done) => {
            eprintln!("# {number} lines are durable");
            Ok(ExitCode::SUCCESS)
        }
        Ok(end) => over(output, &end),
        Err(error) => failed(&error),
    }
}

/// The run that comes next in the session.
async fn next_run(client: &Client, session: &str) -> anyhow::Result<Option<String>> {
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

fn failed(error: &AppendError) -> anyhow::Result<ExitCode> {
    eprintln!("fanfold: {error}");
    let unreachable = matches!(error, AppendError::Status(status) if status.details().is_empty());
    Ok(ExitCode::from(if unreachable { UNREACHABLE } else { REFUSED }))
}
