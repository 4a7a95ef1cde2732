//! Which findings of a stream become alerts, and which alerts are suppressed: peak, then silence, then cooldown.
//! It does not evaluate counts and does not know the receiver.

use std::collections::HashMap;

use strum::IntoStaticStr;
use uuid::Uuid;

use crate::{
    cooldown::{Admission, Cooldown},
    finding::{Direction, Finding, PolicyName, Severity},
    minute::Minute,
    silence::{Silence, matching},
    status::MonitoredStatus,
    stream::Stream,
};

/// Alerts of one key repeat each other, so each key has one cooldown.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlertKey {
    /// The stream.
    pub stream: Stream,
    /// The policy of the finding.
    pub policy: PolicyName,
    /// The status that left its range.
    pub status: MonitoredStatus,
    /// The direction.
    pub direction: Direction,
    /// The severity.
    pub severity: Severity,
}

/// The namespace of alert ids: a name-based UUID (RFC 9562, version 5).
const ALERT_NAMESPACE: Uuid = Uuid::from_u128(0x6f0d_4b0e_6d1c_5b7e_9a53_7d3c_1f64_20aa);

impl AlertKey {
    /// The id of this key's alert for a minute: the same at every retry, every replay and after every restart.
    pub(crate) fn alert_id(&self, minute: Minute) -> Uuid {
        let Self {
            stream,
            policy,
            status,
            direction,
            severity,
        } = self;
        let mut name = format!("{stream}\n{minute}\n{status}\n{direction}\n{severity}");
        // Ids of `zscore` were defined before the second policy and must not change.
        if *policy != PolicyName::ZScore {
            name = format!("{name}\n{policy}");
        }
        Uuid::new_v5(&ALERT_NAMESPACE, name.as_bytes())
    }
}

/// The reason why an alert is not notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub enum Suppression {
    /// An alert of the same key was raised less than the cooldown before.
    Cooldown {
        /// The id of that alert.
        by: Uuid,
    },
    /// A silence covers it.
    Silence {
        /// The id of the silence.
        by: Uuid,
    },
    /// Its minute was too old when it was recorded.
    TooOld,
    /// No receiver is configured.
    NoReceiver,
    /// Only CRITICAL alerts are notified.
    BelowCritical,
    /// Its policy runs in shadow.
    Shadow,
    /// Its incident is notified instead.
    Incident,
}

impl Suppression {
    /// The texts of all reasons.
    pub const REASONS: [&str; 7] = [
        "cooldown",
        "silence",
        "too_old",
        "no_receiver",
        "below_critical",
        "shadow",
        "incident",
    ];

    /// The reason, as one of [`Suppression::REASONS`].
    pub fn reason(self) -> &'static str {
        self.into()
    }

    /// The id of the alert or the silence that suppresses.
    pub const fn by(self) -> Option<Uuid> {
        match self {
            Self::Cooldown { by } | Self::Silence { by } => Some(by),
            Self::TooOld
            | Self::NoReceiver
            | Self::BelowCritical
            | Self::Shadow
            | Self::Incident => None,
        }
    }

    /// The suppression of this reason and id; `None` if they do not match.
    pub fn from_parts(reason: &str, by: Option<Uuid>) -> Option<Self> {
        [
            by.map(|by| Self::Cooldown { by }),
            by.map(|by| Self::Silence { by }),
            Some(Self::TooOld),
            Some(Self::NoReceiver),
            Some(Self::BelowCritical),
            Some(Self::Shadow),
            Some(Self::Incident),
        ]
        .into_iter()
        .flatten()
        .find(|known| known.reason() == reason && known.by() == by)
    }

    /// True for a cooldown or a silence: the alert is a repetition or was silenced on purpose. Only then it is not logged, and
    /// counts into [`Cooldown::suppressed`].
    pub const fn is_muted(self) -> bool {
        self.by().is_some()
    }
}

/// A WARNING or CRITICAL count.
#[derive(Clone, Debug, PartialEq)]
pub struct Anomaly {
    /// Stream, policy, status, direction and severity.
    pub key: AlertKey,
    /// The minute.
    pub minute: Minute,
    /// Its count.
    pub count: u32,
    /// The finding.
    pub finding: Finding,
    /// True if the minute was not the newest of its stream when it was evaluated.
    pub late: bool,
}

impl Anomaly {
    /// The `alert_id` of its key and minute.
    pub fn id(&self) -> Uuid {
        self.key.alert_id(self.minute)
    }
}

/// An alert of the fold, to be recorded.
#[derive(Clone, Debug, PartialEq)]
pub struct Raised {
    /// The anomaly.
    pub anomaly: Anomaly,
    /// When the episode opened that the alert is about, if not in this minute; none of policy `zscore`.
    pub episode_since: Option<Minute>,
    /// Why it is not notified: [`Suppression::Cooldown`], [`Suppression::Silence`], [`Suppression::Shadow`] or none.
    pub suppression: Option<Suppression>,
    /// Alerts of the same key suppressed since the last one that was not.
    pub suppressed_before: u32,
    /// The key's cooldown after this alert, to be stored with it.
    pub cooldown: Cooldown,
}

impl Raised {
    /// The finding in words, and since when its episode lasts.
    pub fn sentence(&self) -> String {
        let anomaly = &self.anomaly;
        let sentence = anomaly
            .finding
            .sentence(anomaly.key.status.name(), anomaly.count);
        match self.episode_since {
            Some(since) => format!("{sentence} Since {}.", since.start().strftime("%H:%M UTC")),
            None => sentence,
        }
    }
}

/// The gate of one stream.
#[derive(Debug, Default)]
pub(crate) struct Gate {
    cooldowns: HashMap<AlertKey, Cooldown>,
}

impl Gate {
    /// A gate with these stored cooldowns.
    pub(crate) fn restored(cooldowns: impl IntoIterator<Item = (AlertKey, Cooldown)>) -> Self {
        Self {
            cooldowns: cooldowns.into_iter().collect(),
        }
    }

    /// Decides about an anomaly and records the decision. A silenced alert starts no cooldown.
    pub(crate) fn raise(
        &mut self,
        anomaly: Anomaly,
        silences: &[Silence],
        cooldown_minutes: i64,
    ) -> Raised {
        let (key, minute) = (&anomaly.key, anomaly.minute);
        let cooldown = self.cooldowns.entry(key.clone()).or_default();
        let mut suppressed_before = 0;
        let suppression =
            if let Some(silence) = matching(silences, key.stream.as_str(), Some(key.status)) {
                cooldown.suppress();
                Some(Suppression::Silence { by: silence.id })
            } else {
                match cooldown.admit(minute, cooldown_minutes) {
                    Admission::Admitted {
                        suppressed_before: before,
                    } => {
                        suppressed_before = before;
                        None
                    }
                    Admission::Suppressed { by } => Some(Suppression::Cooldown {
                        by: key.alert_id(by),
                    }),
                }
            };
        Raised {
            episode_since: None,
            suppression,
            suppressed_before,
            cooldown: *cooldown,
            anomaly,
        }
    }
}

/// True if a finding alerts: it is anomalous and more severe than the count ever was, so that no alert id is written twice.
pub(crate) fn alerts(finding: &Finding, peak: Option<Severity>) -> bool {
    finding.severity.is_anomalous() && Some(finding.severity) > peak
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minute(minutes: i64) -> Minute {
        Minute::from_epoch_minutes(minutes)
    }

    #[test]
    fn an_alert_id_depends_on_every_part_of_its_key() {
        let key = AlertKey {
            policy: PolicyName::ZScore,
            stream: Stream::default(),
            status: MonitoredStatus::Failed,
            direction: Direction::Up,
            severity: Severity::Critical,
        };
        let id = key.alert_id(minute(1));
        assert_eq!(id, key.clone().alert_id(minute(1)));
        let others = [
            key.alert_id(minute(2)),
            AlertKey {
                status: MonitoredStatus::Denied,
                ..key.clone()
            }
            .alert_id(minute(1)),
            AlertKey {
                direction: Direction::Down,
                ..key.clone()
            }
            .alert_id(minute(1)),
            AlertKey {
                severity: Severity::Warning,
                ..key.clone()
            }
            .alert_id(minute(1)),
            AlertKey {
                policy: PolicyName::Adaptive,
                ..key.clone()
            }
            .alert_id(minute(1)),
            AlertKey {
                stream: "a".parse().expect("valid"),
                ..key
            }
            .alert_id(minute(1)),
        ];
        assert!(others.iter().all(|other| *other != id));
        assert_eq!(
            id.to_string(),
            "6f5e6b09-8c20-51ce-b7c2-d0b20fb11460",
            "ids are a promise to receivers: they never change"
        );
    }

    #[test]
    fn suppressions_survive_their_parts() {
        let by = Uuid::from_u128(7);
        let all = [
            Suppression::Cooldown { by },
            Suppression::Silence { by },
            Suppression::TooOld,
            Suppression::NoReceiver,
            Suppression::BelowCritical,
            Suppression::Shadow,
            Suppression::Incident,
        ];
        assert_eq!(all.map(Suppression::reason), Suppression::REASONS);
        for suppression in all {
            let (reason, by) = (suppression.reason(), suppression.by());
            assert_eq!(Suppression::from_parts(reason, by), Some(suppression));
        }
        assert_eq!(Suppression::from_parts("cooldown", None), None);
    }
}
