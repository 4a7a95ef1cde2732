//! The kinds of value that a setting can have, and how each is parsed. Which settings there are is not known here.

use std::{ffi::OsStr, fmt, time::Duration};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::{
    Arg, Command,
    builder::{PossibleValuesParser, TypedValueParser},
    error::ErrorKind,
};
use url::Url;

/// Beginnings of the librdkafka properties that the service sets itself: another value would lose or double messages.
const OWNED_PROPERTIES: [&str; 7] = [
    "enable.auto.",
    "auto.commit.enable",
    "auto.offset.reset",
    "group.",
    "bootstrap.servers",
    "metadata.broker.list",
    "enable.partition.eof",
];

/// An http or https address that may hold a password or a token: it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// The address, if it is one of http or https; the error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_http(text).map(Self)
    }

    /// The whole address, for the client that calls it.
    pub const fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(..)")
    }
}

/// The token that callers of the API must show. Never shown itself.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken(String);

impl ApiToken {
    /// The token, if it is long enough not to be guessed and can stand in a header.
    pub fn parse(text: &str) -> Result<Self, String> {
        let valid = text.len() >= 16 && text.bytes().all(|b| b.is_ascii_graphic());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err("give 16 characters or more of ASCII without spaces".to_owned())
        }
    }

    /// The token itself, to compare with.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(..)")
    }
}

/// What the receiver of alerts gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WebhookFormat {
    /// Our own JSON, for programs.
    Json,
    /// A message for a Slack incoming webhook, for people.
    Slack,
}

/// One or two keys that sign webhooks: with two the receiver can change from the old to the new at its leisure. Never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WebhookKeys(Vec<Vec<u8>>);

impl WebhookKeys {
    /// `whsec_BASE64`, or two of them with a comma between.
    pub fn parse(text: &str) -> Result<Self, String> {
        let key = |secret: &str| {
            let encoded = secret
                .trim()
                .strip_prefix("whsec_")
                .ok_or("each secret starts with whsec_")?;
            let key = BASE64_STANDARD
                .decode(encoded)
                .map_err(|_| "after whsec_ stands base64")?;
            if (24..=64).contains(&key.len()) {
                Ok(key)
            } else {
                Err("a key has 24 to 64 bytes")
            }
        };
        let keys: Vec<_> = text
            .split(',')
            .map(key)
            .collect::<Result<_, &str>>()
            .map_err(ToOwned::to_owned)?;
        if keys.len() <= 2 {
            Ok(Self(keys))
        } else {
            Err("give one secret, or two while the old one is still in use".to_owned())
        }
    }

    /// The keys themselves.
    pub fn expose(&self) -> &[Vec<u8>] {
        &self.0
    }
}

impl fmt::Debug for WebhookKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookKeys({} keys)", self.0.len())
    }
}

/// Properties handed to librdkafka as they are. Values are secret: passwords are among them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct KafkaProperties(Vec<(String, String)>);

impl KafkaProperties {
    /// `key=value,key=value`, where `\,` is a comma within a value. Errors name keys, never values.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        // No variable and no argument can hold a NUL, so it can stand for the escaped commas meanwhile.
        let escaped = text.replace("\\,", "\0");
        let entries = escaped.split(',').filter(|entry| !entry.trim().is_empty());
        entries
            .enumerate()
            .map(|(index, entry)| property(index, &entry.replace('\0', ",")))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Key and value of each.
    pub fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl fmt::Debug for KafkaProperties {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.pairs().map(|(key, _)| (key, format_args!(".."))))
            .finish()
    }
}

fn property(index: usize, entry: &str) -> Result<(String, String), String> {
    let number = index + 1;
    let (key, value) = entry.split_once('=').ok_or_else(|| {
        format!("entry {number} has no '=': give key=value,key=value and write a comma within a value as \\,")
    })?;
    let key = key.trim();
    if key.is_empty() {
        return Err(format!("entry {number} has no key: give key=value"));
    }
    if OWNED_PROPERTIES.iter().any(|owned| key.starts_with(owned)) {
        return Err(format!(
            "{key:?} is set by the service itself: leave it out"
        ));
    }
    Ok((key.to_owned(), value.trim().to_owned()))
}

/// Parses a secret: unlike those of clap's own parsers, its errors do not repeat the value.
#[derive(Clone)]
pub(super) struct SecretParser<T>(pub(super) fn(&str) -> Result<T, String>);

impl<T: Clone + Send + Sync + 'static> TypedValueParser for SecretParser<T> {
    type Value = T;

    fn parse_ref(
        &self,
        command: &Command,
        arg: Option<&Arg>,
        value: &OsStr,
    ) -> Result<T, clap::Error> {
        let parsed = value
            .to_str()
            .ok_or_else(|| "not UTF-8 text".to_owned())
            .and_then(self.0);
        parsed.map_err(|reason| {
            // `--name <NAME>`, as in clap's own messages.
            let name = arg.map(ToString::to_string).unwrap_or_default();
            command.clone().error(
                ErrorKind::ValueValidation,
                format!("invalid value for '{name}': {reason}"),
            )
        })
    }
}

/// The base of a link: an http or https address, kept without the last slash.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    parse_http(text).map(|url| url.as_str().trim_end_matches('/').to_owned())
}

fn parse_http(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| {
        format!("{error}: give a whole address, such as https://example.org/path")
    })?;
    // The scheme is not named: of a password given by mistake it is the part before the first colon.
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("give an address that begins with http:// or https://".to_owned()),
    }
}

/// A duration with its unit, from `min` to `max`.
pub(super) fn duration(
    min: &'static str,
    max: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    let limit = |text| humantime::parse_duration(text).expect("limits are durations");
    let range = limit(min)..=limit(max);
    move |text| {
        let allowed = humantime::parse_duration(text)
            .ok()
            .filter(|duration| range.contains(duration));
        allowed.ok_or_else(|| {
            format!("give a duration with its unit from {min} to {max}, such as 90s, 5m or 2h")
        })
    }
}

/// A duration of whole minutes, from `min` to `max`.
pub(super) fn whole_minutes(
    min: &'static str,
    max: &'static str,
) -> impl Fn(&str) -> Result<Duration, String> + Clone + Send + Sync + 'static {
    let parse = duration(min, max);
    move |text| {
        let whole = parse(text)
            .ok()
            .filter(|duration| duration.as_millis() % 60_000 == 0);
        whole.ok_or_else(|| {
            format!("give whole minutes with their unit from {min} to {max}, such as 0m, 5m or 2h")
        })
    }
}

/// One of these names.
pub(super) fn choice<T: Copy + Send + Sync + 'static>(
    names: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    let value_of = |name: &str| {
        names
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    };
    PossibleValuesParser::new(names.iter().map(|(name, _)| *name))
        .map(move |name| value_of(&name).expect("clap refuses every other name"))
}
