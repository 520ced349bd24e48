//! `erase`: removes a session for good, and says how far that is.

use std::io::{BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use fanfold_client::Client;
use fanfold_wire::v1;
use tokio::time::Instant;

use super::ask::failed;
use super::{EraseSession, Output};

/// Between two looks at how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How long it is looked for after what can be read to be gone.
const REMOVED_WITHIN: Duration = Duration::from_secs(60);

pub(super) async fn erase(client: &Client, output: Output, erase: EraseSession) -> anyhow::Result<ExitCode> {
    let EraseSession { session, yes, wait } = erase;
    if !yes && !agreed(&session)? {
        eprintln!("fanfold: nothing was erased. To erase without being asked: --yes");
        return Ok(ExitCode::FAILURE);
    }
    let begun = Instant::now();
    let mut told = v1::ErasureStage::Unspecified;
    loop {
        let reply = match client.erase(&session).await {
            Ok(reply) => reply,
            Err(error) => return failed(error),
        };
        let stage = reply.stage();
        if stage != told {
            output.line(&reply, || format!("{session}: {}", sentence(stage)))?;
            told = stage;
        }
        match stage {
            v1::ErasureStage::Done => return Ok(ExitCode::SUCCESS),
            v1::ErasureStage::Removed if !wait => return Ok(ExitCode::SUCCESS),
            v1::ErasureStage::Removed => {}
            v1::ErasureStage::Erased | v1::ErasureStage::Unspecified if begun.elapsed() < REMOVED_WITHIN => {}
            v1::ErasureStage::Erased | v1::ErasureStage::Unspecified => {
                eprintln!("fanfold: it is erased, and the nodes have not removed it yet: their log or their store may be away");
                return Ok(ExitCode::FAILURE);
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn sentence(stage: v1::ErasureStage) -> &'static str {
    match stage {
        v1::ErasureStage::Unspecified => "in a stage that this version doesn't know",
        v1::ErasureStage::Erased => "erased: readers are told, and it is being removed",
        v1::ErasureStage::Removed => "removed: nothing of it can be read; writes that were on their way are waited for",
        v1::ErasureStage::Done => "done",
    }
}

/// Asks a person. Where there is none, the answer is no.
fn agreed(session: &str) -> std::io::Result<bool> {
    let input = std::io::stdin();
    if !input.is_terminal() {
        return Ok(false);
    }
    eprint!("Erase {session} for good, for everybody? Its id stays taken. Type its id to go on: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    input.lock().read_line(&mut answer)?;
    Ok(answer.trim() == session)
}
