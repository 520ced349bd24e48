//! `state` and `events` without a node: from a folder that no node has open, or from the servers beside running nodes.

use std::process::ExitCode;

use anyhow::Context as _;
use fanfold_fold::Offset;

use super::ask::{print_record, print_state};
use super::{EventsOf, Output, REFUSED, StateOf};
use crate::edge;
use crate::moving::{Source, named};

/// Records read at a time.
const PAGE: usize = 1000;

pub(super) async fn state(output: Output, state: StateOf) -> anyhow::Result<ExitCode> {
    let source = Source::open(&state.place.load()?).await?;
    let key = named(&state.session).context("that is no session's name")?;
    let at = state.at.map_or(Offset(u64::MAX), Offset);
    let looked = source.sessions.look_at(&key, at, edge::window(state.window)).await?;
    if looked.offset == Offset::NONE && state.at.is_none() {
        eprintln!("fanfold: session {key} does not exist");
        return Ok(ExitCode::from(REFUSED));
    }
    print_state(output, &edge::snapshot(&key, &looked))?;
    source.log.close().await;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn events(output: Output, events: EventsOf) -> anyhow::Result<ExitCode> {
    let source = Source::open(&events.place.load()?).await?;
    let key = named(&events.session).context("that is no session's name")?;
    let (mut after, upto) = (Offset(events.from), events.to.map_or(Offset(u64::MAX), Offset));
    loop {
        let (records, end) = source.sessions.records(&key, after, PAGE).await?;
        for stored in &records {
            after = stored.offset;
            if after > upto {
                break;
            }
            print_record(output, &edge::record(stored))?;
        }
        if end || after >= upto {
            source.log.close().await;
            return Ok(ExitCode::SUCCESS);
        }
    }
}
