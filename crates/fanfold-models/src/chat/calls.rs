//! Puts fragments of tool calls together: by index where there is one, by id where there isn't, by order where neither helps.

use serde_json::Value;

use crate::speech::Speech;
use crate::{ChunkError, ModelEvent, json};

/// Calls that have been announced in one response, named or not.
const SLOTS_MAX: usize = 1_000;

/// The calls of one response.
#[derive(Debug, Default)]
pub(super) struct Calls {
    slots: Vec<Slot>,
}

#[derive(Debug)]
struct Slot {
    index: Option<u64>,
    /// As the provider first gave it; later fragments repeat it, leave it out or leave it empty.
    id: String,
    /// Its id in the stream, once it has a name.
    call: Option<String>,
    /// A finish reason came after it.
    closed: bool,
}

impl Calls {
    /// Takes in one item of `tool_calls`.
    pub(super) fn read(&mut self, fragment: &Value, speech: &mut Speech, out: &mut Vec<ModelEvent>) -> Result<(), ChunkError> {
        let function = json::some(fragment, "function").unwrap_or(&Value::Null);
        let (id, name) = (json::text(fragment, "id"), json::text(function, "name"));
        let arguments = json::some(function, "arguments").map(json::as_text).unwrap_or_default();
        let slot = self.slot(json::number(fragment, "index"), id, name)?;
        if slot.id.is_empty() {
            id.clone_into(&mut slot.id);
        }
        if slot.call.is_none() && !(name.is_empty() && arguments.is_empty()) {
            slot.call = Some(speech.call(&slot.id, name, false, out)?);
        }
        if let Some(call) = &slot.call {
            speech.arguments(call, &arguments, out);
        }
        Ok(())
    }

    /// A finish reason: what comes with a name from now on is another call.
    pub(super) fn close(&mut self) {
        self.slots.iter_mut().for_each(|slot| slot.closed = true);
    }

    fn slot(&mut self, index: Option<u64>, id: &str, name: &str) -> Result<&mut Slot, ChunkError> {
        let known = self.known(index, id, name).filter(|at| !self.slots[*at].is_another(index, id, name));
        let at = match known {
            Some(at) => at,
            None if self.slots.len() >= SLOTS_MAX => return Err(ChunkError::TooMany { what: "tool calls", limit: SLOTS_MAX }),
            None => {
                self.slots.push(Slot { index, id: id.to_owned(), call: None, closed: false });
                self.slots.len() - 1
            }
        };
        Ok(&mut self.slots[at])
    }

    /// The call that a fragment most likely continues.
    fn known(&self, index: Option<u64>, id: &str, name: &str) -> Option<usize> {
        let by_id = || self.slots.iter().rposition(|slot| !id.is_empty() && slot.id == id);
        match index {
            Some(_) => self.slots.iter().rposition(|slot| slot.index == index),
            None if name.is_empty() => by_id().or_else(|| self.slots.len().checked_sub(1)),
            None => by_id(),
        }
    }
}

impl Slot {
    /// Whether a fragment begins a call of its own, though it points here. Some providers give every call index 0, or none and
    /// no id; some mint a new id for each fragment. So only a fragment with a name can begin one.
    fn is_another(&self, index: Option<u64>, id: &str, name: &str) -> bool {
        let other_id = !id.is_empty() && !self.id.is_empty() && id != self.id;
        let unplaced = index.is_none() && id.is_empty() && self.call.is_some();
        !name.is_empty() && (self.closed || other_id || unplaced)
    }
}
