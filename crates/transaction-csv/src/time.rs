//! The time of a row: with a date or without, with a zone or in that of the file. It reads no clock.

use detection::Minute;
use detection::minute::{MinuteError, time_of_day};
use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time as TimeOfDay};
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::LoadOptions;
use crate::faults::{FaultKind, Refusal};
use crate::time_format::{DateForm, TimeFormat};

/// When a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    /// Minutes since 1970. Four bytes are enough for the years before 6053.
    pub(crate) minute: i32,
    /// The time is not a whole minute.
    pub(crate) has_seconds: bool,
    /// The clock was set back: the time occurred twice, and this is the earlier one.
    pub(crate) occurs_twice: bool,
}

/// Reads times. Neighbouring rows often share their time or at least their day, so both are kept.
#[derive(Debug)]
pub(crate) struct Times {
    zone: TimeZone,
    date: Option<Date>,
    format: Option<TimeFormat>,
    newest: (Vec<u8>, Option<Time>),
    /// A day without a change of the clock: its text, and its first minute.
    day: ([u8; 10], i32),
}

impl Times {
    pub(crate) fn new(options: &LoadOptions) -> Self {
        Self {
            zone: options.timezone.clone().unwrap_or(TimeZone::UTC),
            date: options.date,
            format: options.time_format.clone(),
            newest: (Vec::new(), None),
            day: ([0; 10], 0),
        }
    }

    pub(crate) fn read(&mut self, field: &[u8]) -> Result<Time, Refusal> {
        if let (text, Some(time)) = &self.newest
            && text == field
        {
            return Ok(*time);
        }
        let time = match &self.format {
            Some(format) => self.formatted(field, format)?,
            None => self.simple(field).map_or_else(|| self.any(field), Ok)?,
        };
        self.newest.0.clear();
        self.newest.0.extend_from_slice(field);
        self.newest.1 = Some(time);
        Ok(time)
    }

    /// `2025-07-12 13:45`, with `T` or a space, with or without seconds and `Z`: almost all rows of
    /// almost all files. `None` for anything else, good or bad.
    fn simple(&mut self, field: &[u8]) -> Option<Time> {
        let (day, rest) = field.split_first_chunk::<10>()?;
        let [b' ' | b'T', h1, h2, b':', m1, m2, rest @ ..] = rest else {
            return None;
        };
        let rest = match rest {
            [rest @ .., b'Z'] if self.zone == TimeZone::UTC => rest,
            rest => rest,
        };
        let seconds = match rest {
            [] => 0,
            [b':', s1, s2] => number(*s1, *s2, 60)?,
            _ => return None,
        };
        let minute_of_day = number(*h1, *h2, 24)? * 60 + number(*m1, *m2, 60)?;
        if *day != self.day.0 {
            self.day = (*day, self.first_minute(std::str::from_utf8(day).ok()?)?);
        }
        Some(Time {
            minute: self.day.1.checked_add(minute_of_day)?,
            has_seconds: seconds != 0,
            occurs_twice: false,
        })
    }

    /// The first minute of a day, if the clock is not changed on it.
    fn first_minute(&self, day: &str) -> Option<i32> {
        let start: Minute = format!("{day} 00:00").parse().ok()?;
        let date: Date = day.parse().ok()?;
        let offset = |date: Date| {
            let midnight = self
                .zone
                .to_ambiguous_timestamp(date.to_datetime(TimeOfDay::midnight()));
            match midnight.offset() {
                AmbiguousOffset::Unambiguous { offset } => Some(offset.seconds()),
                AmbiguousOffset::Gap { .. } | AmbiguousOffset::Fold { .. } => None,
            }
        };
        let seconds = offset(date)?;
        let is_same = seconds % 60 == 0 && offset(date.tomorrow().ok()?)? == seconds;
        let minutes = start.epoch_minutes() - i64::from(seconds / 60);
        i32::try_from(minutes).ok().filter(|_| is_same)
    }

    fn formatted(&self, field: &[u8], format: &TimeFormat) -> Result<Time, Refusal> {
        let text = text(field)?;
        let wrong = |_| {
            let text: String = text.chars().take(80).collect();
            refuse(format!("{text:?} is not of the form {format}"))
        };
        let read = format.parse(text).map_err(wrong)?;
        if read.offset().is_some() {
            return time(read.to_timestamp().map_err(wrong)?, false, text);
        }
        self.local(read.to_datetime().map_err(wrong)?, text)
    }

    fn any(&self, field: &[u8]) -> Result<Time, Refusal> {
        let text = text(field)?;
        if let Some(time_of_day) = time_of_day(text) {
            let date = self.date.ok_or_else(|| {
                let reason = format!("{text:?} is a time without a date");
                (FaultKind::NoDate, reason)
            })?;
            return self.local(date.to_datetime(time_of_day), text);
        }
        // As BigQuery writes it.
        if let Some(utc) = text.strip_suffix(" UTC") {
            return utc_time(&format!("{utc}Z"), text);
        }
        if text.parse::<Timestamp>().is_ok() {
            return utc_time(text, text);
        }
        if let Some(instant) = epoch(text) {
            return time(instant, false, text);
        }
        // Shorter than "2025-07-12 13:45" is a date or an hour; a name in brackets is a zone.
        match text.parse::<DateTime>() {
            Ok(local) if text.len() >= 16 && !text.contains('[') => self.local(local, text),
            _ => Err(no_time(text)),
        }
    }

    fn local(&self, local: DateTime, text: &str) -> Result<Time, Refusal> {
        let instant = self.zone.to_ambiguous_timestamp(local);
        if let AmbiguousOffset::Gap { .. } = instant.offset() {
            let zone = self.zone.iana_name().unwrap_or("the time zone");
            let reason = format!("{text:?} does not exist in {zone}: the clock was set forward");
            return Err((FaultKind::NoSuchTime, reason));
        }
        let occurs_twice = instant.is_ambiguous();
        let instant = instant
            .earlier()
            .map_err(|error| refuse(error.to_string()))?;
        time(instant, occurs_twice, text)
    }
}

fn text(field: &[u8]) -> Result<&str, Refusal> {
    std::str::from_utf8(field).map_err(|_| refuse("not UTF-8".to_owned()))
}

/// An epoch time; ten digits of seconds are enough since 2001, and fewer may be anything.
fn epoch(text: &str) -> Option<Timestamp> {
    let all_digits = text.len() >= 10 && text.bytes().all(|byte| byte.is_ascii_digit());
    let ms = all_digits.then(|| detection::minute::epoch_ms(text.parse().ok()?))?;
    Timestamp::from_millisecond(ms?).ok()
}

fn utc_time(timestamp: &str, text: &str) -> Result<Time, Refusal> {
    let instant = detection::minute::instant(timestamp).map_err(|_| no_time(text))?;
    time(instant, false, text)
}

fn time(instant: Timestamp, occurs_twice: bool, text: &str) -> Result<Time, Refusal> {
    let minute = i32::try_from(Minute::containing(instant).epoch_minutes())
        .map_err(|_| refuse(format!("{text:?} is after the year 6052")))?;
    Ok(Time {
        minute,
        has_seconds: instant.as_second().rem_euclid(60) != 0,
        occurs_twice,
    })
}

fn no_time(text: &str) -> Refusal {
    let kind = DateForm::of(text).map_or(FaultKind::Timestamp, FaultKind::DateForm);
    let reason = MinuteError(text.chars().take(80).collect()).to_string();
    (kind, reason)
}

const fn refuse(reason: String) -> Refusal {
    (FaultKind::Timestamp, reason)
}

/// The number of two digits, if it is below `end`.
fn number(tens: u8, ones: u8, end: i32) -> Option<i32> {
    let both_digits = tens.is_ascii_digit() && ones.is_ascii_digit();
    let number = i32::from(tens.wrapping_sub(b'0')) * 10 + i32::from(ones.wrapping_sub(b'0'));
    (both_digits && number < end).then_some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::zone::parse_timezone;

    fn read(zone: &str, date: Option<&str>, text: &str) -> Result<Time, Refusal> {
        let options = LoadOptions {
            timezone: Some(parse_timezone(zone).unwrap()),
            date: date.map(|date| date.parse().unwrap()),
            ..LoadOptions::default()
        };
        Times::new(&options).read(text.as_bytes())
    }

    fn utc(zone: &str, date: Option<&str>, text: &str) -> String {
        let minute = read(zone, date, text).unwrap().minute;
        Minute::from_epoch_minutes(minute.into()).to_string()
    }

    #[test]
    fn times_are_read_in_every_form_and_zone() {
        let day = Some("2026-11-26");
        for (zone, date, text, expected) in [
            ("UTC", None, "2025-07-12 13:45", "2025-07-12T13:45:00Z"),
            ("UTC", None, "2025-07-12T13:45:59Z", "2025-07-12T13:45:00Z"),
            (
                "UTC",
                None,
                "2025-07-12 13:45:00 UTC",
                "2025-07-12T13:45:00Z",
            ),
            (
                "UTC",
                None,
                "2025-07-12 13:45:00.25",
                "2025-07-12T13:45:00Z",
            ),
            (
                "-03:00",
                None,
                "2025-07-12 13:45:00",
                "2025-07-12T16:45:00Z",
            ),
            ("-03:00", None, "2025-07-12 13:45Z", "2025-07-12T13:45:00Z"),
            (
                "-03:00",
                None,
                "2025-07-12 13:45:00 UTC",
                "2025-07-12T13:45:00Z",
            ),
            (
                "+05:30",
                None,
                "2025-07-12T13:45:00+02:00",
                "2025-07-12T11:45:00Z",
            ),
            (
                "America/Sao_Paulo",
                None,
                "2025-07-12 23:45",
                "2025-07-13T02:45:00Z",
            ),
            (
                "Europe/Berlin",
                None,
                "2025-07-12 00:45",
                "2025-07-11T22:45:00Z",
            ),
            ("-03:00", None, "1752327959", "2025-07-12T13:45:00Z"),
            ("-03:00", None, "1752327959000", "2025-07-12T13:45:00Z"),
            ("UTC", day, "00h 01", "2026-11-26T00:01:00Z"),
            ("UTC", day, "00h01", "2026-11-26T00:01:00Z"),
            ("UTC", day, "23:59:30", "2026-11-26T23:59:00Z"),
            ("-03:00", day, "00:01", "2026-11-26T03:01:00Z"),
            // A date of its own wins.
            ("UTC", day, "2025-07-12 13:45", "2025-07-12T13:45:00Z"),
        ] {
            assert_eq!(utc(zone, date, text), expected, "{text} {zone}");
        }
    }

    #[test]
    fn an_hour_that_occurs_twice_is_the_earlier() {
        let text = "2025-10-26 02:30";
        let time = read("Europe/Berlin", None, text).unwrap();
        assert!(time.occurs_twice);
        assert_eq!(utc("Europe/Berlin", None, text), "2025-10-26T00:30:00Z");
        assert!(
            !read("Europe/Berlin", None, "2025-10-26 03:30")
                .unwrap()
                .occurs_twice
        );
        let (kind, reason) = read("Europe/Berlin", None, "2025-03-30 02:30").unwrap_err();
        assert_eq!(kind, FaultKind::NoSuchTime);
        assert!(
            reason.contains("does not exist in Europe/Berlin"),
            "{reason}"
        );
    }

    #[test]
    fn bad_times_are_refused_by_kind() {
        for (text, kind) in [
            ("", FaultKind::Timestamp),
            ("x", FaultKind::Timestamp),
            ("2025-07-12", FaultKind::Timestamp),
            ("2025-13-12 13:45", FaultKind::Timestamp),
            ("2025-07-12 24:00", FaultKind::Timestamp),
            ("175232790", FaultKind::Timestamp),
            ("2025-07-12T13:45[Europe/Berlin]", FaultKind::Timestamp),
            ("7000-01-01 00:00", FaultKind::Timestamp),
            ("00h 01", FaultKind::NoDate),
            ("00:01", FaultKind::NoDate),
            ("25:01", FaultKind::Timestamp),
        ] {
            assert_eq!(read("UTC", None, text).unwrap_err().0, kind, "{text:?}");
        }
    }

    #[test]
    fn a_format_of_the_user_is_the_only_one() {
        let options = LoadOptions {
            timezone: Some(parse_timezone("America/Sao_Paulo").unwrap()),
            time_format: Some("%d/%m/%Y %H:%M".parse().unwrap()),
            ..LoadOptions::default()
        };
        let mut times = Times::new(&options);
        let time = times.read(b"12/07/2025 10:45").unwrap();
        let minute = Minute::from_epoch_minutes(time.minute.into());
        assert_eq!(minute.to_string(), "2025-07-12T13:45:00Z");
        let (kind, reason) = times.read(b"2025-07-12 13:45").unwrap_err();
        assert_eq!(kind, FaultKind::Timestamp);
        assert!(
            reason.ends_with("is not of the form %d/%m/%Y %H:%M"),
            "{reason}"
        );
        let with_zone = LoadOptions {
            time_format: Some("%d/%m/%Y %H:%M %z".parse().unwrap()),
            ..options
        };
        let time = Times::new(&with_zone)
            .read(b"12/07/2025 15:45 +0200")
            .unwrap();
        let minute = Minute::from_epoch_minutes(time.minute.into());
        assert_eq!(minute.to_string(), "2025-07-12T13:45:00Z");
    }

    proptest! {
        #[test]
        fn the_quick_way_reads_what_the_slow_one_reads(
            zone in "UTC|-03:00|Europe/Berlin|America/Sao_Paulo|Australia/Lord_Howe",
            text in "(20[0-9]{2}|199[0-9])-[01][0-9]-[0-3][0-9][ T][0-2][0-9]:[0-5][0-9](:[0-6][0-9])?Z?",
        ) {
            let options = LoadOptions {
                timezone: Some(parse_timezone(&zone).unwrap()),
                ..LoadOptions::default()
            };
            let mut times = Times::new(&options);
            let quick = times.simple(text.as_bytes());
            if quick.is_some() {
                prop_assert_eq!(quick, times.any(text.as_bytes()).ok());
            }
        }
    }
}
