//! A serde visitor for validated strings. It keeps the text of the parse error and copies nothing.

use std::{fmt, marker::PhantomData};

use serde::{Deserializer, de};

/// Deserializes a string with `parse`, borrowed if the format supports it.
pub(crate) fn deserialize<'de, D, T, E>(
    deserializer: D,
    expecting: &'static str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    E: fmt::Display,
{
    deserializer.deserialize_str(Text {
        expecting,
        parse,
        result: PhantomData,
    })
}

struct Text<P, T> {
    expecting: &'static str,
    parse: P,
    result: PhantomData<T>,
}

impl<P, T, E> de::Visitor<'_> for Text<P, T>
where
    P: Fn(&str) -> Result<T, E>,
    E: fmt::Display,
{
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expecting)
    }

    fn visit_str<F: de::Error>(self, text: &str) -> Result<T, F> {
        (self.parse)(text).map_err(F::custom)
    }
}
