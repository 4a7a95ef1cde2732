//! The kinds of value that settings have, and how each is parsed. It knows no setting.

use std::fmt;
use std::time::Duration;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use url::Url;

/// An http or https address that may contain a password or a token; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct SecretUrl(Url);

impl SecretUrl {
    /// Parses an http or https address; the error does not repeat it.
    pub fn parse(text: &str) -> Result<Self, String> {
        parse_http(text).map(Self)
    }

    /// The whole address, for the HTTP client.
    pub(crate) const fn expose(&self) -> &Url {
        &self.0
    }
}

impl fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretUrl(..)")
    }
}

/// The token that callers of the API send; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiToken(String);

impl ApiToken {
    /// Accepts a token that is hard to guess and valid in a header.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let valid = text.len() >= 16 && text.bytes().all(|b| b.is_ascii_graphic());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err("give 16 characters or more of ASCII without spaces".to_owned())
        }
    }

    /// The token, to compare with.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for ApiToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ApiToken(..)")
    }
}

/// The format of webhooks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// JSON of this service, for programs
    #[default]
    Json,
    /// A message for a Slack incoming webhook
    Slack,
    /// An event for PagerDuty's Events API v2; needs WEBHOOK_ROUTING_KEY
    #[value(name = "pagerduty")]
    PagerDuty,
    /// Alerts for the API v2 of an Alertmanager (.../api/v2/alerts)
    Alertmanager,
    /// What WEBHOOK_TEMPLATE_FILE makes of the JSON
    Template,
}

/// The integration key of a PagerDuty service; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct RoutingKey(String);

impl RoutingKey {
    /// Accepts a key of 32 letters and digits.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let valid = text.len() == 32 && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if valid {
            Ok(Self(text.to_owned()))
        } else {
            Err("give the integration key of the service, 32 letters and digits".to_owned())
        }
    }

    /// The key, to send.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for RoutingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RoutingKey(..)")
    }
}

/// Headers of the settings, with their values, which may be secrets; they are never shown.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WebhookHeaders(Vec<(String, String)>);

impl WebhookHeaders {
    /// Parses `Name: value`, one a line or with `;` between them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.split(['\n', ';']).map(str::trim);
        let pair = |line| str::split_once(line, ':').ok_or("give `Name: value`");
        let lines = lines.filter(|line| !line.is_empty());
        let pairs: Vec<_> = lines.map(pair).collect::<Result<_, _>>()?;
        Self::from_pairs(pairs)
    }

    /// Accepts names and values; the error repeats neither.
    pub(super) fn from_pairs(
        pairs: impl IntoIterator<Item = (impl AsRef<str>, impl AsRef<str>)>,
    ) -> Result<Self, String> {
        let headers = pairs.into_iter();
        let headers =
            headers.map(|(name, value)| header(name.as_ref().trim(), value.as_ref().trim()));
        let headers = headers.collect::<Result<_, _>>();
        headers.map(Self).map_err(str::to_owned)
    }

    /// Names and values.
    pub(crate) fn expose(&self) -> &[(String, String)] {
        &self.0
    }
}

fn header(name: &str, value: &str) -> Result<(String, String), &'static str> {
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if name.is_empty() || !name.bytes().all(is_token) {
        return Err("the name of a header has letters, digits, `-`, `_` and `.` only");
    }
    if !value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
        return Err("the value of a header must be ASCII");
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

impl fmt::Debug for WebhookHeaders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookHeaders({} headers)", self.0.len())
    }
}

/// One or two keys that sign webhooks; they are never shown. With two, receivers can change from the old
/// key to the new one at any time.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct WebhookKeys(Vec<Vec<u8>>);

impl WebhookKeys {
    /// Parses `whsec_BASE64`, or two of them with a comma between them.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let key = |secret: &str| {
            let encoded = secret
                .trim()
                .strip_prefix("whsec_")
                .ok_or("each key must begin with whsec_")?;
            let key = BASE64_STANDARD
                .decode(encoded)
                .map_err(|_| "the text after whsec_ must be base64")?;
            if (24..=64).contains(&key.len()) {
                Ok(key)
            } else {
                Err("a key must have 24 to 64 bytes")
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
            Err("give one key, or two during a key change".to_owned())
        }
    }

    /// The bytes of the keys.
    pub(crate) fn expose(&self) -> &[Vec<u8>] {
        &self.0
    }
}

impl fmt::Debug for WebhookKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WebhookKeys({} keys)", self.0.len())
    }
}

/// The base of links: an http or https address, without its last slash.
pub(super) fn http_url(text: &str) -> Result<String, String> {
    parse_http(text).map(|url| url.as_str().trim_end_matches('/').to_owned())
}

fn parse_http(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| {
        format!("{error}; give a whole address, such as https://example.org/path")
    })?;
    // The scheme is not shown: if a password was given by mistake, it is the part before the colon.
    match url.scheme() {
        "http" | "https" => Ok(url),
        _ => Err("the address must begin with http:// or https://".to_owned()),
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

/// One of these names, parsed as the value beside it.
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
