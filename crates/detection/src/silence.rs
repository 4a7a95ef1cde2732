//! Alerts that people asked not to hear of. Which silences are in force now is for the caller to say: nothing here knows a clock.

use uuid::Uuid;

use crate::{batch::Stream, cooldown::AlertKey, status::MonitoredStatus};

/// Holds back the alerts of a stream, of a status, of both, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Told with every alert that it holds back.
    pub id: Uuid,
    /// Of this stream only.
    pub stream: Option<Stream>,
    /// Of this status only.
    pub status: Option<MonitoredStatus>,
}

impl Silence {
    /// True if it holds back alerts of this key.
    pub fn covers(&self, key: &AlertKey) -> bool {
        self.stream
            .as_ref()
            .is_none_or(|stream| *stream == key.stream)
            && self.status.is_none_or(|status| status == key.status)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detector::{Direction, Severity};

    #[test]
    fn a_silence_covers_what_it_names_and_everything_else_where_it_names_nothing() {
        let stream = |name: &str| name.parse::<Stream>().expect("valid");
        let (direction, severity) = (Direction::Up, Severity::Critical);
        let key = AlertKey {
            stream: stream("a"),
            status: MonitoredStatus::Denied,
            direction,
            severity,
        };
        let silence = |stream, status| Silence {
            id: Uuid::nil(),
            stream,
            status,
        };
        assert!(silence(None, None).covers(&key));
        assert!(silence(Some(stream("a")), None).covers(&key));
        assert!(silence(Some(stream("a")), Some(MonitoredStatus::Denied)).covers(&key));
        assert!(!silence(Some(stream("b")), None).covers(&key));
        assert!(!silence(Some(stream("a")), Some(MonitoredStatus::Failed)).covers(&key));
    }
}
