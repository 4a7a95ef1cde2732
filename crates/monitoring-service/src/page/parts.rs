//! Small parts of several views: times, severities, numbers.

use detection::{Minute, Severity, State};
use jiff::Timestamp;
use maud::{Markup, html};

use crate::alerts::Alert;

/// An instant. The text is UTC; the script replaces it by local time and keeps UTC for a hover.
pub(super) fn at(instant_ms: i64) -> Markup {
    let instant = Timestamp::from_millisecond(instant_ms).unwrap_or(Timestamp::MAX);
    let text = instant.strftime("%-d %b %H:%M").to_string();
    html! { time datetime=(format!("{instant:.0}")) title=(instant.strftime("%Y-%m-%d %H:%M:%S UTC")) { (text) } }
}

/// The start of a minute.
pub(super) fn minute(minute: Minute) -> Markup {
    at(minute.start().as_millisecond())
}

/// How long ago, in the largest unit that fits: `4 min ago`.
pub(super) fn ago(then_ms: i64, now_ms: i64) -> String {
    format!("{} ago", lasting(then_ms, now_ms))
}

/// The time from one instant to another, in the largest unit that fits.
pub(super) fn lasting(from_ms: i64, to_ms: i64) -> String {
    let seconds = (to_ms - from_ms).max(0) / 1000;
    match seconds {
        0..60 => format!("{seconds} s"),
        60..7200 => format!("{} min", seconds / 60),
        7200..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// The class of a state in the stylesheet.
pub(super) const fn class(state: State) -> &'static str {
    match state {
        State::Critical => "crit",
        State::Warning | State::Stale => "warn",
        State::Normal => "ok",
        State::Learning | State::NotJudged => "none",
    }
}

/// A state as a word with a colour.
pub(super) fn badge(state: State) -> Markup {
    let name = state.to_string().replace('_', " ");
    html! { span class={ "badge " (class(state)) } { (name) } }
}

/// A severity as a word with a colour.
pub(super) fn severity(severity: Severity) -> Markup {
    badge(State::of(severity))
}

/// A count or a limit of one, with one decimal where it is small.
pub(super) fn number(count: f64) -> String {
    if count >= 10.0 || count.fract() == 0.0 {
        format!("{count:.0}")
    } else {
        format!("{count:.1}")
    }
}

/// A whole number with commas: `33,484`.
pub(super) fn grouped(number: u64) -> String {
    match (number / 1000, number % 1000) {
        (0, rest) => rest.to_string(),
        (thousands, rest) => format!("{},{rest:03}", grouped(thousands)),
    }
}

/// The sentence of an alert without its severity, which stands beside it.
pub(super) fn sentence(alert: &Alert) -> &str {
    without_severity(&alert.message)
}

/// A sentence without the severity that it begins with.
pub(super) fn without_severity(text: &str) -> &str {
    let mut severities = [Severity::Critical, Severity::Warning].into_iter();
    let rest = |severity: Severity| text.strip_prefix(severity.name())?.strip_prefix(": ");
    severities.find_map(rest).unwrap_or(text)
}

/// A link to a stream.
pub(super) fn stream_path(stream: &str) -> String {
    // Names have only characters that a path allows.
    format!("page/streams/{stream}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_utc_with_the_date_for_a_hover() {
        assert_eq!(
            at(1_752_332_400_000).into_string(),
            "<time datetime=\"2025-07-12T15:00:00Z\" title=\"2025-07-12 15:00:00 UTC\">12 Jul 15:00</time>"
        );
    }

    #[test]
    fn a_long_number_has_commas() {
        for (number, text) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (12_034_005, "12,034,005"),
        ] {
            assert_eq!(grouped(number), text);
        }
    }

    #[test]
    fn an_age_has_one_unit() {
        for (seconds, text) in [
            (-5, "0 s ago"),
            (59, "59 s ago"),
            (7199, "119 min ago"),
            (172_799, "47 h ago"),
            (172_800, "2 days ago"),
        ] {
            assert_eq!(ago(0, seconds * 1000), text);
        }
    }
}
