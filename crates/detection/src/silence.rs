//! Which alerts a silence covers. The caller passes the active silences, so no clock is needed.

use uuid::Uuid;

use crate::{gate::AlertKey, status::MonitoredStatus, stream::Stream};

/// Suppresses alerts: of one stream, of one status, of one status of one stream, or all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// Recorded with every alert that it suppresses.
    pub id: Uuid,
    /// Only alerts of this stream; `None` for all.
    pub stream: Option<Stream>,
    /// Only alerts of this status; `None` for all.
    pub status: Option<MonitoredStatus>,
}

impl Silence {
    /// True if it suppresses alerts of this key.
    fn covers(&self, key: &AlertKey) -> bool {
        self.stream
            .as_ref()
            .is_none_or(|stream| *stream == key.stream)
            && self.status.is_none_or(|status| status == key.status)
    }
}

/// The first silence that covers alerts of this key.
pub fn matching<'a>(silences: &'a [Silence], key: &AlertKey) -> Option<&'a Silence> {
    silences.iter().find(|silence| silence.covers(key))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::{Direction, PolicyName, Severity};

    #[test]
    fn a_silence_covers_what_it_names() {
        let stream = |name: &str| name.parse::<Stream>().expect("valid");
        let (direction, severity) = (Direction::Up, Severity::Critical);
        let key = AlertKey {
            stream: stream("a"),
            policy: PolicyName::ZScore,
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
