//! Frames on a WebSocket: a server's are not masked, so one encoding serves every connection (RFC 6455, section 5.1).

use crate::Format;

/// `FIN` and the opcode of a text message.
const TEXT: u8 = 0x81;

/// `FIN` and the opcode of a binary message.
const BINARY: u8 = 0x82;

/// `FIN` and the opcode of a close.
const CLOSE: u8 = 0x88;

/// `FIN` and the opcode of a pong.
const PONG: u8 = 0x8a;

/// Bytes of a control frame's payload at most.
const CONTROL_BYTES_MAX: usize = 125;

/// Bytes that are kept free for a header: nearly every frame has 126 to 65535 bytes, so nearly none is moved afterwards.
const HEADER_BYTES: usize = 4;

/// Appends a whole message with the header before it. `write` appends the payload.
pub fn message(format: Format, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    out.extend([0; HEADER_BYTES]);
    write(out);
    let header = Header::new(if format.is_binary() { BINARY } else { TEXT }, out.len() - begin - HEADER_BYTES);
    match header.len {
        HEADER_BYTES => out[begin..begin + HEADER_BYTES].copy_from_slice(header.as_slice()),
        _ => drop(out.splice(begin..begin + HEADER_BYTES, header.as_slice().iter().copied())),
    }
}

/// Appends the answer to a ping, whose payload has at most 125 bytes; what is longer is cut.
pub fn pong(payload: &[u8], out: &mut Vec<u8>) {
    let payload = &payload[..payload.len().min(CONTROL_BYTES_MAX)];
    out.extend_from_slice(Header::new(PONG, payload.len()).as_slice());
    out.extend_from_slice(payload);
}

/// Appends a close with its code and a word of at most 123 bytes; what is longer is cut.
pub fn close(code: u16, reason: &str, out: &mut Vec<u8>) {
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - 2)];
    out.extend_from_slice(Header::new(CLOSE, 2 + reason.len()).as_slice());
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

/// The header of an unmasked frame.
struct Header {
    bytes: [u8; 10],
    len: usize,
}

impl Header {
    fn new(first: u8, length: usize) -> Self {
        let mut bytes = [0; 10];
        bytes[0] = first;
        let len = match (u8::try_from(length), u16::try_from(length)) {
            (Ok(short), _) if short < 126 => {
                bytes[1] = short;
                2
            }
            (_, Ok(medium)) => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&medium.to_be_bytes());
                4
            }
            (_, Err(_)) => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&(length as u64).to_be_bytes());
                10
            }
        };
        Self { bytes, len }
    }

    fn as_slice(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_length_takes_the_fewest_bytes() {
        let rows: [(usize, &[u8]); 6] = [
            (0, &[0x82, 0]),
            (125, &[0x82, 125]),
            (126, &[0x82, 126, 0, 126]),
            (65535, &[0x82, 126, 0xff, 0xff]),
            (65536, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
            (70000, &[0x82, 127, 0, 0, 0, 0, 0, 1, 0x11, 0x70]),
        ];
        for (length, expected) in rows {
            let mut out = vec![7];
            message(Format::Proto, &mut out, |out| out.resize(out.len() + length, 9));
            assert_eq!(&out[1..1 + expected.len()], expected, "{length}");
            assert_eq!(out.len(), 1 + expected.len() + length);
        }
    }

    #[test]
    fn control_frames_are_short() {
        let mut out = Vec::new();
        close(4400, &"é".repeat(100), &mut out);
        // 123 bytes would end within a character.
        assert_eq!(out[..4], [0x88, 2 + 122, 0x11, 0x30]);
        assert_eq!(out.len(), 2 + 2 + 122);
        out.clear();
        pong(&[7; 126], &mut out);
        assert_eq!(out[..3], [0x8a, 125, 7]);
        assert_eq!(out.len(), 2 + 125);
    }
}
