//! All of a file, read and found whole before anything is done with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use fanfold_fold::{Offset, SessionKey};

use super::format::{Block, Decoder, Head, Header, Letter};

/// What a file says of itself, all of it read and found whole.
#[derive(Debug)]
pub(crate) struct Checked {
    pub(crate) header: Header,
    pub(crate) sessions: u64,
    pub(crate) records: u64,
    pub(crate) last: Offset,
    /// Sessions whose records in it don't count, and why.
    pub(crate) left_out: BTreeMap<SessionKey, String>,
    pub(crate) letters: Vec<Letter>,
}

pub(crate) fn decoder(path: &Path) -> anyhow::Result<Decoder<BufReader<File>>> {
    let file = File::open(path).with_context(|| format!("{} can't be opened", path.display()))?;
    Ok(Decoder::open(BufReader::new(file))?)
}

/// Reads all of a file, so that nothing is written of a damaged one. `each` hears of every whole session and its last offset.
pub(crate) fn verify(path: &Path, each: impl FnMut(&SessionKey, Offset)) -> anyhow::Result<Checked> {
    check(decoder(path)?, each)
}

/// Reads all of a file, so that nothing is opened or made for a damaged one.
pub(crate) fn verify_file(path: &Path) -> anyhow::Result<()> {
    verify(path, |_, _| {}).map(drop)
}

/// The same of bytes from wherever.
pub(crate) fn check<R: Read>(mut blocks: Decoder<R>, mut each: impl FnMut(&SessionKey, Offset)) -> anyhow::Result<Checked> {
    let Some(Block::Header(header)) = blocks.next()? else { return Err(blocks.damaged("it begins without a header").into()) };
    let (sessions, records, last) = (0, 0, Offset::NONE);
    let mut checked = Checked { header, sessions, records, last, left_out: BTreeMap::new(), letters: Vec::new() };
    let (mut session, mut upto, mut count) = (None, Offset::NONE, 0);
    while let Some(block) = blocks.next()? {
        match block {
            Block::Session(Head { tenant, session: id, .. }) if session.is_none() => {
                (session, upto, count) = (Some(blocks.key(&tenant, &id)?), Offset::NONE, 0);
            }
            Block::Records(records) if session.is_some() => {
                for record in &records {
                    if record.offset <= upto {
                        return Err(blocks.damaged("offsets don't grow").into());
                    }
                    upto = record.offset;
                }
                count += records.len() as u64;
            }
            Block::SessionEnd(tail) => {
                let Some(key) = session.take().filter(|_| (tail.records, tail.last) == (count, upto)) else {
                    return Err(blocks.damaged("a session isn't what its end says").into());
                };
                checked.sessions += 1;
                checked.records += count;
                checked.last = checked.last.max(upto);
                each(&key, upto);
            }
            Block::Left(left) => {
                session = None;
                checked.left_out.insert(blocks.key(&left.tenant, &left.session)?, left.why);
            }
            Block::Letter(letter) if session.is_none() => checked.letters.push(letter),
            Block::Erased(_) | Block::Parked(_) | Block::Note(_) if session.is_none() => {}
            Block::End(end) if session.is_none() && (end.sessions, end.records) == (checked.sessions, checked.records) => {}
            Block::Header(_)
            | Block::Session(_)
            | Block::Records(_)
            | Block::Letter(_)
            | Block::Erased(_)
            | Block::Parked(_)
            | Block::Note(_)
            | Block::End(_) => return Err(blocks.damaged("a block is where none of its kind can be").into()),
        }
    }
    Ok(checked)
}
