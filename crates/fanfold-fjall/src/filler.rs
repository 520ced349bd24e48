//! What makes a database close its journal: it does so only by size, and a journal has what was removed until it is closed and let go of.

/// A journal is closed at the first write of a table after it has so many bytes, and a little more.
const JOURNAL_BYTES: usize = 64 << 20;

const CHUNK_BYTES: usize = 1 << 20;

/// Values to be written, under one key, until the next table closes the journal. No compression makes them smaller.
pub fn filler() -> impl Iterator<Item = Vec<u8>> {
    let mut state = 1_u64;
    // xorshift64
    let mut noise = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()
    };
    (0..=JOURNAL_BYTES / CHUNK_BYTES).map(move |_| (0..CHUNK_BYTES / 8).flat_map(|_| noise()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_more_than_a_journal_holds() {
        assert_eq!(filler().map(|chunk| chunk.len()).sum::<usize>(), JOURNAL_BYTES + CHUNK_BYTES);
        let mut chunks = filler();
        assert_ne!(chunks.next(), chunks.next());
    }
}
