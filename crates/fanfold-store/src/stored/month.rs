//! The month that a time by the log's clock falls in: what partitions the archive.

const DAY_MS: u64 = 86_400_000;

/// A month of the proleptic Gregorian calendar in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Month {
    pub(crate) year: u32,
    /// 1 to 12.
    pub(crate) month: u8,
}

impl Month {
    /// Of milliseconds since 1970. Howard Hinnant's `civil_from_days`, for days that are never negative.
    pub(crate) fn of(at_ms: u64) -> Self {
        let days = at_ms / DAY_MS + 719_468;
        let (era, day_of_era) = (days / 146_097, days % 146_097);
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        // Counted from March, so that February is last.
        let from_march = (5 * day_of_year + 2) / 153;
        let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
        let year = era * 400 + year_of_era + u64::from(month <= 2);
        Self { year: u32::try_from(year).unwrap_or(u32::MAX), month: month as u8 }
    }

    /// Year and month in one number: 202603 for March 2026.
    #[cfg(feature = "scylla")]
    pub(crate) fn to_number(self) -> i64 {
        i64::from(self.year) * 100 + i64::from(self.month)
    }

    /// Back from [`Self::to_number`].
    #[cfg(feature = "scylla")]
    pub(crate) fn of_number(number: i64) -> Option<Self> {
        let month = Self { year: u32::try_from(number / 100).ok()?, month: u8::try_from(number % 100).ok()? };
        (1..=12).contains(&month.month).then_some(month)
    }

    /// Year and month in five bytes whose order is that of time.
    pub(crate) fn to_bytes(self) -> [u8; 5] {
        let [a, b, c, d] = self.year.to_be_bytes();
        [a, b, c, d, self.month]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_begin_and_end_where_they_do() {
        let check = |at_s: u64, year, month| {
            assert_eq!(Month::of(at_s * 1000), Month { year, month }, "{at_s}");
        };
        check(0, 1970, 1);
        check(2_678_399, 1970, 1);
        check(2_678_400, 1970, 2);
        check(951_782_400, 2000, 2); // 2000-02-29
        check(951_868_799, 2000, 2);
        check(951_868_800, 2000, 3);
        check(1_709_251_199, 2024, 2); // 2024-02-29 23:59:59
        check(1_709_251_200, 2024, 3);
        check(1_767_225_599, 2025, 12);
        check(1_767_225_600, 2026, 1);
        check(4_107_542_400, 2100, 3); // 2100 has no leap day
        check(4_107_542_399, 2100, 2);
        let _far = Month::of(u64::MAX);
    }

    #[test]
    fn bytes_are_in_the_order_of_time() {
        let days = (0..40_000).map(|day| Month::of(day * DAY_MS).to_bytes());
        assert!(days.is_sorted());
    }
}
