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

/// Appends a whole message with the header before it. `write` appends the payload.
pub fn message(format: Format, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let begin = out.len();
    write(out);
    let length = out.len() - begin;
    let header = header(if format.is_binary() { BINARY } else { TEXT }, length);
    out.splice(begin..begin, header);
}

/// Appends the answer to a ping.
pub fn pong(payload: &[u8], out: &mut Vec<u8>) {
    out.extend(header(PONG, payload.len()));
    out.extend_from_slice(payload);
}

/// Appends a close with its code and a word.
pub fn close(code: u16, reason: &str, out: &mut Vec<u8>) {
    out.extend(header(CLOSE, 2 + reason.len()));
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(reason.as_bytes());
}

fn header(first: u8, length: usize) -> Vec<u8> {
    let mut header = vec![first];
    match (u8::try_from(length), u16::try_from(length)) {
        (Ok(short), _) if short < 126 => header.push(short),
        (_, Ok(medium)) => {
            header.push(126);
            header.extend(medium.to_be_bytes());
        }
        (_, Err(_)) => {
            header.push(127);
            header.extend((length as u64).to_be_bytes());
        }
    }
    header
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
            message(Format::Proto, &mut out, |out| out.resize(1 + length, 9));
            assert_eq!(&out[1..1 + expected.len()], expected, "{length}");
            assert_eq!(out.len(), 1 + expected.len() + length);
        }
    }
}
