//! The receivers: the one that variables describe, and those of `RECEIVERS_FILE`.

mod file;

use std::path::PathBuf;

use detection::{Severity, StreamPattern};

pub(crate) use file::ReceiversFile;

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
