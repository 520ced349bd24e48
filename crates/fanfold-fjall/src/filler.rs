//! What makes a database close its journal: it does so only by size, and a journal has what was removed until it is closed and let go of.

/// A journal is closed at the first write of a table after it has so many bytes, and a little more.
const JOURNAL_BYTES: usize = 64 << 20;

const CHUNK_BYTES: usize = 1 << 20;

/// Values to be written, under one key, until the next table closes the journal. No compression makes one of them smaller.
pub fn filler() -> impl Iterator<Item = Vec<u8>> {
    let mut chunk = Vec::with_capacity(CHUNK_BYTES);
    let mut state = 1_u64;
    while chunk.len() < CHUNK_BYTES {
        // xorshift64
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        chunk.extend_from_slice(&state.to_be_bytes());
    }
    std::iter::repeat_n(chunk, JOURNAL_BYTES / CHUNK_BYTES + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_more_than_a_journal_holds() {
        assert_eq!(filler().map(|chunk| chunk.len()).sum::<usize>(), JOURNAL_BYTES + CHUNK_BYTES);
    }
}
