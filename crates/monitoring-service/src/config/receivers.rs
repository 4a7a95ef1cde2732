//! The receivers: the one that variables describe, and those of `RECEIVERS_FILE`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use detection::{Severity, StreamPattern};
use serde::Deserialize;

use super::{Config, Notify, RoutingKey, SecretUrl, WebhookFormat, WebhookHeaders};
use crate::{
    alerts::{
        DEFAULT_RECEIVER, FALLBACK_RECEIVER, Fallback, IncidentSettings, NotifyPolicy, Route,
    },
    clock::milliseconds,
};

/// The settings of one receiver.
#[derive(Clone, Debug)]
pub(crate) struct ReceiverSettings {
    /// Its name in deliveries, logs, metrics and `/health`.
    pub(crate) name: String,
    /// Its address.
    pub(crate) url: SecretUrl,
    /// The format of its messages.
    pub(crate) format: WebhookFormat,
    /// The integration key; set if the format is PagerDuty's.
    pub(crate) routing_key: Option<RoutingKey>,
    /// The template; set if the format is one.
    pub(crate) template: Option<PathBuf>,
    /// More headers.
    pub(crate) headers: WebhookHeaders,
    /// The severities that it gets.
    pub(crate) severities: Vec<Severity>,
    /// The streams that it gets; empty: all.
    pub(crate) streams: Vec<StreamPattern>,
    /// True if it stands in for the others when they fail, and gets nothing else.
    pub(crate) is_fallback: bool,
}

impl ReceiverSettings {
    /// Rules that involve more than one field; the error is a field and what to do.
    fn check(self) -> Result<Self, String> {
        let valid = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
        if self.name.is_empty() || self.name.len() > 64 || !self.name.bytes().all(valid) {
            return Err(
                "name: give 1 to 64 letters, digits, `.`, `_` and `-`, and nothing else".to_owned(),
            );
        }
        if self.name == FALLBACK_RECEIVER && !self.is_fallback {
            return Err(
                "name: this is the receiver of FALLBACK_WEBHOOK_URL; give another, or fallback = true"
                    .to_owned(),
            );
        }
        if self.name == DEFAULT_RECEIVER {
            return Err("name: this is the receiver of ALERT_WEBHOOK_URL; give another".to_owned());
        }
        let is_pagerduty = self.format == WebhookFormat::PagerDuty;
        if is_pagerduty != self.routing_key.is_some() {
            return Err(
                "routing_key: it and format = \"pagerduty\" need each other; give both or neither"
                    .to_owned(),
            );
        }
        let is_template = self.format == WebhookFormat::Template;
        if is_template != self.template.is_some() {
            return Err(
                "template: it and format = \"template\" need each other; give both or neither"
                    .to_owned(),
            );
        }
        // It would get the opening of an incident, but not its end after a rise to CRITICAL.
        if !self.severities.contains(&Severity::Critical) {
            return Err(
                "severities: give [\"critical\"] or [\"warning\", \"critical\"]".to_owned(),
            );
        }
        Ok(self)
    }

    fn route(&self) -> Route {
        Route {
            receiver: self.name.clone(),
            severities: self.severities.clone(),
            streams: self.streams.clone(),
            acknowledgements: self.acknowledgements(),
        }
    }

    const fn acknowledgements(&self) -> bool {
        matches!(self.format, WebhookFormat::PagerDuty | WebhookFormat::Json)
    }
}

/// The receivers of a file.
#[derive(Clone, Debug)]
pub struct ReceiversFile(Vec<ReceiverSettings>);

impl ReceiversFile {
    /// Reads the file; the error names the place and never repeats a secret.
    pub(super) fn read(path: &str) -> Result<Self, String> {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("cannot read: {error}"))?;
        let folder = Path::new(path).parent().unwrap_or(Path::new("."));
        Self::parse(&text, folder)
    }

    fn parse(text: &str, folder: &Path) -> Result<Self, String> {
        let file: File = toml::from_str(text).map_err(|error| place(&error, text))?;
        let mut names = HashSet::new();
        let receiver = |fields: Fields| {
            let name = fields.name.clone();
            let settings = fields.settings(folder).and_then(ReceiverSettings::check);
            let settings = settings.map_err(|reason| format!("receiver {name:?}: {reason}"))?;
            if names.insert(name.clone()) {
                Ok(settings)
            } else {
                Err(format!(
                    "receiver {name:?}: name: it is there twice; rename one"
                ))
            }
        };
        let receivers: Vec<_> = file
            .receiver
            .into_iter()
            .map(receiver)
            .collect::<Result<_, _>>()?;
        if receivers.is_empty() {
            return Err(
                "there is no [[receiver]] in it; add one, or unset the variable".to_owned(),
            );
        }
        Ok(Self(receivers))
    }
}

/// Line, key and reason of an error, without the value, which may be a secret.
fn place(error: &toml::de::Error, text: &str) -> String {
    let start = error.span().map_or(0, |span| span.start);
    let before = text.get(..start).unwrap_or_default();
    let number = before.matches('\n').count() + 1;
    let line = text.lines().nth(number - 1).unwrap_or_default();
    let key = line.split_once('=').map_or("", |(key, _)| key).trim();
    let message = error.message();
    let reason = match (message.find('"'), message.rfind('"')) {
        (Some(first), Some(last)) if first < last => {
            format!("{}...{}", &message[..=first], &message[last..])
        }
        _ => message.to_owned(),
    };
    match key {
        "" => format!("line {number}: {reason}"),
        key => format!("line {number}, {key}: {reason}"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    receiver: Vec<Fields>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    name: String,
    url: Option<String>,
    url_file: Option<String>,
    #[serde(default)]
    format: WebhookFormat,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    routing_key: Option<String>,
    template: Option<PathBuf>,
    severities: Option<Vec<SeverityName>>,
    streams: Option<Vec<String>>,
    #[serde(default)]
    fallback: bool,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum SeverityName {
    Warning,
    Critical,
}

impl Fields {
    fn settings(self, folder: &Path) -> Result<ReceiverSettings, String> {
        let url = match (self.url, self.url_file) {
            (Some(url), None) => SecretUrl::parse(&url).map_err(|reason| format!("url: {reason}")),
            (None, Some(file)) => {
                let path = folder.join(file);
                let url = std::fs::read_to_string(&path);
                url.map_err(|error| format!("cannot read {}: {error}", path.display()))
                    .and_then(|url| SecretUrl::parse(url.trim_end()))
                    .map_err(|reason| format!("url_file: {reason}"))
            }
            _ => Err("url: give either it or url_file".to_owned()),
        };
        if self.fallback && (self.severities.is_some() || self.streams.is_some()) {
            return Err(
                "fallback: it gets what the others owe; leave out its severities and streams"
                    .to_owned(),
            );
        }
        let key = self.routing_key.as_deref().map(RoutingKey::parse);
        let severity = |name| match name {
            SeverityName::Warning => Severity::Warning,
            SeverityName::Critical => Severity::Critical,
        };
        let severities = self.severities.unwrap_or(vec![SeverityName::Critical]);
        let streams = self.streams.iter().flatten().map(|text| text.parse());
        let streams = streams.collect::<Result<_, detection::pattern::PatternError>>();
        Ok(ReceiverSettings {
            name: self.name,
            url: url?,
            format: self.format,
            routing_key: key
                .transpose()
                .map_err(|reason| format!("routing_key: {reason}"))?,
            template: self.template.map(|file| folder.join(file)),
            headers: WebhookHeaders::from_pairs(self.headers)
                .map_err(|reason| format!("headers: {reason}"))?,
            severities: severities.into_iter().map(severity).collect(),
            streams: streams.map_err(|error| format!("streams: {error}"))?,
            is_fallback: self.fallback,
        })
    }
}

impl Config {
    /// Every receiver: that of `ALERT_WEBHOOK_URL` first, then that of `FALLBACK_WEBHOOK_URL`, then those of `RECEIVERS_FILE`.
    pub(crate) fn receivers(&self) -> Vec<ReceiverSettings> {
        let of_variables = |name: &str, url: &SecretUrl| ReceiverSettings {
            name: name.to_owned(),
            url: url.clone(),
            format: self.webhook_format,
            routing_key: self.webhook_routing_key.clone(),
            template: self.webhook_template_file.clone(),
            headers: self.webhook_headers.clone(),
            severities: vec![Severity::Critical],
            streams: Vec::new(),
            is_fallback: false,
        };
        let default = self.alert_webhook_url.as_ref();
        let default = default.map(|url| of_variables(DEFAULT_RECEIVER, url));
        let fallback = self.fallback_webhook_url.as_ref();
        let fallback = fallback.map(|url| ReceiverSettings {
            // They may hold the credentials of the other address.
            headers: WebhookHeaders::default(),
            is_fallback: true,
            ..of_variables(FALLBACK_RECEIVER, url)
        });
        let file = self.receivers_file.iter().flat_map(|file| &file.0);
        let of_variables = default.into_iter().chain(fallback);
        of_variables.chain(file.cloned()).collect()
    }

    /// Rules of the fallback; the error names the settings.
    pub(super) fn check_fallback(&self) -> Result<(), String> {
        let (fallbacks, others): (Vec<_>, Vec<_>) = self
            .receivers()
            .into_iter()
            .partition(|one| one.is_fallback);
        match fallbacks.as_slice() {
            [_, _, ..] => Err(
                "there are several fallbacks (FALLBACK_WEBHOOK_URL, fallback = true in RECEIVERS_FILE); keep one"
                    .to_owned(),
            ),
            [one] if others.is_empty() => Err(format!(
                "the fallback {:?} (FALLBACK_WEBHOOK_URL, RECEIVERS_FILE) has no receiver to stand in for; set ALERT_WEBHOOK_URL, or add one without fallback = true",
                one.name
            )),
            _ => Ok(()),
        }
    }

    /// What is notified.
    pub fn notify_policy(&self) -> NotifyPolicy {
        let notify = self.notify_or_default();
        let (fallbacks, others): (Vec<_>, Vec<_>) = self
            .receivers()
            .into_iter()
            .partition(|one| one.is_fallback);
        NotifyPolicy {
            routes: others.iter().map(ReceiverSettings::route).collect(),
            fallback: fallbacks.first().map(|one| Fallback {
                receiver: one.name.clone(),
                after_ms: milliseconds(self.fallback_after),
                acknowledgements: one.acknowledgements(),
            }),
            max_age_ms: self.page_max_age.map(milliseconds),
            incidents: IncidentSettings {
                notified: notify == Notify::Incidents,
                warnings: self.notify_severity == Severity::Warning,
                group_wait_ms: milliseconds(self.group_wait),
                escalate_after_ms: milliseconds(self.escalate_after),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<ReceiverSettings>, String> {
        ReceiversFile::parse(text, Path::new(".")).map(|file| file.0)
    }

    #[test]
    fn the_documented_file_is_read() {
        let docs = include_str!("../../../../docs/receivers.md");
        let example = docs.split("```toml").nth(1).expect("an example");
        let example = example.split("```").next().expect("its end");
        let receivers = parse(example).expect("the documented file is right");
        let names: Vec<_> = receivers.iter().map(|one| one.name.as_str()).collect();
        assert_eq!(names, ["on-call", "team-chat", "archive", "spare"]);
        assert_eq!(receivers[0].format, WebhookFormat::PagerDuty);
        let both = [Severity::Warning, Severity::Critical];
        assert_eq!(receivers[1].severities, both);
        assert_eq!(receivers[1].streams[0].as_str(), "eu-*");
        assert_eq!(receivers[2].headers.expose().len(), 1);
        let fallbacks: Vec<_> = receivers.iter().map(|one| one.is_fallback).collect();
        assert_eq!(fallbacks, [false, false, false, true]);
    }

    #[test]
    fn an_error_names_receiver_field_and_way_out() {
        let url = "url = \"https://example.org/hunter2\"\n";
        let with = |more: &str| format!("[[receiver]]\nname = \"a\"\n{url}{more}");
        let cases = [
            (String::new(), "missing field `receiver`"),
            ("receiver = []".to_owned(), "there is no [[receiver]]"),
            (
                with("colour = 1"),
                "line 4, colour: unknown field `colour`, expected one of",
            ),
            (
                with("format = \"teams\""),
                "line 4, format: unknown variant `teams`",
            ),
            (
                with("headers = \"hunter2: x\""),
                "line 4, headers: invalid type: string \"...\"",
            ),
            (
                with("headers = { \"a b\" = \"hunter2\" }"),
                "receiver \"a\": headers: the name",
            ),
            (
                with("routing_key = \"hunter2\""),
                "receiver \"a\": routing_key: give the",
            ),
            (
                with("format = \"pagerduty\""),
                "receiver \"a\": routing_key: it and format",
            ),
            (with("url_file = \"b\""), "receiver \"a\": url: give either"),
            (
                with("severities = [\"warning\"]"),
                "receiver \"a\": severities: give",
            ),
            (
                with("streams = [\"-x\"]"),
                "receiver \"a\": streams: \"-x\" is not a stream",
            ),
            (with(&with("")), "receiver \"a\": name: it is there twice"),
            (
                "[[receiver]]\nname = \"a\"\nurl = \"hunter2\"".to_owned(),
                "receiver \"a\": url: relative URL",
            ),
            (
                "[[receiver]]\nname = \"a\"\nurl_file = \"nowhere\"".to_owned(),
                "receiver \"a\": url_file: cannot read ./nowhere",
            ),
            (
                format!("[[receiver]]\nname = \"default\"\n{url}"),
                "the receiver of ALERT_WEBHOOK_URL",
            ),
            (
                with("fallback = true\nstreams = [\"a\"]"),
                "receiver \"a\": fallback: it gets what the others owe",
            ),
            (
                format!("[[receiver]]\nname = \"fallback\"\n{url}"),
                "the receiver of FALLBACK_WEBHOOK_URL",
            ),
            (
                format!("[[receiver]]\nname = \"a b\"\n{url}"),
                "receiver \"a b\": name: give 1 to 64",
            ),
        ];
        for (text, fault) in cases {
            let error = parse(&text).expect_err(&text);
            assert!(error.contains(fault), "{text}: {error}");
            assert!(!error.contains("hunter2"), "{text}: {error}");
        }
    }
}
