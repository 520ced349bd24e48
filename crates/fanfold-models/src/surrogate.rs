//! Joins characters that a provider has cut in two: `"…\ud83d"` in one chunk and `"\ude00…"` in the next.
//!
//! JSON written from UTF-16 may cut a character beyond U+FFFF into two escapes that mean nothing alone; a JSON reader refuses
//! them. Here each lonely half becomes a mark, a private-use character, before the JSON is read; where texts are put together,
//! two marks become their character, and a mark without a partner becomes U+FFFD.

use std::borrow::Cow;
use std::collections::BTreeMap;

/// Halves U+D800…U+DFFF are marked by characters from here on, 2,048 in number, the end of the last private-use plane.
const MARKS: u32 = 0x10_F800;

const HIGH: std::ops::Range<u32> = 0xD800..0xDC00;
const LOW: std::ops::Range<u32> = 0xDC00..0xE000;

/// A chunk with a lonely half that also uses the characters that mark them: can't be read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// Replaces escapes of lonely halves by marks. Borrowed if there are none, which is nearly always.
pub(crate) fn mark(json: &str) -> Result<Cow<'_, str>, Ambiguous> {
    let mut marked = String::new();
    let mut done = 0;
    let mut taken = false;
    let mut rest = json.find('\\');
    while let Some(at) = rest {
        let after = match escape(json, at) {
            None => at + 2,
            Some(unit) if HIGH.contains(&unit) && escape(json, at + 6).is_some_and(|low| LOW.contains(&low)) => {
                taken |= unit >= 0xDBFE;
                at + 12
            }
            Some(unit) if HIGH.contains(&unit) || LOW.contains(&unit) => {
                marked.push_str(&json[done..at]);
                marked.extend(char::from_u32(MARKS + unit - HIGH.start));
                done = at + 6;
                done
            }
            Some(_) => at + 6,
        };
        rest = json.get(after..).and_then(|text| text.find('\\')).map(|found| after + found);
    }
    if done == 0 {
        return Ok(Cow::Borrowed(json));
    }
    if taken || json.chars().any(|char| half(char).is_some()) {
        return Err(Ambiguous);
    }
    Ok(Cow::Owned(marked + &json[done..]))
}

/// The number in `\uXXXX` at a position.
fn escape(json: &str, at: usize) -> Option<u32> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    digits.bytes().all(|byte| byte.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// The half that a character marks.
fn half(char: char) -> Option<u32> {
    u32::from(char).checked_sub(MARKS).map(|mark| mark + HIGH.start)
}

/// Which text a half belongs to: others may come in between.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stream {
    Text,
    Reasoning,
    Arguments(String),
}

/// First halves that wait for their second, per text.
#[derive(Debug, Default)]
pub(crate) struct Joiner {
    waiting: BTreeMap<Stream, u32>,
    /// Whether the chunk at hand has marks.
    marked: bool,
}

impl Joiner {
    /// Begins a chunk, and says whether its private-use characters are marks.
    pub(crate) fn begin(&mut self, marked: bool) {
        self.marked = marked;
    }

    /// The text to say now. A first half at its end waits for the next text of the same stream.
    pub(crate) fn join<'a>(&mut self, stream: &Stream, text: &'a str) -> Cow<'a, str> {
        if !self.marked && self.waiting.is_empty() {
            return Cow::Borrowed(text);
        }
        let mut high = self.waiting.remove(stream);
        let mut joined = String::with_capacity(text.len());
        for char in text.chars() {
            let unit = half(char).filter(|_| self.marked);
            match (high.take(), unit) {
                (Some(first), Some(second)) if LOW.contains(&second) => {
                    let scalar = 0x1_0000 + ((first - HIGH.start) << 10) + (second - LOW.start);
                    joined.push(char::from_u32(scalar).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
                (first, unit) => {
                    joined.extend(first.map(|_| char::REPLACEMENT_CHARACTER));
                    match unit {
                        Some(unit) if HIGH.contains(&unit) => high = Some(unit),
                        Some(_) => joined.push(char::REPLACEMENT_CHARACTER),
                        None => joined.push(char),
                    }
                }
            }
        }
        if let Some(high) = high {
            self.waiting.insert(stream.clone(), high);
        }
        Cow::Owned(joined)
    }

    /// A text that nothing will be joined to.
    pub(crate) fn settle(&self, text: &str) -> String {
        if !self.marked {
            return text.to_owned();
        }
        text.chars().map(|char| half(char).map_or(char, |_| char::REPLACEMENT_CHARACTER)).collect()
    }

    /// The streams whose half waits in vain; each is owed one U+FFFD.
    pub(crate) fn give_up(&mut self) -> impl Iterator<Item = Stream> + use<> {
        std::mem::take(&mut self.waiting).into_keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(chunks: &[&str]) -> Result<String, Ambiguous> {
        let mut joiner = Joiner::default();
        let mut said = String::new();
        for chunk in chunks {
            let json = mark(chunk)?;
            joiner.begin(matches!(json, Cow::Owned(_)));
            let text: String = serde_json::from_str(&json).expect("marked JSON is readable");
            said += &joiner.join(&Stream::Text, &text);
        }
        Ok(said + &joiner.give_up().map(|_| '\u{FFFD}').collect::<String>())
    }

    #[test]
    fn halves_find_each_other() {
        let check = |chunks: &[&str], expected: &str| assert_eq!(join(chunks).as_deref(), Ok(expected), "{chunks:?}");
        check(&[r#""a\ud83d""#, r#""\ude00b""#], "a😀b");
        check(&[r#""a\uD83D""#, r#""""#, r#""\uDE00b""#], "a😀b");
        check(&[r#""\ud83d\ude00""#], "😀");
        check(&[r#""a\ud83d""#, r#""b""#], "a\u{FFFD}b");
        check(&[r#""a\ude00b""#], "a\u{FFFD}b");
        check(&[r#""\ud83d\ud83d""#, r#""\ude00""#], "\u{FFFD}😀");
        check(&[r#""end\ud83d""#], "end\u{FFFD}");
        check(&[r#""\\ud83d é \n""#], "\\ud83d é \n");
        check(&["\"\u{10F801}\"", r#""\udbfe\udc00""#], "\u{10F801}\u{10F800}");
    }

    #[test]
    fn marks_that_are_text_as_well_are_refused() {
        for chunk in ["\"\u{10F801}\\ud83d\"", r#""\udbfe\udc00 \ud83d""#] {
            assert_eq!(join(&[chunk]), Err(Ambiguous), "{chunk}");
        }
    }
}
