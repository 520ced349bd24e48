//! One frame in three encodings: JSON, MessagePack, Protobuf.

use serde::de::DeserializeOwned;

use crate::v1;

/// How frames are encoded on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Canonical proto3 JSON with the schema's field names.
    Json,
    /// The same maps as MessagePack.
    Msgpack,
    /// Protobuf.
    Proto,
}

/// Maps and arrays within each other that are read at most, in MessagePack as in JSON.
const DEPTH_MAX: usize = 128;

/// A frame from a peer can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not the JSON it should be.
    #[error("not a frame in JSON")]
    Json(#[source] serde_json::Error),
    /// Not the MessagePack it should be.
    #[error("not a frame in MessagePack")]
    Msgpack(#[source] rmp_serde::decode::Error),
    /// Something follows the frame.
    #[error("a frame in MessagePack, and {0} bytes more")]
    Trailing(usize),
    /// Not the Protobuf it should be.
    #[error("not a frame in Protobuf")]
    Proto(#[source] prost::DecodeError),
}

impl Format {
    /// All of them, the one that people can read first.
    pub const ALL: [Self; 3] = [Self::Json, Self::Msgpack, Self::Proto];

    /// By the name of its WebSocket subprotocol.
    pub fn of_subprotocol(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.subprotocol() == name)
    }

    /// Its WebSocket subprotocol.
    pub fn subprotocol(self) -> &'static str {
        match self {
            Self::Json => "fanfold.v1.json",
            Self::Msgpack => "fanfold.v1.msgpack",
            Self::Proto => "fanfold.v1.proto",
        }
    }

    /// Whether it goes in binary messages.
    pub fn is_binary(self) -> bool {
        match self {
            Self::Json => false,
            Self::Msgpack | Self::Proto => true,
        }
    }

    /// Appends a server's frame.
    pub fn encode(self, frame: &v1::ServerFrame, out: &mut Vec<u8>) {
        self.write(frame, out);
    }

    /// Appends a client's frame.
    pub fn encode_client(self, frame: &v1::ClientFrame, out: &mut Vec<u8>) {
        self.write(frame, out);
    }

    /// Reads a client's frame.
    pub fn decode(self, bytes: &[u8]) -> Result<v1::ClientFrame, DecodeError> {
        self.read(bytes)
    }

    /// Reads a server's frame.
    pub fn decode_server(self, bytes: &[u8]) -> Result<v1::ServerFrame, DecodeError> {
        self.read(bytes)
    }

    fn write<T: prost::Message + serde::Serialize>(self, frame: &T, out: &mut Vec<u8>) {
        match self {
            Self::Json | Self::Msgpack => self.write_map(frame, out),
            Self::Proto => {
                // Room is made as needed, so this can't fail.
                out.reserve(frame.encoded_len());
                frame.encode_raw(out);
            }
        }
    }

    /// Appends what serialises as a message of the schema.
    pub(crate) fn write_map(self, message: &impl serde::Serialize, out: &mut Vec<u8>) {
        let written = match self {
            Self::Json => serde_json::to_writer(&mut *out, message).map_err(|error| error.to_string()),
            Self::Msgpack => {
                let mut serializer = rmp_serde::Serializer::new(&mut *out).with_struct_map().with_human_readable();
                message.serialize(&mut serializer).map_err(|error| error.to_string())
            }
            Self::Proto => unreachable!("Protobuf is no map"),
        };
        assert!(written.is_ok(), "writing a frame to memory can't fail: {written:?}");
    }

    fn read<T: prost::Message + DeserializeOwned + Default>(self, bytes: &[u8]) -> Result<T, DecodeError> {
        match self {
            Self::Json => serde_json::from_slice(bytes).map_err(DecodeError::Json),
            Self::Msgpack => {
                let mut rest = bytes;
                let mut deserializer = rmp_serde::Deserializer::new(&mut rest).with_human_readable();
                deserializer.set_max_depth(DEPTH_MAX);
                let frame = T::deserialize(&mut deserializer).map_err(DecodeError::Msgpack)?;
                match rest.len() {
                    0 => Ok(frame),
                    more => Err(DecodeError::Trailing(more)),
                }
            }
            Self::Proto => T::decode(bytes).map_err(DecodeError::Proto),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_format_is_found_by_its_subprotocol() {
        for format in Format::ALL {
            assert_eq!(Format::of_subprotocol(format.subprotocol()), Some(format));
        }
        assert_eq!(Format::of_subprotocol("fanfold.v2.json"), None);
        assert_eq!(Format::of_subprotocol(""), None);
    }

    /// Two frames in one message are a client's mistake, not one frame.
    #[test]
    fn nothing_may_follow_a_frame() {
        for format in [Format::Json, Format::Msgpack] {
            let mut bytes = Vec::new();
            format.encode_client(&v1::ClientFrame::default(), &mut bytes);
            assert!(format.decode(&bytes).is_ok());
            format.encode_client(&v1::ClientFrame::default(), &mut bytes);
            assert!(format.decode(&bytes).is_err(), "{format:?}");
        }
        assert!(matches!(Format::Msgpack.decode(&[0x80, 0x80, 0x80]), Err(DecodeError::Trailing(2))));
    }
}
