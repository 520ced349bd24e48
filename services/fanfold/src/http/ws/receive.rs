//! What clients send over a WebSocket: frames put together into messages, with limits (RFC 6455).

use std::future::poll_fn;
use std::io::{self, Cursor};
use std::sync::Arc;

use bytes::{Buf as _, BytesMut};
use tungstenite::protocol::frame::FrameHeader;
use tungstenite::protocol::frame::coding::{Control, Data, OpCode};

use super::socket::Socket;

/// Payload of a control frame at most, by the standard.
const CONTROL_BYTES_MAX: u64 = 125;

/// A client's message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received {
    /// A whole message.
    Message(Vec<u8>),
    /// A ping to be answered with the same payload.
    Ping(Vec<u8>),
    /// The client closes.
    Close,
}

/// Nothing more can be read from this client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// The connection is gone.
    #[error("the connection was lost")]
    Lost(#[source] io::Error),
    /// The client ended it without a close frame.
    #[error("the connection ended without a close")]
    Ended,
    /// Not what the standard allows.
    #[error("a frame breaks the protocol: {0}")]
    Protocol(&'static str),
    /// Over the limit.
    #[error("a message is over the limit of {0} bytes")]
    TooLarge(usize),
}

/// Puts frames together.
pub(crate) struct Receiver {
    socket: Arc<Socket>,
    buffer: BytesMut,
    message: Vec<u8>,
    in_message: bool,
    message_bytes_max: usize,
}

impl Receiver {
    /// `read_already`: what came with the handshake.
    pub(crate) fn new(socket: Arc<Socket>, read_already: &[u8], message_bytes_max: usize) -> Self {
        Self { socket, buffer: BytesMut::from(read_already), message: Vec::new(), in_message: false, message_bytes_max }
    }

    /// The next message. Cancel-safe: what has been read stays in the buffer.
    pub(crate) async fn receive(&mut self) -> Result<Received, ReceiveError> {
        loop {
            if let Some(received) = self.next_buffered()? {
                return Ok(received);
            }
            match poll_fn(|context| self.socket.poll_read(context, &mut self.buffer)).await {
                Ok(0) => return Err(ReceiveError::Ended),
                Ok(_) => {}
                Err(error) => return Err(ReceiveError::Lost(error)),
            }
        }
    }

    /// Reads until the client ends, for nothing. A socket that is closed with something unread is reset, and a close frame on its way is
    /// lost with it.
    pub(crate) async fn discard(&self) {
        let mut unread = BytesMut::new();
        while let Ok(1..) = poll_fn(|context| self.socket.poll_read(context, &mut unread)).await {
            unread.clear();
        }
    }

    /// Takes whole frames off the buffer until they make a message.
    fn next_buffered(&mut self) -> Result<Option<Received>, ReceiveError> {
        loop {
            let mut cursor = Cursor::new(&self.buffer[..]);
            let header = FrameHeader::parse(&mut cursor).map_err(|_| ReceiveError::Protocol("the header is malformed"))?;
            let Some((header, length)) = header else { return Ok(None) };
            self.check(&header, length)?;
            let begin = usize::try_from(cursor.position()).unwrap_or(usize::MAX);
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if self.buffer.len() - begin < length {
                return Ok(None);
            }
            self.buffer.advance(begin);
            let mut payload = self.buffer.split_to(length);
            if let Some(mask) = header.mask {
                payload.iter_mut().zip(mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
            }
            if let Some(received) = self.accept(&header, &payload) {
                // An idle connection holds no buffer.
                if self.buffer.is_empty() {
                    self.buffer = BytesMut::new();
                }
                return Ok(Some(received));
            }
        }
    }

    fn check(&self, header: &FrameHeader, length: u64) -> Result<(), ReceiveError> {
        if header.mask.is_none() {
            return Err(ReceiveError::Protocol("a client's frame is not masked"));
        }
        if header.rsv1 || header.rsv2 || header.rsv3 {
            return Err(ReceiveError::Protocol("an extension is used that was not agreed on"));
        }
        match header.opcode {
            OpCode::Control(_) if !header.is_final || length > CONTROL_BYTES_MAX => {
                return Err(ReceiveError::Protocol("a control frame is fragmented or too long"));
            }
            OpCode::Control(Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => {
                return Err(ReceiveError::Protocol("a reserved opcode is used"));
            }
            OpCode::Data(Data::Continue) if !self.in_message => return Err(ReceiveError::Protocol("nothing is continued")),
            OpCode::Data(Data::Text | Data::Binary) if self.in_message => {
                return Err(ReceiveError::Protocol("a message begins within another"));
            }
            OpCode::Control(Control::Close | Control::Ping | Control::Pong)
            | OpCode::Data(Data::Continue | Data::Text | Data::Binary) => {}
        }
        if self.message.len() as u64 + length > self.message_bytes_max as u64 {
            return Err(ReceiveError::TooLarge(self.message_bytes_max));
        }
        Ok(())
    }

    fn accept(&mut self, header: &FrameHeader, payload: &[u8]) -> Option<Received> {
        match header.opcode {
            OpCode::Control(Control::Ping) => Some(Received::Ping(payload.to_vec())),
            OpCode::Control(Control::Close) => Some(Received::Close),
            OpCode::Data(Data::Text | Data::Binary | Data::Continue) => {
                self.message.extend_from_slice(payload);
                self.in_message = !header.is_final;
                header.is_final.then(|| Received::Message(std::mem::take(&mut self.message)))
            }
            // A pong says that somebody is there, which the bytes did already.
            OpCode::Control(Control::Pong | Control::Reserved(_)) | OpCode::Data(Data::Reserved(_)) => None,
        }
    }
}
