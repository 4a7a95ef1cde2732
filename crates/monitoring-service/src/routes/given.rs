//! Reads a query or a JSON body by its declared fields. Unknown, missing, repeated or bad fields are problems.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    error::{Problem, shortened},
    fields::{Declared, Field, Fields, alternatives},
};

/// Names at least this similar are suggested (Jaro-Winkler, 0 to 1).
const MIN_SIMILARITY: f64 = 0.8;

/// The names and values of a request, in its order.
pub(crate) struct Given<'a> {
    in_body: bool,
    values: Vec<(Cow<'a, str>, Value<'a>)>,
}

/// A value as sent.
enum Value<'a> {
    /// In a query, or a JSON string without its quotes.
    Text(Cow<'a, str>),
    /// Any other JSON.
    Json(&'a str),
}

impl Value<'_> {
    /// The value for people; lists and objects are not repeated.
    fn shown(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text),
            Self::Json(json) => (!json.starts_with(['[', '{'])).then_some(json),
        }
    }
}

impl<'a> Given<'a> {
    pub(super) fn in_query(query: &'a str) -> Self {
        let pairs = url::form_urlencoded::parse(query.as_bytes());
        Self {
            in_body: false,
            values: pairs
                .map(|(name, text)| (name, Value::Text(text)))
                .collect(),
        }
    }

    /// The fields of a form: one that is left empty is not given.
    pub(super) fn in_form(query: &'a str) -> Self {
        let mut given = Self::in_query(query);
        given
            .values
            .retain(|(_, value)| !matches!(value, Value::Text(text) if text.is_empty()));
        given
    }

    /// An error of category `Data` means JSON that is not an object.
    pub(super) fn in_body(body: &'a [u8]) -> Result<Self, serde_json::Error> {
        let Members(members) = serde_json::from_slice(body)?;
        let value = |(name, raw): (String, &'a RawValue)| {
            let json = raw.get();
            let value = if json.starts_with('"') {
                Value::Text(serde_json::from_str::<String>(json)?.into())
            } else {
                Value::Json(json)
            };
            Ok((name.into(), value))
        };
        Ok(Self {
            in_body: true,
            values: members.into_iter().map(value).collect::<Result<_, _>>()?,
        })
    }

    /// Reads all fields of `T`; refuses undeclared and repeated fields.
    pub(super) fn read<T: Fields>(&self) -> Result<T, Problem> {
        let declared = T::declared();
        for (at, (name, value)) in self.values.iter().enumerate() {
            if !declared.iter().any(|field| field.name == *name) {
                return Err(self.unknown(name, value, &declared));
            }
            if self.values[..at].iter().any(|(earlier, _)| earlier == name) {
                let detail = format!("the {} {name} is given more than once", self.what());
                return Err(Problem::invalid(name.to_string(), None, detail).fix("give it once"));
            }
        }
        T::read(self)
    }

    /// Reads one field. Null counts as absent.
    pub(crate) fn field<T: Field>(&self, name: &'static str) -> Result<T, Problem> {
        let given = self.values.iter().find(|(given, _)| given == name);
        let Some((_, value)) = given.filter(|(_, value)| !matches!(value, Value::Json("null")))
        else {
            return T::absent().ok_or_else(|| {
                let detail = format!("the {} {name} is missing", self.what());
                Problem::invalid(name, None, detail).fix(T::fix())
            });
        };
        let read = match value {
            Value::Text(text) if T::QUOTED || !self.in_body => T::read(text),
            Value::Json(json) if !T::QUOTED => T::read(json),
            _ if T::QUOTED => Err("is not a JSON string".to_owned()),
            _ => Err("is not a JSON number".to_owned()),
        };
        read.map_err(|error| {
            Problem::invalid(name, value.shown(), format!("{name} {error}")).fix(T::fix())
        })
    }

    /// Refuses a name and suggests the most similar one.
    fn unknown(&self, name: &str, value: &Value<'_>, declared: &[Declared]) -> Problem {
        let fix = suggestion(name, declared.iter().map(|field| field.name));
        let name = shortened(name);
        let detail = format!("there is no {} {name} here", self.what());
        Problem::invalid(name, value.shown(), detail).fix(fix)
    }

    const fn what(&self) -> &'static str {
        if self.in_body { "field" } else { "parameter" }
    }
}

/// What to do about an unknown name: the most similar known one, or all of them.
pub(super) fn suggestion<'a>(
    name: &str,
    known: impl IntoIterator<Item = &'a str> + Clone,
) -> String {
    let similarity = |known: &'a str| (strsim::jaro_winkler(name, known), known);
    let nearest = known.clone().into_iter().map(similarity);
    match nearest.max_by(|a, b| a.0.total_cmp(&b.0)) {
        Some((similarity, nearest)) if similarity >= MIN_SIMILARITY => {
            format!("did you mean {nearest}?")
        }
        Some(_) => format!("use {}", alternatives(known)),
        None => "leave it out".to_owned(),
    }
}

/// The members of a JSON object in their order, with repeated ones.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Object)
    }
}
