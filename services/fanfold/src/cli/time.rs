//! Moments as people write them.

use std::str::FromStr;

use time::format_description::well_known::{Iso8601, Rfc3339};
use time::{Date, OffsetDateTime};

use crate::clock;

/// Milliseconds since 1970, from `12h` ago, a date, or a date with a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Time(pub(super) u64);

/// Neither.
#[derive(Debug, thiserror::Error)]
#[error("neither `90m`, `12h` or `7d` ago nor a time such as 2026-03-01 or 2026-03-01T12:00:00Z")]
pub(super) struct NoTime;

impl FromStr for Time {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Self, NoTime> {
        let at = ago_ms(text).map(|ago_ms| clock::now_ms().saturating_sub(ago_ms)).or_else(|| {
            let day = || Date::parse(text, &Iso8601::DATE).map(|date| date.midnight().assume_utc());
            let moment = OffsetDateTime::parse(text, &Rfc3339).or_else(|_| day()).ok()?;
            u64::try_from(moment.unix_timestamp_nanos() / 1_000_000).ok()
        });
        at.map(Self).ok_or(NoTime)
    }
}

fn ago_ms(text: &str) -> Option<u64> {
    let unit_ms = match text.bytes().last()? {
        b's' => 1_000,
        b'm' => 60_000,
        b'h' => 3_600_000,
        b'd' => 86_400_000,
        _ => return None,
    };
    text[..text.len() - 1].parse::<u64>().ok()?.checked_mul(unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_read() {
        let check = |text: &str, expected: Option<u64>| assert_eq!(text.parse::<Time>().ok(), expected.map(Time), "{text}");
        check("1970-01-02", Some(86_400_000));
        check("2026-03-01T12:00:00.5Z", Some(1_772_366_400_500));
        check("2026-03-01T12:00:00+01:00", Some(1_772_362_800_000));
        check("1969-12-31", None);
        check("12", None);
        check("h", None);
        check("", None);
        check("99999999999999999999d", None);
        let Ok(Time(hour_ago)) = "60m".parse() else { unreachable!("a duration") };
        assert!((3_600_000..3_610_000).contains(&(clock::now_ms() - hour_ago)));
    }
}
