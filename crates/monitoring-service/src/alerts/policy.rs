//! What is notified, and which receivers get it.

use std::sync::Arc;

use detection::{Minute, Severity, StreamPattern, Suppression};

use super::{incident::IncidentEventKind, incident_update::EventSuppression};

/// The name of the receiver that the variables describe (`ALERT_WEBHOOK_URL`).
pub(crate) const DEFAULT_RECEIVER: &str = "default";

/// The name of the fallback that a variable describes (`FALLBACK_WEBHOOK_URL`).
pub(crate) const FALLBACK_RECEIVER: &str = "fallback";

/// What one receiver gets.
#[derive(Clone, Debug)]
pub struct Route {
    /// The receiver's name.
    pub receiver: String,
    /// The severities that it gets.
    pub severities: Vec<Severity>,
    /// The streams that it gets; empty: all.
    pub streams: Vec<StreamPattern>,
    /// True if its format has a form for acknowledgements.
    pub acknowledgements: bool,
}

/// The receiver that stands in for those that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fallback {
    /// Its name.
    pub receiver: String,
    /// It stands in for a receiver that has failed for this long, milliseconds (`FALLBACK_AFTER`).
    pub after_ms: i64,
    /// True if its format has a form for acknowledgements.
    pub acknowledgements: bool,
}

/// The receivers of an alert or an incident's event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recipients {
    /// Those whose severities and streams it has.
    pub receivers: Vec<String>,
    /// The fallback. It gets the event of an incident that it was sent an earlier event of, and the end of a condition that it was sent
    /// the beginning of; nothing else, unless a receiver fails.
    pub fallback: Option<String>,
}

impl Route {
    /// A route of every CRITICAL message.
    #[cfg(test)]
    pub(crate) fn critical(receiver: &str) -> Self {
        Self {
            receiver: receiver.to_owned(),
            severities: vec![Severity::Critical],
            streams: Vec::new(),
            acknowledgements: false,
        }
    }

    /// True if it gets messages of this severity and stream. What concerns no single stream concerns every receiver.
    fn takes(&self, severity: Severity, stream: Option<&str>) -> bool {
        let meant = |name| {
            let fits = |pattern: &StreamPattern| pattern.matches(name);
            self.streams.is_empty() || self.streams.iter().any(fits)
        };
        self.severities.contains(&severity) && stream.is_none_or(meant)
    }
}

/// The settings that decide what is notified, and whom.
#[derive(Clone, Debug, Default)]
pub struct NotifyPolicy {
    /// One for each receiver.
    pub routes: Arc<[Route]>,
    /// The receiver that stands in for those that fail, if there is one.
    pub fallback: Option<Fallback>,
    /// Maximum age of a notified minute; `None`: no limit.
    pub max_age_ms: Option<i64>,
    /// What is notified of incidents.
    pub incidents: IncidentSettings,
}

/// The settings of incidents.
#[derive(Clone, Copy, Debug, Default)]
pub struct IncidentSettings {
    /// True: incidents are notified; false: alerts are (`NOTIFY`).
    pub notified: bool,
    /// True if receivers get incidents of severity WARNING, too (`NOTIFY_SEVERITY`).
    pub warnings: bool,
    /// How long an opening waits for others, to be notified as a group, milliseconds; 0: not at all, and there are no groups.
    pub group_wait_ms: i64,
    /// An incident that nobody acknowledged for this long escalates, milliseconds.
    pub escalate_after_ms: i64,
}

impl NotifyPolicy {
    /// A policy with the one receiver `default`, which gets every CRITICAL message.
    #[cfg(test)]
    pub(crate) fn with_default_receiver(max_age_ms: Option<i64>) -> Self {
        Self {
            routes: [Route::critical(DEFAULT_RECEIVER)].into(),
            max_age_ms,
            ..Self::default()
        }
    }

    /// True if a receiver is configured.
    pub(crate) fn has_receiver(&self) -> bool {
        !self.routes.is_empty()
    }

    /// The receivers of an alert.
    pub(crate) fn alert_recipients(&self, severity: Severity, stream: Option<&str>) -> Recipients {
        Recipients {
            receivers: self.named(|route| route.takes(severity, stream)),
            fallback: self.fallback.as_ref().map(|one| one.receiver.clone()),
        }
    }

    /// The receivers of an incident's event; `stream` is that of the incident, if it has one.
    pub(crate) fn event_recipients(
        &self,
        severity: Severity,
        stream: Option<&str>,
        event: IncidentEventKind,
    ) -> Recipients {
        let has_form =
            |acknowledgements| event != IncidentEventKind::Acknowledged || acknowledgements;
        let severity = self.incident_severity(severity);
        let fallback = self.fallback.as_ref();
        Recipients {
            receivers: self
                .named(|route| has_form(route.acknowledgements) && route.takes(severity, stream)),
            fallback: fallback
                .filter(|one| has_form(one.acknowledgements))
                .map(|one| one.receiver.clone()),
        }
    }

    /// Every receiver, the fallback among them.
    pub(crate) fn all_receivers(&self) -> Vec<String> {
        let fallback = self.fallback.as_ref().map(|one| one.receiver.clone());
        self.named(|_| true).into_iter().chain(fallback).collect()
    }

    /// With `NOTIFY_SEVERITY=warning`, receivers of CRITICAL get every incident.
    const fn incident_severity(&self, severity: Severity) -> Severity {
        if self.incidents.warnings {
            Severity::Critical
        } else {
            severity
        }
    }

    fn named(&self, takes: impl Fn(&Route) -> bool) -> Vec<String> {
        let routes = self.routes.iter().filter(|route| takes(route));
        routes.map(|route| route.receiver.clone()).collect()
    }

    /// The reason why an alert about a stream is not notified although [`Self::suppression`] has none.
    pub(crate) fn alert_suppression(&self) -> Option<Suppression> {
        self.incidents.notified.then_some(Suppression::Incident)
    }

    /// The reason why the opening of an incident of this severity, stream and newest minute is not notified; `None` if it is.
    pub(crate) fn opening_suppression(
        &self,
        severity: Severity,
        stream: Option<&str>,
        minute: Option<Minute>,
        now_ms: i64,
    ) -> Option<EventSuppression> {
        if !self.incidents.notified {
            return Some(EventSuppression::Alerts);
        }
        let severity = self.incident_severity(severity);
        let suppression = self.suppression(severity, stream, minute, now_ms)?;
        Some(match suppression {
            Suppression::BelowCritical => EventSuppression::BelowCritical,
            Suppression::TooOld => EventSuppression::TooOld,
            _ => EventSuppression::NoReceiver,
        })
    }

    /// The reason why an alert of this severity, stream and minute is not notified; `None` if it is.
    pub(crate) fn suppression(
        &self,
        severity: Severity,
        stream: Option<&str>,
        minute: Option<Minute>,
        now_ms: i64,
    ) -> Option<Suppression> {
        let age_ms = minute.map_or(0, |minute| now_ms - minute.start().as_millisecond());
        if !self
            .routes
            .iter()
            .any(|route| route.takes(severity, stream))
        {
            Some(match severity {
                Severity::Critical => Suppression::NoReceiver,
                _ => Suppression::BelowCritical,
            })
        } else if self.max_age_ms.is_some_and(|max| age_ms > max) {
            Some(Suppression::TooOld)
        } else {
            None
        }
    }
}

/// A reason in words.
pub(crate) const fn in_words(suppression: Suppression) -> &'static str {
    match suppression {
        Suppression::Cooldown { .. } => "an alert of the same key was raised within ALERT_COOLDOWN",
        Suppression::Silence { .. } => "a silence covers it",
        Suppression::TooOld => {
            "its minute was older than PAGE_MAX_AGE when it was recorded, so a summary counts it"
        }
        Suppression::NoReceiver => {
            "no receiver for it is configured (ALERT_WEBHOOK_URL, RECEIVERS_FILE)"
        }
        Suppression::BelowCritical => "no receiver gets alerts below CRITICAL",
        Suppression::Shadow => "its policy runs in shadow (SHADOW_POLICY)",
        Suppression::Incident => "its incident is notified instead (NOTIFY)",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> NotifyPolicy {
        let all = Route {
            severities: vec![Severity::Warning, Severity::Critical],
            acknowledgements: true,
            ..Route::critical("all")
        };
        let europe = Route {
            streams: ["eu-*", "shop"]
                .map(|text| text.parse().expect("a pattern"))
                .into(),
            ..Route::critical("europe")
        };
        NotifyPolicy {
            routes: [all, europe].into(),
            ..NotifyPolicy::default()
        }
    }

    #[test]
    fn a_receiver_gets_its_severities_and_streams() {
        let receivers = |severity, stream| policy().alert_recipients(severity, stream).receivers;
        assert_eq!(
            receivers(Severity::Critical, Some("eu-1")),
            ["all", "europe"]
        );
        assert_eq!(
            receivers(Severity::Critical, Some("shop")),
            ["all", "europe"]
        );
        assert_eq!(receivers(Severity::Critical, Some("shop-2")), ["all"]);
        assert_eq!(receivers(Severity::Warning, Some("eu-1")), ["all"]);
        assert_eq!(receivers(Severity::Critical, None), ["all", "europe"]);
    }

    #[test]
    fn an_acknowledgement_needs_a_form() {
        let policy = NotifyPolicy {
            fallback: Some(Fallback {
                receiver: "spare".to_owned(),
                after_ms: 300_000,
                acknowledgements: false,
            }),
            ..policy()
        };
        let sent = |event| policy.event_recipients(Severity::Critical, Some("eu-1"), event);
        let resolved = sent(IncidentEventKind::Resolved);
        assert_eq!(resolved.receivers, ["all", "europe"]);
        assert_eq!(resolved.fallback.as_deref(), Some("spare"));
        let acknowledged = sent(IncidentEventKind::Acknowledged);
        assert_eq!(acknowledged.receivers, ["all"]);
        assert_eq!(acknowledged.fallback, None);
    }

    #[test]
    fn what_no_receiver_gets_is_suppressed() {
        let europe = NotifyPolicy {
            routes: policy().routes[1..].into(),
            ..NotifyPolicy::default()
        };
        let why = |severity, stream| europe.suppression(severity, Some(stream), None, 0);
        assert_eq!(why(Severity::Critical, "eu-1"), None);
        assert_eq!(
            why(Severity::Warning, "eu-1"),
            Some(Suppression::BelowCritical)
        );
        assert_eq!(
            why(Severity::Critical, "us-1"),
            Some(Suppression::NoReceiver)
        );
    }
}
