//! The header of stored values: format version, key id, checksum over key and content.

/// The format that this build writes and reads.
const FORMAT: u8 = 1;

/// The key id of values that are not encrypted.
const KEY_PLAIN: u8 = 0;

/// Bytes before the content.
pub(crate) const HEADER_BYTES: usize = 6;

/// The content with its header.
pub(crate) fn seal(key: &[u8], content: &[&[u8]]) -> Vec<u8> {
    let bytes = content.iter().map(|part| part.len()).sum::<usize>();
    let mut value = Vec::with_capacity(HEADER_BYTES + bytes);
    value.extend(header(key, content));
    content.iter().for_each(|part| value.extend_from_slice(part));
    value
}

/// The content, if the header is known and the checksum holds.
pub(crate) fn open<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (found, content) = value.split_at_checked(HEADER_BYTES)?;
    (found == header(key, &[content])).then_some(content)
}

fn header(key: &[u8], content: &[&[u8]]) -> [u8; HEADER_BYTES] {
    let start = crc32c::crc32c_append(crc32c::crc32c(&[FORMAT, KEY_PLAIN]), key);
    let [a, b, c, d] = content.iter().fold(start, |sum, part| crc32c::crc32c_append(sum, part)).to_be_bytes();
    [FORMAT, KEY_PLAIN, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_noticed() {
        let value = seal(b"key", &[b"con", b"tent"]);
        assert_eq!(open(b"key", &value), Some(&b"content"[..]));
        assert_eq!(open(b"other", &value), None);
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(b"key", &damaged), None, "bit {bit}");
        }
        assert_eq!(open(b"key", &value[..5]), None);
    }
}
