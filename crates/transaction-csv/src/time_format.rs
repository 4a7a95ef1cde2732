//! Forms of times that the user names, and those that a refused time seems to have.

use std::fmt;
use std::str::FromStr;

use jiff::civil::date;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::TimeZone;

/// How times are written, with the conversions of `strptime`: a date and a time of day, such as `%d/%m/%Y %H:%M`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeFormat(String);

/// No format of a date and a time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not the form of a date and time; write it with the conversions of strptime, such as %d/%m/%Y %H:%M or %m/%d/%Y %I:%M:%S %p"
)]
pub struct TimeFormatError(String);

impl FromStr for TimeFormat {
    type Err = TimeFormatError;

    fn from_str(text: &str) -> Result<Self, TimeFormatError> {
        let format = Self(text.to_owned());
        // A time that each conversion of a date and a time of day can write.
        let example = date(2001, 11, 22).at(15, 44, 0, 0);
        let zoned = example
            .to_zoned(TimeZone::UTC)
            .map_err(|_| TimeFormatError(text.to_owned()))?;
        let again = strtime::format(text, &zoned)
            .ok()
            .and_then(|written| format.parse(&written).ok())
            .and_then(|read| read.to_datetime().ok());
        match again {
            Some(again) if again == example => Ok(format),
            _ => Err(TimeFormatError(text.to_owned())),
        }
    }
}

impl TimeFormat {
    pub(crate) fn parse(&self, text: &str) -> Result<BrokenDownTime, jiff::Error> {
        strtime::parse(&self.0, text)
    }
}

impl fmt::Display for TimeFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Which of the first two numbers of a date is the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    DayFirst,
    MonthFirst,
    /// Both may be a month.
    Either,
}

/// A form such as `12/07/2025 13:45`, `12.07.2025 13:45:00` or `7/12/2025 1:45 PM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DateForm {
    pub(crate) order: Order,
    separator: char,
    has_seconds: bool,
    has_half: bool,
}

impl DateForm {
    /// The form of this text, if it is such a one.
    pub(crate) fn of(text: &str) -> Option<Self> {
        let separator = ['/', '.', '-']
            .into_iter()
            .find(|separator| text.contains(*separator))?;
        let (date, time) = text.split_once(' ')?;
        let [first, second, year] = date.split(separator).collect::<Vec<_>>()[..] else {
            return None;
        };
        let (time, half) = time.split_once(' ').map_or((time, None), |(time, half)| {
            (time, Some(half.to_ascii_lowercase()))
        });
        let is_half = half
            .as_deref()
            .is_none_or(|half| half == "am" || half == "pm");
        let parts = time.split(':').count();
        let are_numbers = time.split(':').all(|part| number(part).is_some());
        if year.len() != 4 || !is_half || !are_numbers || !(2..=3).contains(&parts) {
            return None;
        }
        number(year)?;
        let order = match (number(first)?, number(second)?) {
            (13..=31, 1..=12) => Order::DayFirst,
            (1..=12, 13..=31) => Order::MonthFirst,
            // Only where the day is first.
            (1..=12, 1..=12) if separator == '.' => Order::DayFirst,
            (1..=12, 1..=12) => Order::Either,
            _ => return None,
        };
        Some(Self {
            order,
            separator,
            has_seconds: parts == 3,
            has_half: half.is_some(),
        })
    }

    /// The format that reads it, with the day first or not.
    pub(crate) fn format(self, day_first: bool) -> String {
        let (first, second) = if day_first { ("d", "m") } else { ("m", "d") };
        let separator = self.separator;
        let hour = if self.has_half { "I" } else { "H" };
        let seconds = if self.has_seconds { ":%S" } else { "" };
        let half = if self.has_half { " %p" } else { "" };
        format!("%{first}{separator}%{second}{separator}%Y %{hour}:%M{seconds}{half}")
    }
}

fn number(text: &str) -> Option<u32> {
    let all_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    all_digits.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use jiff::civil::DateTime;

    use super::*;

    fn read(format: &str, text: &str) -> DateTime {
        let format: TimeFormat = format.parse().expect("a format");
        let read = format.parse(text).expect("read");
        read.to_datetime().expect("a date and a time")
    }

    #[test]
    fn a_format_has_a_date_and_a_time() {
        for format in [
            "%d/%m/%Y %H:%M",
            "%Y%m%d%H%M",
            "%m/%d/%Y %I:%M:%S %p",
            "%F %T",
        ] {
            assert!(format.parse::<TimeFormat>().is_ok(), "{format}");
        }
        for format in [
            "",
            "dd/mm/yyyy",
            "%d/%m/%Y",
            "%H:%M",
            "%d/%m/%Y %I:%M",
            "%!",
        ] {
            let error = format.parse::<TimeFormat>().expect_err(format).to_string();
            assert!(error.contains("such as %d/%m/%Y %H:%M"), "{error}");
        }
    }

    #[test]
    fn the_form_of_a_time_reads_it() {
        let expected = date(2025, 7, 25).at(13, 45, 0, 0);
        for (text, format) in [
            ("25/07/2025 13:45", "%d/%m/%Y %H:%M"),
            ("25.7.2025 13:45:00", "%d.%m.%Y %H:%M:%S"),
            ("7/25/2025 1:45 PM", "%m/%d/%Y %I:%M %p"),
            ("07-25-2025 01:45:00 pm", "%m-%d-%Y %I:%M:%S %p"),
        ] {
            let form = DateForm::of(text).expect(text);
            let found = form.format(form.order == Order::DayFirst);
            assert_eq!(found, format, "{text}");
            assert_eq!(read(&found, text), expected, "{text}");
        }
        let either = DateForm::of("12/07/2025 13:45").expect("a form");
        assert_eq!(either.order, Order::Either);
        assert_eq!(either.format(false), "%m/%d/%Y %H:%M");
        for text in [
            "",
            "25/07/2025",
            "25/13/2025 13:45",
            "25/07/25 13:45",
            "x/07/2025 13:45",
        ] {
            assert_eq!(DateForm::of(text), None, "{text}");
        }
    }
}
