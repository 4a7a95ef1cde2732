//! The time zones that can be named: fixed offsets and names of the IANA database, which is bundled.

use jiff::fmt::temporal::DateTimeParser;
use jiff::tz::TimeZone;

/// A zone: an offset such as `-03:00`, or a name such as `America/Sao_Paulo`.
///
/// # Errors
/// Anything else, such as `UTC-3`, whose sign means the opposite in POSIX.
pub fn parse_timezone(text: &str) -> Result<TimeZone, String> {
    let zone = match text.as_bytes() {
        [b'+' | b'-', ..] => DateTimeParser::new().parse_time_zone(text),
        b"Z" => return Ok(TimeZone::UTC),
        _ => TimeZone::get(text),
    };
    zone.map_err(|_| {
        format!("{text:?} is no time zone; give an offset such as -03:00, or a name such as America/Sao_Paulo")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_offsets_and_names_are_zones() {
        for text in ["-03:00", "+0530", "-03", "Z", "UTC", "America/New_York"] {
            assert!(parse_timezone(text).is_ok(), "{text}");
        }
        for text in ["", "UTC-3", "BRT+3", "Mars/Olympus", "-3x"] {
            let error = parse_timezone(text).unwrap_err();
            assert!(error.contains("America/Sao_Paulo"), "{text}: {error}");
        }
    }
}
