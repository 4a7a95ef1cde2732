//! Which streams a person means: one name, or a pattern with `*`.

use std::{fmt, str::FromStr};

/// A stream name in which `*` stands for any characters, none included: `day*`, `*-eu`, `*`. Without `*` it is one stream.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StreamPattern(Box<str>);

/// Text that no stream name can match.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a stream or a pattern: 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':', '-' and '*', starting with a letter, a digit or '*'"
)]
pub struct PatternError(pub String);

impl StreamPattern {
    /// The text of the pattern.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// True if the pattern covers this stream.
    pub fn matches(&self, stream: &str) -> bool {
        let mut parts = self.0.split('*');
        let first = parts.next().unwrap_or_default();
        let Some(mut rest) = stream.strip_prefix(first) else {
            return false;
        };
        let Some(last) = parts.next_back() else {
            return rest.is_empty();
        };
        for part in parts {
            let Some((_, after)) = rest.split_once(part) else {
                return false;
            };
            rest = after;
        }
        rest.ends_with(last)
    }
}

impl FromStr for StreamPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let valid = text.len() <= 128
            && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '*')
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._:-*".contains(&b));
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(PatternError(text.chars().take(140).collect()))
        }
    }
}

impl fmt::Display for StreamPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, matches, others) in [
            ("day", &["day"][..], &["days", "aday", ""][..]),
            ("day*", &["day", "day1", "day-eu"], &["aday", "da"]),
            ("*-eu", &["shop-eu", "-eu"], &["shop-eu1", "eu"]),
            ("a*b*c", &["abc", "a1b2c", "abbcc"], &["ab", "ac", "acb"]),
            ("*", &["", "anything"], &[]),
            ("a*a", &["aa", "aba"], &["a"]),
        ] {
            let parsed: StreamPattern = pattern.parse().expect("valid");
            for stream in matches {
                assert!(parsed.matches(stream), "{pattern} covers {stream:?}");
            }
            for stream in others {
                assert!(!parsed.matches(stream), "{pattern} leaves out {stream:?}");
            }
        }
    }

    #[test]
    fn text_that_no_stream_has_is_refused() {
        for text in ["", "a b", ".a*", "é*", "a/b", &"a".repeat(129)] {
            assert!(text.parse::<StreamPattern>().is_err(), "{text:?}");
        }
    }
}
