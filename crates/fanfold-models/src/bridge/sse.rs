//! Server-sent events out of bytes, however they are cut.
//!
//! Our own, after looking at the libraries. Most don't bound an event, so a server that never ends a line takes all memory; the one
//! that reads our own node's stream in `fanfold-client` waits for ever behind a byte that is no UTF-8 and panics at a byte order mark.
//! The one that does bound it puts U+FFFD where bytes are no UTF-8, which the log would keep, and drops the last event where a server
//! leaves out the blank line.

/// Reads lines, and gathers those of one event. The limit counts an event's data and the line at hand.
#[derive(Debug)]
pub(crate) struct Sse {
    line: Vec<u8>,
    event: Event,
    /// A carriage return ended the last line: a line feed right behind it belongs to it.
    after_return: bool,
    /// No line has ended yet, so a byte order mark may stand before this one.
    first: bool,
    event_bytes_max: usize,
}

/// One event.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its type; empty where none was given.
    pub(crate) name: String,
    /// Its data; the lines of it joined.
    pub(crate) data: String,
    has_data: bool,
}

/// Why bytes are no events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SseError {
    /// An event is longer than allowed.
    TooLarge,
    /// A line is no text.
    NotUtf8,
}

impl Sse {
    pub(crate) fn new(event_bytes_max: usize) -> Self {
        Self { line: Vec::new(), event: Event::default(), after_return: false, first: true, event_bytes_max }
    }

    /// Takes the next bytes and gives the events that they complete.
    pub(crate) fn read(&mut self, mut bytes: &[u8], out: &mut Vec<Event>) -> Result<(), SseError> {
        if self.after_return && !bytes.is_empty() {
            self.after_return = false;
            bytes = bytes.strip_prefix(b"\n").unwrap_or(bytes);
        }
        while let Some(end) = bytes.iter().position(|byte| matches!(byte, b'\r' | b'\n')) {
            self.take(&bytes[..end])?;
            self.end_line(out)?;
            let rest = &bytes[end + 1..];
            self.after_return = bytes[end] == b'\r' && rest.is_empty();
            bytes = if bytes[end] == b'\r' { rest.strip_prefix(b"\n").unwrap_or(rest) } else { rest };
        }
        self.take(bytes)
    }

    /// The stream ended as it should: what was gathered is an event, though no blank line came behind it.
    pub(crate) fn end(&mut self, out: &mut Vec<Event>) -> Result<(), SseError> {
        if !self.line.is_empty() {
            self.end_line(out)?;
        }
        self.dispatch(out);
        Ok(())
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), SseError> {
        if self.line.len() + bytes.len() + self.event.data.len() > self.event_bytes_max {
            return Err(SseError::TooLarge);
        }
        self.line.extend_from_slice(bytes);
        Ok(())
    }

    fn end_line(&mut self, out: &mut Vec<Event>) -> Result<(), SseError> {
        let line = std::mem::take(&mut self.line);
        let line = std::str::from_utf8(&line).map_err(|_| SseError::NotUtf8)?;
        let line = if std::mem::take(&mut self.first) { line.strip_prefix('\u{feff}').unwrap_or(line) } else { line };
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "" if line.is_empty() => self.dispatch(out),
            "data" => self.event.add(value),
            "event" => value.clone_into(&mut self.event.name),
            // Comments, `id`, `retry`, and what nobody knows.
            _ => {}
        }
        Ok(())
    }

    fn dispatch(&mut self, out: &mut Vec<Event>) {
        let event = std::mem::take(&mut self.event);
        if event.has_data {
            out.push(event);
        }
    }
}

impl Event {
    fn add(&mut self, line: &str) {
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push('\n');
        }
        self.data.push_str(line);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(pieces: &[&[u8]]) -> Result<Vec<(String, String)>, SseError> {
        let mut sse = Sse::new(64);
        let mut events = Vec::new();
        pieces.iter().try_for_each(|piece| sse.read(piece, &mut events))?;
        sse.end(&mut events)?;
        Ok(events.into_iter().map(|event| (event.name, event.data)).collect())
    }

    #[test]
    fn events_are_read_as_the_standard_says() {
        let check = |bytes: &str, expected: &[(&str, &str)]| {
            let expected: Vec<_> = expected.iter().map(|(name, data)| ((*name).to_owned(), (*data).to_owned())).collect();
            assert_eq!(read(&[bytes.as_bytes()]).unwrap(), expected, "{bytes:?}");
            let single: Vec<&[u8]> = bytes.as_bytes().chunks(1).collect();
            assert_eq!(read(&single).unwrap(), expected, "{bytes:?}, byte by byte");
        };
        check("data: a\n\ndata:b\n\n", &[("", "a"), ("", "b")]);
        check("event: error\ndata: a\n\ndata: b\n\n", &[("error", "a"), ("", "b")]);
        check("data: a\r\n\r\ndata: b\r\r\ndata: c\n\r", &[("", "a"), ("", "b"), ("", "c")]);
        check("data: a\ndata: b\ndata\ndata:  c\n\n", &[("", "a\nb\n\n c")]);
        check(": comment\nid: 1\nretry: 5\nother: x\nno colon\n\n: more\ndata:\n\n", &[("", "")]);
        check("\u{feff}data: a\n\n", &[("", "a")]);
        check("data: \u{feff}é😀\n\n", &[("", "\u{feff}é😀")]);
        check("event: x\n\ndata: a\n\n", &[("", "a")]);
        check("data: the end comes without a blank line", &[("", "the end comes without a blank line")]);
        check("", &[]);
    }

    #[test]
    fn an_event_is_bounded() {
        let fits = [b"data: ".as_slice(), &[b'x'; 58]].concat();
        assert_eq!(read(&[&fits, b"\n\n", &fits]).unwrap().len(), 2, "64 bytes, twice");
        assert_eq!(read(&[&fits, b"x"]), Err(SseError::TooLarge));
        assert_eq!(read(&[b"data: 0123456789012345678901234567890\n", &[b'x'; 34]]), Err(SseError::TooLarge), "in two lines");
        assert_eq!(read(&[b"data: \xff\n"]), Err(SseError::NotUtf8));
    }

    proptest! {
        #[test]
        fn cuts_change_nothing(text in "(data: ?|event:|[é😀a]|\r|\n|\r\n|:){0,40}", cuts in prop::collection::vec(0..80usize, 0..9)) {
            let bytes = text.as_bytes();
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).chain([0, bytes.len()]).collect();
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|cut| &bytes[cut[0]..cut[1]]).collect();
            prop_assert_eq!(read(&pieces), read(&[bytes]));
        }
    }
}
