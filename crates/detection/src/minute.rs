//! A minute of event time, and the timestamps that name one. It reads no clock.

use std::{fmt, str::FromStr};

use jiff::{
    Timestamp,
    civil::{DateTime, Time},
    tz::TimeZone,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A minute of event time: whole minutes since 1970-01-01T00:00Z. An integer, never text, so that order is time order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Minute(i64);

/// A timestamp in none of the accepted forms.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "timestamp {0:?} is not a date and time such as 2025-07-12T13:45:00Z or \"2025-07-12 13:45\""
)]
pub struct MinuteError(pub String);

/// 0000-01-01T00:00Z.
const YEAR_ZERO: Minute = Minute(-719_528 * 1440);

impl Minute {
    /// The minute that starts this many minutes after 1970-01-01T00:00Z.
    pub const fn from_epoch_minutes(minutes: i64) -> Self {
        Self(minutes)
    }

    /// Minutes since 1970-01-01T00:00Z.
    pub const fn epoch_minutes(self) -> i64 {
        self.0
    }

    /// The minute that contains this instant.
    pub fn containing(instant: Timestamp) -> Self {
        Self(instant.as_second().div_euclid(60))
    }

    /// The first instant of the minute; saturates at the range of RFC 3339 (years 0000 to 9999).
    pub fn start(self) -> Timestamp {
        Timestamp::from_second(self.0.max(YEAR_ZERO.0).saturating_mul(60)).unwrap_or(Timestamp::MAX)
    }

    /// The minute this many minutes later (earlier if negative).
    pub const fn plus(self, minutes: i64) -> Self {
        Self(self.0.saturating_add(minutes))
    }

    /// Minutes from `earlier` to this one; negative if this one is before.
    pub const fn since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl FromStr for Minute {
    type Err = MinuteError;

    /// RFC 3339 with a zone, or a date and time without one, which is UTC; with `T` or a space between them and optional seconds.
    /// Years before 0000 are refused.
    fn from_str(text: &str) -> Result<Self, MinuteError> {
        instant(text).map(Self::containing)
    }
}

/// The instant that a timestamp names, in any of the forms of [`Minute`].
pub fn instant(text: &str) -> Result<Timestamp, MinuteError> {
    // Shorter than "2025-07-12 13:45" is a date or an hour, which names no minute.
    let parsed = match text.len() {
        ..16 => None,
        _ => Timestamp::from_str(text)
            .or_else(|_| TimeZone::UTC.to_timestamp(DateTime::from_str(text)?))
            .ok(),
    };
    let known = parsed.filter(|instant| Minute::containing(*instant) >= YEAR_ZERO);
    known.ok_or_else(|| MinuteError(text.chars().take(80).collect()))
}

/// Nanoseconds of the unit of an epoch time, found by its size: seconds until the year 5138, then milliseconds, and so on.
pub(crate) const fn epoch_unit_ns(size: u128) -> i64 {
    if size < 100_000_000_000 {
        1_000_000_000
    } else if size < 100_000_000_000_000 {
        1_000_000
    } else if size < 100_000_000_000_000_000 {
        1_000
    } else {
        1
    }
}

/// The milliseconds since 1970 of an epoch time in seconds, milliseconds, microseconds or nanoseconds, which its size tells apart.
pub fn epoch_ms(number: i64) -> Option<i64> {
    let number = i128::from(number);
    let ns = number * i128::from(epoch_unit_ns(number.unsigned_abs()));
    i64::try_from(ns.div_euclid(1_000_000)).ok()
}

/// A time without a date: `00:01`, `00:01:30`, `00h01` or `00h 01`. It names no minute by itself.
pub fn time_of_day(text: &str) -> Option<Time> {
    let (hour, rest) = text.split_once(['h', 'H', ':'])?;
    let mut rest = rest.trim_start().split(':');
    let minute = rest.next()?;
    let second = rest.next().unwrap_or("0");
    if rest.next().is_some() || hour.len() > 2 || minute.len() != 2 {
        return None;
    }
    Time::new(
        hour.parse().ok()?,
        minute.parse().ok()?,
        second.parse().ok()?,
        0,
    )
    .ok()
}

impl fmt::Display for Minute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.start().fmt(f)
    }
}

impl Serialize for Minute {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Minute {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a timestamp", str::parse::<Self>)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_year_before_zero_is_read_or_written() {
        for text in ["-000001-12-31T23:59:00Z", "-9999-01-02T00:00:00Z"] {
            assert!(text.parse::<Minute>().is_err(), "{text}");
        }
        let first: Minute = "0000-01-01T00:00:00Z".parse().expect("the first minute");
        assert_eq!(first.plus(-1).to_string(), "0000-01-01T00:00:00Z");
        assert_eq!(
            Minute::from_epoch_minutes(i64::MIN).to_string(),
            "0000-01-01T00:00:00Z"
        );
    }

    #[test]
    fn every_timestamp_form_is_the_same_minute() {
        for text in [
            "2025-07-12T13:45:00Z",
            "2025-07-12 13:45:00",
            "2025-07-12T13:45",
            "2025-07-12 13:45",
            "2025-07-12T13:45:59.999Z",
            "2025-07-12T15:45:00+02:00",
            "2025-07-12 13:45:00Z",
        ] {
            assert_eq!(
                text.parse::<Minute>().map(|m| m.to_string()),
                Ok("2025-07-12T13:45:00Z".into()),
                "{text}"
            );
        }
        for text in [
            "",
            "yesterday",
            "2025-07-12",
            "2025-13-12T13:45:00Z",
            "1752327900",
            "2025-07-12T25:00",
        ] {
            assert!(text.parse::<Minute>().is_err(), "{text:?} must be refused");
        }
    }

    proptest! {
        #[test]
        fn a_minute_survives_its_text(minutes in -1_000_000_000_i64..4_000_000_000) {
            let minute = Minute::from_epoch_minutes(minutes);
            prop_assert_eq!(minute.to_string().parse::<Minute>(), Ok(minute));
        }
    }
}
