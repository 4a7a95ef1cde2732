//! May this alert go out now? One memory per key, in event time, so that a replay and a restart decide alike.

use uuid::Uuid;

use crate::{
    batch::{Minute, Stream},
    detector::{Direction, Severity},
    status::MonitoredStatus,
};

/// Alerts of one key are the same news: what the cooldown counts by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct AlertKey {
    /// Whose minute.
    pub stream: Stream,
    /// Which status left its range.
    pub status: MonitoredStatus,
    /// Which way.
    pub direction: Direction,
    /// How far.
    pub severity: Severity,
}

/// The namespace of alert ids: a name-based UUID (RFC 9562, version 5) of what the alert is about.
const ALERT_NAMESPACE: Uuid = Uuid::from_u128(0x6f0d_4b0e_6d1c_5b7e_9a53_7d3c_1f64_20aa);

impl AlertKey {
    /// The id of this key's alert for a minute: the same at every retry, every replay and after every restart.
    pub fn alert_id(&self, minute: Minute) -> Uuid {
        let Self {
            stream,
            status,
            direction,
            severity,
        } = self;
        let name = format!(
            "{stream}\n{minute}\n{status}\n{}\n{severity}",
            direction.name()
        );
        Uuid::new_v5(&ALERT_NAMESPACE, name.as_bytes())
    }
}

/// One key's memory: when it last fired, and how many were held back since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cooldown {
    /// The newest minute an alert was dispatched for.
    pub fired: Option<Minute>,
    /// Alerts suppressed since, to be told with the next one.
    pub suppressed: u32,
}

/// What the cooldown says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It goes out, and tells of this many that were held back before it.
    Dispatched {
        /// Alerts of the key suppressed since the last one that went out.
        suppressed_before: u32,
    },
    /// Held back: the key fired for this minute.
    Suppressed {
        /// The minute of the alert that went out.
        by: Minute,
    },
}

impl Cooldown {
    /// Decides about an alert for `minute`, and remembers. Minute m is held back if the key fired for a minute > m − `length_minutes`.
    pub fn admit(&mut self, minute: Minute, length_minutes: i64) -> Admission {
        match self.fired {
            Some(by) if by > minute.plus(-length_minutes) => {
                self.hold_back();
                Admission::Suppressed { by }
            }
            _ => {
                self.fired = Some(minute);
                Admission::Dispatched {
                    suppressed_before: std::mem::take(&mut self.suppressed),
                }
            }
        }
    }

    /// Counts an alert that does not go out, to be told with the next one.
    pub const fn hold_back(&mut self) {
        self.suppressed = self.suppressed.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn minute(minutes: i64) -> Minute {
        Minute::from_epoch_minutes(minutes)
    }

    #[test]
    fn the_fifth_minute_after_an_alert_may_alert_again_and_tells_of_the_four_between() {
        let mut cooldown = Cooldown::default();
        assert_eq!(
            cooldown.admit(minute(100), 5),
            Admission::Dispatched {
                suppressed_before: 0
            }
        );
        for m in 101..105 {
            assert_eq!(
                cooldown.admit(minute(m), 5),
                Admission::Suppressed { by: minute(100) }
            );
        }
        assert_eq!(
            cooldown.admit(minute(105), 5),
            Admission::Dispatched {
                suppressed_before: 4
            }
        );
    }

    #[test]
    fn a_late_minute_is_held_back_by_an_alert_of_a_newer_one() {
        let mut cooldown = Cooldown {
            fired: Some(minute(100)),
            suppressed: 0,
        };
        assert_eq!(
            cooldown.admit(minute(93), 5),
            Admission::Suppressed { by: minute(100) }
        );
    }

    #[test]
    fn no_length_means_no_cooldown_for_newer_minutes() {
        let mut cooldown = Cooldown::default();
        for m in 0..3 {
            assert_eq!(
                cooldown.admit(minute(m), 0),
                Admission::Dispatched {
                    suppressed_before: 0
                }
            );
        }
    }

    #[test]
    fn an_alert_id_depends_on_every_part_of_its_key_and_on_nothing_else() {
        let key = AlertKey {
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

    proptest! {
        #[test]
        fn dispatched_minutes_in_order_are_never_closer_than_the_length(steps in prop::collection::vec(1..8_i64, 1..100), length in 0..10_i64) {
            let (mut cooldown, mut now, mut fired, mut held) = (Cooldown::default(), 0, None, 0);
            for step in steps {
                now += step;
                match cooldown.admit(minute(now), length) {
                    Admission::Dispatched { suppressed_before } => {
                        prop_assert!(fired.is_none_or(|last| now - last >= length));
                        prop_assert_eq!(suppressed_before, std::mem::take(&mut held));
                        fired = Some(now);
                    }
                    Admission::Suppressed { by } => {
                        prop_assert_eq!(Some(by), fired.map(minute));
                        prop_assert!(now - by.epoch_minutes() < length);
                        held += 1;
                    }
                }
            }
        }
    }
}
