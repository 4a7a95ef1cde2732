//! The name of a stream.

use std::{borrow::Borrow, fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The name of one independent flow of minutes (a merchant, an acquirer): `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stream(Arc<str>);

/// A stream name outside `[A-Za-z0-9][A-Za-z0-9._:-]{0,127}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "stream {0:?} is not a valid name: 1 to 128 characters of A-Z, a-z, 0-9, '.', '_', ':' and '-', starting with a letter or digit"
)]
pub struct StreamError(pub String);

impl Stream {
    /// The stream of messages that name none.
    pub const DEFAULT: &'static str = "default";

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(crate) fn is_default(&self) -> bool {
        &*self.0 == Self::DEFAULT
    }
}

impl Default for Stream {
    fn default() -> Self {
        Self(Self::DEFAULT.into())
    }
}

impl FromStr for Stream {
    type Err = StreamError;

    fn from_str(name: &str) -> Result<Self, StreamError> {
        let valid = name.len() <= 128
            && name.starts_with(|c: char| c.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        if valid {
            Ok(Self(name.into()))
        } else {
            Err(StreamError(name.chars().take(140).collect()))
        }
    }
}

impl Borrow<str> for Stream {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for Stream {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Stream {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a stream name", str::parse::<Self>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_names_are_checked() {
        for name in ["default", "a", "Acquirer.7:eu-west_1", "0"] {
            assert_eq!(
                name.parse::<Stream>().map(|s| s.to_string()),
                Ok(name.to_owned())
            );
        }
        for name in ["", ".a", "a b", "é", "a/b", &"a".repeat(129)] {
            assert!(name.parse::<Stream>().is_err(), "{name:?} must be refused");
        }
    }
}
