//! When a silence is active: from one instant to another, and within it only at weekly times if they are given.

use std::{fmt, str::FromStr};

/// The time of a silence, milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    /// It begins here.
    pub from_ms: i64,
    /// It ends before this.
    pub until_ms: i64,
    /// Within it, only these times of the week; `None`: all of it.
    pub weekly: Option<Weekly>,
}

impl Period {
    /// True if the silence is active at this instant.
    pub fn contains(&self, at_ms: i64) -> bool {
        (self.from_ms..self.until_ms).contains(&at_ms)
            && self.weekly.is_none_or(|weekly| weekly.contains(at_ms))
    }
}

const DAY_MINUTES: i64 = 1440;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// All days of the week.
const DAILY: &str = "daily";

/// Times that recur every week: `sat,sun 01:00-03:00`, in UTC, or with a fixed offset behind it: `sat,sun 01:00-03:00 -03:00`.
/// `daily` is every day. A window that ends at or before its start ends on the next day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Weekly {
    /// On which days windows begin: bit 0 is Monday.
    days: u8,
    /// Start and end in minutes after midnight.
    from: i64,
    to: i64,
    /// Minutes that the local time is ahead of UTC.
    offset: i64,
}

/// Text that names no weekly time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("is not a weekly time")]
pub struct WeeklyError;

impl Weekly {
    fn contains(self, at_ms: i64) -> bool {
        let local = at_ms.div_euclid(60_000) + self.offset;
        let (day, minute) = (local.div_euclid(DAY_MINUTES), local.rem_euclid(DAY_MINUTES));
        if self.from < self.to {
            return self.begins_on(day) && (self.from..self.to).contains(&minute);
        }
        (self.begins_on(day) && minute >= self.from)
            || (self.begins_on(day - 1) && minute < self.to)
    }

    /// `day`: days since 1970-01-01, which was a Thursday.
    const fn begins_on(self, day: i64) -> bool {
        self.days >> (day + 3).rem_euclid(7) & 1 == 1
    }
}

impl FromStr for Weekly {
    type Err = WeeklyError;

    fn from_str(text: &str) -> Result<Self, WeeklyError> {
        let mut words = text.split_whitespace();
        let days = words.next().and_then(days).ok_or(WeeklyError)?;
        let times = words.next().and_then(|times| times.split_once('-'));
        let (from, to) = times.ok_or(WeeklyError)?;
        let offset = words.next().map_or(Some(0), offset).ok_or(WeeklyError)?;
        if words.next().is_some() {
            return Err(WeeklyError);
        }
        Ok(Self {
            days,
            from: clock(from)
                .filter(|from| *from < DAY_MINUTES)
                .ok_or(WeeklyError)?,
            to: clock(to).ok_or(WeeklyError)?,
            offset,
        })
    }
}

fn days(text: &str) -> Option<u8> {
    if text.eq_ignore_ascii_case(DAILY) {
        return Some(0b111_1111);
    }
    text.split(',').try_fold(0, |days, name| {
        let day = DAYS.iter().position(|day| day.eq_ignore_ascii_case(name))?;
        Some(days | 1 << day)
    })
}

/// Minutes after midnight, up to 24:00.
fn clock(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        text.parse::<i64>().ok().filter(|_| digits)
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    let clock = hours * 60 + minutes;
    (minutes < 60 && clock <= DAY_MINUTES).then_some(clock)
}

/// `UTC`, or an offset such as `-03:00`, in minutes.
fn offset(text: &str) -> Option<i64> {
    match text.split_at_checked(1)? {
        ("+", ahead) => clock(ahead),
        ("-", behind) => clock(behind).map(|behind| -behind),
        _ => text.eq_ignore_ascii_case("utc").then_some(0),
    }
}

impl fmt::Display for Weekly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let named = |day: &usize| self.days >> day & 1 == 1;
        let days: Vec<_> = (0..7).filter(named).map(|day| DAYS[day]).collect();
        if days.len() == 7 {
            f.write_str(DAILY)?;
        } else {
            f.write_str(&days.join(","))?;
        }
        let clock = |minutes: i64| format!("{:02}:{:02}", minutes / 60, minutes % 60);
        write!(f, " {}-{}", clock(self.from), clock(self.to))?;
        match self.offset {
            0 => Ok(()),
            ahead @ 1.. => write!(f, " +{}", clock(ahead)),
            behind => write!(f, " -{}", clock(-behind)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::minute::instant;

    fn ms(text: &str) -> i64 {
        instant(text).expect("an instant").as_millisecond()
    }

    fn weekly(text: &str) -> Weekly {
        text.parse().expect("a weekly time")
    }

    #[test]
    fn a_period_has_its_start_and_not_its_end() {
        let (from_ms, until_ms) = (ms("2025-07-12T10:00Z"), ms("2025-07-12T11:00Z"));
        let period = |weekly| Period {
            from_ms,
            until_ms,
            weekly,
        };
        for (at, active) in [
            (from_ms - 1, false),
            (from_ms, true),
            (until_ms - 1, true),
            (until_ms, false),
        ] {
            assert_eq!(period(None).contains(at), active, "{at}");
        }
        // 2025-07-12 is a Saturday.
        assert!(period(Some(weekly("sat 10:00-10:30"))).contains(from_ms));
        assert!(!period(Some(weekly("sun 10:00-10:30"))).contains(from_ms));
        assert!(!period(Some(weekly("sat 09:00-12:00"))).contains(until_ms));
    }

    #[test]
    fn weekly_times_recur() {
        for (text, at, active) in [
            ("sat,sun 01:00-03:00", "2025-07-12T01:00Z", true),
            ("sat,sun 01:00-03:00", "2025-07-13T02:59Z", true),
            ("sat,sun 01:00-03:00", "2025-07-13T03:00Z", false),
            ("sat,sun 01:00-03:00", "2025-07-14T02:00Z", false),
            ("sat,sun 01:00-03:00", "2025-07-19T02:00Z", true),
            // Past midnight: the window belongs to the day on which it begins.
            ("fri 22:00-02:00", "2025-07-11T22:00Z", true),
            ("fri 22:00-02:00", "2025-07-12T01:59Z", true),
            ("fri 22:00-02:00", "2025-07-12T02:00Z", false),
            ("fri 22:00-02:00", "2025-07-11T01:00Z", false),
            // 01:00 at UTC-3 is 04:00 UTC.
            ("sat 01:00-03:00 -03:00", "2025-07-12T04:00Z", true),
            ("sat 01:00-03:00 -03:00", "2025-07-12T01:00Z", false),
            ("sat 23:00-24:00 +05:30", "2025-07-12T17:30Z", true),
            ("daily 00:00-00:00", "2025-07-12T12:00Z", true),
            ("daily 00:00-24:00", "2025-07-12T23:59Z", true),
            // Before 1970: 1969-12-31 was a Wednesday.
            ("wed 10:00-11:00", "1969-12-31T10:30Z", true),
        ] {
            assert_eq!(weekly(text).contains(ms(at)), active, "{text} at {at}");
        }
    }

    #[test]
    fn a_weekly_time_survives_its_text() {
        for (text, written) in [
            ("sat,sun 01:00-03:00", "sat,sun 01:00-03:00"),
            ("SUN,Sat 01:00-03:00 utc", "sat,sun 01:00-03:00"),
            ("daily 22:00-08:00 +05:30", "daily 22:00-08:00 +05:30"),
            ("mon 22:00-24:00 -03:00", "mon 22:00-24:00 -03:00"),
        ] {
            assert_eq!(weekly(text).to_string(), written);
            assert_eq!(weekly(written), weekly(text));
        }
        for text in [
            "",
            "sat",
            "sat 01:00",
            "saturday 01:00-02:00",
            "sat, sun 01:00-02:00",
            "sat 1:00-2:00",
            "sat 25:00-26:00",
            "sat 24:00-02:00",
            "sat 01:60-02:00",
            "sat 01:00-02:00 CET",
            "sat 01:00-02:00 -03:00 x",
            "sat 01:00-02:00 é",
        ] {
            assert!(text.parse::<Weekly>().is_err(), "{text:?}");
        }
    }
}
