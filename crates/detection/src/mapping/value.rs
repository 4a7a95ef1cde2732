//! The values of fields as people send them: times as text or epoch numbers, counts as 118, 118.0 or "118".

use std::borrow::Cow;

use jiff::{
    Timestamp,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

use super::pointer::Pointer;
use crate::{
    message::MessageError,
    minute::{MinuteError, epoch_ms, epoch_unit_ns, time_of_day},
};

/// One JSON value that is no object and no list.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Text(Cow<'a, str>),
    Integer(i64),
    Float(f64),
    /// An object, a list, true or false.
    Compound,
}

/// When something happened.
pub(super) struct Instant {
    pub(super) ms: i64,
    pub(super) occurs_twice: bool,
}

fn refuse<T>(detail: String) -> Result<T, MessageError> {
    Err(MessageError::Unusable(detail))
}

impl<'a> Scalar<'a> {
    pub(super) fn from_json(value: &'a serde_json::Value) -> Self {
        match value {
            serde_json::Value::Null => Self::Null,
            serde_json::Value::String(text) => Self::Text(text.into()),
            serde_json::Value::Number(number) => number.as_i64().map_or_else(
                || Self::Float(number.as_f64().unwrap_or(f64::NAN)),
                Self::Integer,
            ),
            _ => Self::Compound,
        }
    }

    /// True for a number above 1, also as text.
    pub(super) fn is_number_above_one(&self) -> bool {
        match self {
            Self::Integer(number) => *number > 1,
            Self::Float(number) => *number > 1.0,
            Self::Text(text) => text.trim().parse::<u32>().is_ok_and(|number| number > 1),
            Self::Null | Self::Compound => false,
        }
    }

    fn shown(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Text(text) => format!("{:?}", text.chars().take(80).collect::<String>()),
            Self::Integer(number) => number.to_string(),
            Self::Float(number) => number.to_string(),
            Self::Compound => "an object, a list, true or false".to_owned(),
        }
    }

    pub(super) fn text(&self, at: &Pointer) -> Result<&str, MessageError> {
        match self {
            Self::Text(text) => Ok(text),
            other => refuse(format!("{at} is {}, not text", other.shown())),
        }
    }

    /// A name: text, or a number such as the id of a merchant.
    pub(super) fn name(self, at: &Pointer) -> Result<Cow<'a, str>, MessageError> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Integer(number) => Ok(number.to_string().into()),
            other => refuse(format!("{at} is {}, not a name", other.shown())),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a whole number in the range of u32"
    )]
    pub(super) fn count(&self, at: &Pointer) -> Result<u32, MessageError> {
        let count = match self {
            Self::Integer(number) => u32::try_from(*number).ok(),
            Self::Float(number) => (number.fract() == 0.0
                && (0.0..=f64::from(u32::MAX)).contains(number))
            .then_some(*number as u32),
            Self::Text(text) => text.trim().parse().ok(),
            Self::Null | Self::Compound => None,
        };
        count.map_or_else(
            || {
                refuse(format!(
                    "{at} is {}, not a count from 0 to {}",
                    self.shown(),
                    u32::MAX
                ))
            },
            Ok,
        )
    }

    pub(super) fn instant(&self, zone: &TimeZone) -> Result<Instant, MessageError> {
        let at = match self {
            Self::Text(text) => of_text(text, zone)?,
            Self::Integer(number) => of_epoch(*number),
            Self::Float(number) if number.is_finite() => of_fraction(*number),
            _ => None,
        };
        at.map_or_else(
            || {
                refuse(format!(
                    "the time is {}; give RFC 3339, or an epoch time",
                    self.shown()
                ))
            },
            Ok,
        )
    }
}

fn once(ms: i64) -> Option<Instant> {
    let known = Timestamp::from_millisecond(ms).is_ok();
    let occurs_twice = false;
    known.then_some(Instant { ms, occurs_twice })
}

fn of_epoch(number: i64) -> Option<Instant> {
    once(epoch_ms(number)?)
}

/// An epoch time with a fraction.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    reason = "a time with a fraction is exact to a millisecond in a double"
)]
fn of_fraction(number: f64) -> Option<Instant> {
    let ns = number * epoch_unit_ns(number.abs() as u128) as f64;
    once((ns / 1e6).floor() as i64)
}

fn of_text(text: &str, zone: &TimeZone) -> Result<Option<Instant>, MessageError> {
    if let Ok(instant) = text.parse::<Timestamp>() {
        return Ok(once(instant.as_millisecond()));
    }
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return Ok(text.parse().ok().and_then(of_epoch));
    }
    // As BigQuery writes it.
    if let Some(utc) = text.strip_suffix(" UTC") {
        return Ok(format!("{utc}Z")
            .parse::<Timestamp>()
            .ok()
            .and_then(|at| once(at.as_millisecond())));
    }
    if time_of_day(text).is_some() {
        return refuse(format!(
            "the time {text:?} has no date, so it names no minute: send the date, too (stream-processor --date reads a file of such times)"
        ));
    }
    // Shorter than "2025-07-12 13:45" is a date or an hour; a name in brackets is a zone.
    match text.parse::<DateTime>() {
        Ok(local) if text.len() >= 16 && !text.contains('[') => of_local(local, zone, text),
        _ => refuse(MinuteError(text.chars().take(80).collect()).to_string()),
    }
}

fn of_local(local: DateTime, zone: &TimeZone, text: &str) -> Result<Option<Instant>, MessageError> {
    let instant = zone.to_ambiguous_timestamp(local);
    if let AmbiguousOffset::Gap { .. } = instant.offset() {
        let zone = zone.iana_name().unwrap_or("TIMESTAMP_TIMEZONE");
        return refuse(format!(
            "{text:?} does not exist in {zone}: the clock was set forward"
        ));
    }
    let occurs_twice = instant.is_ambiguous();
    let ms = instant.earlier().ok().map(Timestamp::as_millisecond);
    Ok(ms.map(|ms| Instant { ms, occurs_twice }))
}
