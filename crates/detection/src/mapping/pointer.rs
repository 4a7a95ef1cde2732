//! JSON pointers (RFC 6901), and the values at a few of them, read in one pass without a tree.

use std::{fmt, str::FromStr};

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::value::Scalar;
use crate::message::MessageError;

/// A JSON pointer to a field, such as `/payment/status`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer(Vec<String>);

impl Pointer {
    /// The pointer to a member of the message itself.
    pub(super) fn of(member: &str) -> Self {
        Self(vec![member.to_owned()])
    }

    /// The member of the message that it leads through.
    pub(super) fn first(&self) -> &str {
        &self.0[0]
    }

    /// The value at a pointer; an error if it is missing.
    pub(super) fn required<'v, 'a>(
        &self,
        value: Option<&'v Scalar<'a>>,
    ) -> Result<&'v Scalar<'a>, MessageError> {
        value.ok_or_else(|| self.missing())
    }

    pub(super) fn missing(&self) -> MessageError {
        MessageError::Unusable(format!("there is no {self}"))
    }
}

impl FromStr for Pointer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tokens = text.strip_prefix('/').filter(|rest| !rest.is_empty());
        let tokens =
            tokens.ok_or("a JSON pointer begins with / and names a field: /payment/status")?;
        let token = |token: &str| token.replace("~1", "/").replace("~0", "~");
        Ok(Self(tokens.split('/').map(token).collect()))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0
            .iter()
            .try_for_each(|token| write!(f, "/{}", token.replace('~', "~0").replace('/', "~1")))
    }
}

/// Pointers that are looked up at once.
const COUNT: usize = 4;

/// The values at pointers.
pub(super) type Found<'de> = [Option<Scalar<'de>>; COUNT];

/// Finds the values at these pointers.
pub(super) fn find<'de>(
    json: &'de [u8],
    pointers: [Option<&Pointer>; COUNT],
) -> Result<Found<'de>, serde_json::Error> {
    let mut found = Found::default();
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let walk = Walk {
        pointers: &pointers,
        depth: 0,
        on_path: pointers.map(|pointer| pointer.is_some()),
        found: &mut found,
    };
    walk.deserialize(&mut deserializer)?;
    deserializer.end()?;
    Ok(found)
}

/// A place in the document, and which pointers lead there or through it.
struct Walk<'w, 'de> {
    pointers: &'w [Option<&'w Pointer>; COUNT],
    depth: usize,
    on_path: [bool; COUNT],
    found: &'w mut Found<'de>,
}

impl<'de> Walk<'_, 'de> {
    /// The pointers that lead on by this token.
    fn through(&self, token: &str) -> [bool; COUNT] {
        std::array::from_fn(|i| {
            self.on_path[i]
                && self.pointers[i]
                    .is_some_and(|of| of.0.get(self.depth).is_some_and(|t| t == token))
        })
    }

    /// A walk one level deeper.
    fn deeper(&mut self, on_path: [bool; COUNT]) -> Walk<'_, 'de> {
        Walk {
            pointers: self.pointers,
            depth: self.depth + 1,
            on_path,
            found: self.found,
        }
    }

    fn take(self, value: &Scalar<'de>) {
        for i in 0..COUNT {
            let ends = |of: &Pointer| of.0.len() == self.depth;
            if self.on_path[i] && self.pointers[i].is_some_and(ends) {
                self.found[i] = Some(value.clone());
            }
        }
    }

    /// An object or a list is no value; it is noted where a pointer ends at it.
    fn take_compound(&mut self) {
        let on_path = self.on_path;
        let here = Walk {
            pointers: self.pointers,
            depth: self.depth,
            on_path,
            found: self.found,
        };
        here.take(&Scalar::Compound);
    }
}

impl<'de> DeserializeSeed<'de> for Walk<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        self.take_compound();
        while let Some(on_path) = map.next_key_seed(Member(&self))? {
            if on_path.contains(&true) {
                map.next_value_seed(self.deeper(on_path))?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut list: A) -> Result<(), A::Error> {
        self.take_compound();
        for index in 0_usize.. {
            let on_path = self.through(&index.to_string());
            if list.next_element_seed(self.deeper(on_path))?.is_none() {
                break;
            }
        }
        Ok(())
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<(), E> {
        self.take(&Scalar::Text(text.into()));
        Ok(())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.take(&Scalar::Text(text.to_owned().into()));
        Ok(())
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.take(&Scalar::Integer(number));
        Ok(())
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.take(&Scalar::Integer(i64::try_from(number).unwrap_or(i64::MAX)));
        Ok(())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.take(&Scalar::Float(number));
        Ok(())
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.take(&Scalar::Compound);
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.take(&Scalar::Null);
        Ok(())
    }
}

/// The name of a member: which pointers lead on by it.
struct Member<'m, 'w, 'de>(&'m Walk<'w, 'de>);

impl<'de> DeserializeSeed<'de> for Member<'_, '_, '_> {
    type Value = [bool; COUNT];

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Member<'_, '_, '_> {
    type Value = [bool; COUNT];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a member name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.through(name))
    }
}
