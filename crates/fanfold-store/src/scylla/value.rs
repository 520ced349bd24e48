//! How numbers stand in columns. An offset has 64 bits and no sign; `varint` holds it, orders it, and people can read it.

use fanfold_fold::Offset;
use scylla::value::CqlVarint;

pub(crate) fn varint(number: u64) -> CqlVarint {
    let mut bytes = vec![0];
    bytes.extend(number.to_be_bytes());
    // The shortest form: a leading zero only where the number would be negative without it.
    let leading = bytes.windows(2).take_while(|pair| pair[0] == 0 && pair[1] < 0x80).count();
    CqlVarint::from_signed_bytes_be(bytes.split_off(leading))
}

/// `None` where another program wrote what no offset can be.
pub(crate) fn number(varint: &CqlVarint) -> Option<u64> {
    let bytes = varint.as_signed_bytes_be_slice();
    if bytes.first().is_none_or(|first| *first >= 0x80) {
        return None;
    }
    let significant = bytes.iter().position(|byte| *byte != 0).map_or(&[][..], |at| &bytes[at..]);
    if significant.len() > 8 {
        return None;
    }
    Some(significant.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)))
}

pub(crate) fn offset(varint: &CqlVarint) -> Option<Offset> {
    number(varint).map(Offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_come_back_in_their_shortest_form() {
        for (value, bytes) in [(0, 1), (1, 1), (127, 1), (128, 2), (255, 2), (256, 2), (1 << 62, 8), (1 << 63, 9), (u64::MAX, 9)]
        {
            let varint = varint(value);
            assert_eq!(varint.as_signed_bytes_be_slice().len(), bytes, "{value}");
            assert_eq!(number(&varint), Some(value));
        }
        for odd in [vec![], vec![0xff], vec![1; 9], vec![0, 1, 0, 0, 0, 0, 0, 0, 0, 0]] {
            assert_eq!(number(&CqlVarint::from_signed_bytes_be(odd.clone())), None, "{odd:?}");
        }
        assert_eq!(number(&CqlVarint::from_signed_bytes_be(vec![0; 12])), Some(0));
    }
}
