//! The header of stored values: format version, key id, checksum over key and content.

/// The format that this build writes and reads.
const FORMAT: u8 = 1;

/// The key id of values that are not encrypted.
const KEY_PLAIN: u8 = 0;

const HEADER_BYTES: usize = 6;

/// The content with its header.
pub(crate) fn seal(key: &[u8], content: &[u8]) -> Vec<u8> {
    let mut value = Vec::with_capacity(HEADER_BYTES + content.len());
    value.extend([FORMAT, KEY_PLAIN]);
    value.extend(checksum(key, content).to_be_bytes());
    value.extend_from_slice(content);
    value
}

/// The content, if the header is known and the checksum holds.
pub(crate) fn open<'a>(key: &[u8], value: &'a [u8]) -> Option<&'a [u8]> {
    let (header, content) = value.split_at_checked(HEADER_BYTES)?;
    let expected = [&[FORMAT, KEY_PLAIN], &checksum(key, content).to_be_bytes()[..]].concat();
    (header == expected).then_some(content)
}

fn checksum(key: &[u8], content: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_is_noticed() {
        let value = seal(b"key", b"content");
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
