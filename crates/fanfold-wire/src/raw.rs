//! A frame that is Protobuf already, for a server that sends the same bytes to many.

use bytes::{Buf, BufMut, Bytes};
use prost::DecodeError;
use prost::encoding::{DecodeContext, WireType, skip_field};

/// An encoded [`crate::v1::ServerFrame`]. It is only ever sent: decoding skips everything.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawFrame(pub Bytes);

impl prost::Message for RawFrame {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(&mut self, tag: u32, wire_type: WireType, buf: &mut impl Buf, ctx: DecodeContext) -> Result<(), DecodeError> {
        skip_field(wire_type, tag, buf, ctx)
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
