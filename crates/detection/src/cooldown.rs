//! The cooldown of one alert key, in event time, so that live ingest, replays and restarts decide the same. It does not know the key.

use crate::minute::Minute;

/// The minute of a key's last alert, and the number of alerts suppressed since.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cooldown {
    /// The newest minute of an admitted alert.
    pub fired: Option<Minute>,
    /// Alerts suppressed since; the next admitted alert reports the number.
    pub suppressed: u32,
}

/// The decision about one alert.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// No alert of the key was admitted within the cooldown.
    Admitted {
        /// Alerts of the key suppressed since the last admitted one.
        suppressed_before: u32,
    },
    /// An alert of the key was admitted within the cooldown.
    Suppressed {
        /// The minute of that alert.
        by: Minute,
    },
}

impl Cooldown {
    /// Decides about an alert for `minute` and records the decision. Minute m is suppressed if the key fired for a minute
    /// > m − `length_minutes`.
    pub(crate) fn admit(&mut self, minute: Minute, length_minutes: i64) -> Admission {
        match self.fired {
            Some(by) if by > minute.plus(-length_minutes) => {
                self.suppress();
                Admission::Suppressed { by }
            }
            _ => {
                self.fired = Some(minute);
                Admission::Admitted {
                    suppressed_before: std::mem::take(&mut self.suppressed),
                }
            }
        }
    }

    /// Counts a suppressed alert.
    pub(crate) const fn suppress(&mut self) {
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
    fn the_fifth_minute_may_alert_again() {
        let mut cooldown = Cooldown::default();
        assert_eq!(
            cooldown.admit(minute(100), 5),
            Admission::Admitted {
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
            Admission::Admitted {
                suppressed_before: 4
            }
        );
    }

    #[test]
    fn a_newer_alert_suppresses_a_late_minute() {
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
    fn length_zero_suppresses_no_newer_minute() {
        let mut cooldown = Cooldown::default();
        for m in 0..3 {
            assert_eq!(
                cooldown.admit(minute(m), 0),
                Admission::Admitted {
                    suppressed_before: 0
                }
            );
        }
    }

    proptest! {
        #[test]
        fn admitted_minutes_are_never_closer_than_the_length(steps in prop::collection::vec(1..8_i64, 1..100), length in 0..10_i64) {
            let (mut cooldown, mut now, mut fired, mut held) = (Cooldown::default(), 0, None, 0);
            for step in steps {
                now += step;
                match cooldown.admit(minute(now), length) {
                    Admission::Admitted { suppressed_before } => {
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
