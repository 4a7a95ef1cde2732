//! Which streams are stale and which have resumed, and the alerts about them. Pure.

use detection::Minute;

use super::{Alert, NotifyPolicy, Subject, subject::MAX_NAMED};

/// The freshness of a stream as stored.
#[derive(Clone, Debug)]
pub struct Freshness {
    /// Its name.
    pub stream: String,
    /// Its newest minute.
    pub newest: Minute,
    /// When that minute arrived, milliseconds since 1970.
    pub arrived_at_ms: i64,
    /// Since when it is recorded as stale.
    pub stale_since_ms: Option<i64>,
}

/// The streams to change and the alerts to record.
#[derive(Clone, Debug, Default)]
pub struct StaleChange {
    /// Streams to record as stale.
    pub stale: Vec<String>,
    /// Streams to record as no longer stale.
    pub resumed: Vec<String>,
    /// One alert for all streams that became stale, and one for all that resumed.
    pub alerts: Vec<Alert>,
}

/// True if a stream's newest minute was at most `stale_after_ms` old when it arrived. Only a live stream can become stale:
/// a replayed old file cannot.
pub fn is_live(newest: Minute, arrived_at_ms: i64, stale_after_ms: i64) -> bool {
    arrived_at_ms.saturating_sub(newest.start().as_millisecond()) <= stale_after_ms
}

/// The change at `now_ms`: a live stream without a new minute for `stale_after_ms` is stale.
pub fn change(
    streams: &[Freshness],
    stale_after_ms: i64,
    policy: &NotifyPolicy,
    now_ms: i64,
) -> StaleChange {
    let named = |is_meant: &dyn Fn(&Freshness) -> bool| -> Vec<String> {
        let meant = streams.iter().filter(|stream| is_meant(stream));
        meant.map(|stream| stream.stream.clone()).collect()
    };
    let stale = named(&|stream| {
        stream.stale_since_ms.is_none()
            && is_live(stream.newest, stream.arrived_at_ms, stale_after_ms)
            && stream.arrived_at_ms < now_ms.saturating_sub(stale_after_ms)
    });
    let resumed = named(&|stream| {
        stream
            .stale_since_ms
            .is_some_and(|since_ms| stream.arrived_at_ms > since_ms)
    });
    let mut alerts = Vec::new();
    if !stale.is_empty() {
        let streams = first(&stale);
        let message = format!(
            "no new minute from {} live stream(s): {}",
            stale.len(),
            streams.join(", ")
        );
        let subject = Subject::StaleStreams { streams };
        alerts.push(Alert::of_monitor(subject, message, now_ms, policy, now_ms));
    }
    if !resumed.is_empty() {
        let streams = first(&resumed);
        let message = format!(
            "new minutes again from {} stream(s): {}",
            resumed.len(),
            streams.join(", ")
        );
        let subject = Subject::StreamsResumed { streams };
        alerts.push(Alert::of_monitor(subject, message, now_ms, policy, now_ms));
    }
    StaleChange {
        stale,
        resumed,
        alerts,
    }
}

fn first(streams: &[String]) -> Vec<String> {
    let mut streams = streams.to_vec();
    streams.sort_unstable();
    streams.truncate(MAX_NAMED);
    streams
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn stream(name: &str, arrived_at_ms: i64, stale_since_ms: Option<i64>) -> Freshness {
        Freshness {
            stream: name.to_owned(),
            newest: Minute::from_epoch_minutes(100),
            arrived_at_ms,
            stale_since_ms,
        }
    }

    fn kinds(change: &StaleChange) -> Vec<&'static str> {
        change.alerts.iter().map(|a| a.subject.kind()).collect()
    }

    #[test]
    fn a_live_stream_becomes_stale_and_a_replayed_one_not() {
        let now_ms = 110 * MINUTE_MS;
        let streams = [
            stream("live", 101 * MINUTE_MS, None),
            stream("fresh", 109 * MINUTE_MS, None),
            stream("replayed", 106 * MINUTE_MS, None),
            stream("noted", 101 * MINUTE_MS, Some(105 * MINUTE_MS)),
        ];
        let change = change(&streams, 3 * MINUTE_MS, &NotifyPolicy::default(), now_ms);
        assert_eq!(
            (change.stale.as_slice(), change.resumed.len()),
            (["live".to_owned()].as_slice(), 0)
        );
        assert_eq!(kinds(&change), ["stream.stale"]);
    }

    #[test]
    fn a_minute_after_the_mark_resumes_a_stream() {
        let streams = [
            stream("back", 105 * MINUTE_MS + 1, Some(105 * MINUTE_MS)),
            stream("still", 105 * MINUTE_MS, Some(105 * MINUTE_MS)),
        ];
        let now_ms = 106 * MINUTE_MS;
        let change = change(&streams, 3 * MINUTE_MS, &NotifyPolicy::default(), now_ms);
        assert_eq!(change.resumed, ["back"]);
        assert_eq!(kinds(&change), ["stream.resumed"]);
        assert_eq!(
            change.alerts[0].message,
            "new minutes again from 1 stream(s): back"
        );
    }
}
