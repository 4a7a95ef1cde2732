//! The receivers of `RECEIVERS_FILE`.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use detection::Severity;
use serde::Deserialize;

use super::ReceiverSettings;
use crate::config::{RoutingKey, SecretUrl, WebhookFormat, WebhookHeaders};

/// The receivers of a file.
#[derive(Clone, Debug)]
pub struct ReceiversFile(pub(super) Vec<ReceiverSettings>);

impl ReceiversFile {
    /// Reads the file; the error names the place and never repeats a secret.
    pub(in crate::config) fn read(path: &str) -> Result<Self, String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Vec<ReceiverSettings>, String> {
        ReceiversFile::parse(text, Path::new(".")).map(|file| file.0)
    }

    #[test]
    fn the_documented_file_is_read() {
        let docs = include_str!("../../../../../docs/receivers.md");
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
