//! Which streams are stale and which have resumed, and the alerts about them. Pure.

use std::collections::BTreeMap;

use detection::{Minute, Pauses, Silence, silence::matching};
use jiff::Timestamp;
use uuid::Uuid;

use super::{
    Alert, NotifyPolicy, Subject,
    incident::IncidentKind,
    incident_update::{IncidentUpdate, Now, opened},
    subject::MAX_NAMED,
};
use crate::store::DeadLetterCount;

/// The freshness of a stream as stored.
#[derive(Clone, Debug)]
pub(crate) struct Freshness {
    /// Its name.
    pub(crate) stream: String,
    /// Its newest minute.
    pub(crate) newest: Minute,
    /// When that minute arrived, milliseconds since 1970.
    pub(crate) arrived_at_ms: i64,
    /// Its pauses.
    pub(crate) pauses: Pauses,
    /// Since when it is recorded as stale.
    pub(crate) stale_since_ms: Option<i64>,
    /// True if an alert that no silence suppressed said that it is stale.
    pub(crate) alerted: bool,
}

/// The rules of one check.
#[derive(Clone, Debug)]
pub(crate) struct StaleRules {
    /// A live stream without a new minute for this long is stale, unless it usually pauses for longer, milliseconds.
    pub(crate) stale_after_ms: i64,
    /// The active silences.
    pub(crate) silences: Vec<Silence>,
    /// The dead letters since [`missing_since`], which may be why minutes are missing.
    pub(crate) dead_letters: DeadLetterCount,
    /// Which alerts are notified.
    pub(crate) policy: NotifyPolicy,
}

/// The streams to change and the alerts to record.
#[derive(Clone, Debug, Default)]
pub(crate) struct StaleChange {
    /// Streams to record as stale.
    pub(crate) stale: Vec<String>,
    /// Stale streams to record as alerted about: no silence suppressed their alert.
    pub(crate) alerted: Vec<String>,
    /// Streams to record as no longer stale.
    pub(crate) resumed: Vec<String>,
    /// An incident of each stream that became stale.
    pub(crate) incidents: Vec<IncidentUpdate>,
    /// One alert for all streams that became stale, and one for all that resumed; those that a silence covers have their own.
    pub(crate) alerts: Vec<Alert>,
}

/// True if a stream's newest minute was at most `stale_after_ms` old when it arrived. Only a live stream can become stale:
/// a replayed old file cannot.
pub(crate) fn is_live(newest: Minute, arrived_at_ms: i64, stale_after_ms: i64) -> bool {
    arrived_at_ms.saturating_sub(newest.start().as_millisecond()) <= stale_after_ms
}

/// How long a stream may have no new minute before it is stale, milliseconds: at least `stale_after_ms`, and twice its usual pause.
pub(crate) fn limit_ms(pauses: &Pauses, newest: Minute, stale_after_ms: i64) -> i64 {
    stale_after_ms.max(pauses.stale_after(newest, 0) * 60_000)
}

/// When the last minute arrived before the first one that is missing from the streams that [`change`] says are stale, milliseconds since
/// 1970; none if it says so of no stream.
pub(crate) fn missing_since(streams: &[Freshness], rules: &StaleRules, now_ms: i64) -> Option<i64> {
    let raised = streams
        .iter()
        .filter(|stream| stream.is_raised(stream.silence(rules), rules, now_ms));
    raised.map(|stream| stream.arrived_at_ms).min()
}

/// The change at `now_ms`: a live stream without a new minute for its limit is stale. One that a silence covers raises its alert when the
/// silence has ended, if it is still stale then.
pub(crate) fn change(streams: &[Freshness], rules: &StaleRules, now_ms: i64) -> StaleChange {
    let mut change = StaleChange::default();
    let (mut stale, mut resumed) = (BySilence::new(), BySilence::new());
    for stream in streams {
        let silence = stream.silence(rules);
        let name = stream.stream.clone();
        if stream.is_back() {
            change.resumed.push(name.clone());
            if stream.alerted {
                resumed.entry(silence).or_default().push(name);
            }
            continue;
        }
        if !stream.is_raised(silence, rules, now_ms) {
            continue;
        }
        if stream.stale_since_ms.is_none() {
            change.stale.push(name.clone());
            change.incidents.push(stream.incident(rules, now_ms));
        }
        if silence.is_none() {
            change.alerted.push(name.clone());
        }
        stale.entry(silence).or_default().push(name);
    }
    for (silence, names) in stale {
        let streams = first(&names);
        let mut message = format!(
            "no new minute from {} live stream(s): {}",
            names.len(),
            streams.join(", ")
        );
        message.extend(meanwhile(&rules.dead_letters));
        let subject = Subject::StaleStreams { streams };
        change
            .alerts
            .push(alert(subject, message, silence, rules, now_ms));
    }
    for (silence, names) in resumed {
        let streams = first(&names);
        let message = format!(
            "new minutes again from {} stream(s): {}",
            names.len(),
            streams.join(", ")
        );
        let subject = Subject::StreamsResumed { streams };
        change
            .alerts
            .push(alert(subject, message, silence, rules, now_ms));
    }
    change
}

/// Streams by the silence that covers them.
type BySilence = BTreeMap<Option<Uuid>, Vec<String>>;

impl Freshness {
    /// True if a minute arrived after it was recorded as stale.
    fn is_back(&self) -> bool {
        self.stale_since_ms
            .is_some_and(|since_ms| self.arrived_at_ms > since_ms)
    }

    /// The silence that covers it.
    fn silence(&self, rules: &StaleRules) -> Option<Uuid> {
        matching(&rules.silences, &self.stream, None).map(|silence| silence.id)
    }

    /// True if it became stale, or if it is and its silence has ended.
    fn is_raised(&self, silence: Option<Uuid>, rules: &StaleRules, now_ms: i64) -> bool {
        match self.stale_since_ms {
            None => self.is_overdue(rules.stale_after_ms, now_ms),
            Some(_) => !self.is_back() && !self.alerted && silence.is_none(),
        }
    }

    /// Its incident, which begins with the first missing minute.
    fn incident(&self, rules: &StaleRules, now_ms: i64) -> IncidentUpdate {
        let now = Now {
            policy: &rules.policy,
            silences: &rules.silences,
            ms: now_ms,
        };
        let since = self.newest.plus(1).start();
        let message = format!(
            "No new minute from {} since {}{}.",
            self.stream,
            since.strftime("%H:%M UTC"),
            meanwhile(&rules.dead_letters).unwrap_or_default()
        );
        let (kind, stream) = (IncidentKind::StaleStream, Some(self.stream.as_str()));
        opened(kind, stream, since.as_millisecond(), message, &now)
    }

    fn is_overdue(&self, stale_after_ms: i64, now_ms: i64) -> bool {
        is_live(self.newest, self.arrived_at_ms, stale_after_ms)
            && self.arrived_at_ms
                < now_ms.saturating_sub(limit_ms(&self.pauses, self.newest, stale_after_ms))
    }
}

/// What the dead letters of the meantime say about missing minutes.
fn meanwhile(dead_letters: &DeadLetterCount) -> Option<String> {
    let newest = dead_letters.newest.as_ref()?;
    let since = Timestamp::from_millisecond(dead_letters.since_ms).ok()?;
    Some(format!(
        "; since {} {} message(s) were dead letters, the last one: {newest}",
        since.strftime("%Y-%m-%d %H:%M UTC"),
        dead_letters.count,
    ))
}

fn alert(
    subject: Subject,
    message: String,
    silence: Option<Uuid>,
    rules: &StaleRules,
    now_ms: i64,
) -> Alert {
    let alert = Alert::of_monitor(subject, message, now_ms, &rules.policy, now_ms);
    match silence {
        Some(by) => alert.silenced(by),
        None => alert,
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
    use detection::Suppression;

    use super::*;

    const MINUTE_MS: i64 = 60_000;

    fn stream(name: &str, arrived_at_ms: i64, stale_since_ms: Option<i64>) -> Freshness {
        Freshness {
            stream: name.to_owned(),
            newest: Minute::from_epoch_minutes(100),
            arrived_at_ms,
            pauses: Pauses::default(),
            stale_since_ms,
            alerted: stale_since_ms.is_some(),
        }
    }

    fn rules() -> StaleRules {
        StaleRules {
            stale_after_ms: 3 * MINUTE_MS,
            silences: Vec::new(),
            dead_letters: DeadLetterCount::default(),
            policy: NotifyPolicy::default(),
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
        let change = change(&streams, &rules(), now_ms);
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
        let change = change(&streams, &rules(), now_ms);
        assert_eq!(change.resumed, ["back"]);
        assert_eq!(kinds(&change), ["stream.resumed"]);
        assert_eq!(
            change.alerts[0].message,
            "new minutes again from 1 stream(s): back"
        );
    }

    #[test]
    fn a_silenced_stream_alerts_when_the_silence_ends() {
        let silence = Silence {
            id: Uuid::from_u128(7),
            streams: Some("day*".parse().expect("a pattern")),
            status: None,
        };
        let silenced = StaleRules {
            silences: vec![silence.clone()],
            ..rules()
        };
        let mut streams = [
            stream("day1", 101 * MINUTE_MS, None),
            stream("night", 101 * MINUTE_MS, None),
        ];
        let found = change(&streams, &silenced, 110 * MINUTE_MS);
        assert_eq!(found.stale, ["day1", "night"]);
        assert_eq!(found.alerted, ["night"]);
        let by: Vec<_> = found.alerts.iter().map(|alert| alert.suppression).collect();
        let suppressed = Some(Suppression::Silence { by: silence.id });
        assert!(by.contains(&suppressed), "{by:?}");
        assert_ne!(found.alerts[0].id, found.alerts[1].id);

        for stream in &mut streams {
            stream.stale_since_ms = Some(110 * MINUTE_MS);
            stream.alerted = found.alerted.contains(&stream.stream);
        }
        let again = change(&streams, &silenced, 111 * MINUTE_MS);
        assert!(
            again.alerts.is_empty() && again.stale.is_empty(),
            "{again:?}"
        );

        let after = change(&streams, &rules(), 112 * MINUTE_MS);
        assert_eq!(
            (after.alerted.as_slice(), after.stale.len()),
            (["day1".to_owned()].as_slice(), 0)
        );
        assert_eq!(after.alerts[0].subject.streams(), ["day1"]);

        streams[0].arrived_at_ms = 111 * MINUTE_MS;
        let back = change(&streams[..1], &silenced, 112 * MINUTE_MS);
        assert_eq!(
            (back.resumed.as_slice(), back.alerts.len()),
            (["day1".to_owned()].as_slice(), 0)
        );
        streams[0].alerted = true;
        let back = change(&streams[..1], &silenced, 112 * MINUTE_MS);
        assert_eq!(back.alerts[0].suppression, suppressed);
    }

    #[test]
    fn a_stream_that_usually_pauses_is_stale_later() {
        let mut pausing = stream("shop", 101 * MINUTE_MS, None);
        for _ in 0..3 {
            pausing.pauses.observe(pausing.newest, 10);
        }
        let stale_at = |minutes| {
            let streams = std::slice::from_ref(&pausing);
            change(streams, &rules(), minutes * MINUTE_MS + 1)
                .stale
                .len()
        };
        assert_eq!((stale_at(120), stale_at(121)), (0, 1));
    }

    #[test]
    fn minutes_are_missing_since_the_first_stream_that_is_raised() {
        let silence = Silence {
            id: Uuid::from_u128(7),
            streams: Some("day*".parse().expect("a pattern")),
            status: None,
        };
        let stale = Some(105 * MINUTE_MS);
        let mut streams = [
            stream("known", 100 * MINUTE_MS, stale),
            stream("day1", 101 * MINUTE_MS, stale),
            stream("later", 103 * MINUTE_MS, None),
            stream("live", 102 * MINUTE_MS, None),
        ];
        streams[1].alerted = false;
        let mut rules = rules();
        assert_eq!(missing_since(&streams[..1], &rules, 110 * MINUTE_MS), None);
        assert_eq!(
            missing_since(&streams, &rules, 110 * MINUTE_MS),
            Some(101 * MINUTE_MS)
        );
        rules.silences = vec![silence];
        assert_eq!(
            missing_since(&streams, &rules, 110 * MINUTE_MS),
            Some(102 * MINUTE_MS)
        );
    }

    #[test]
    fn a_stale_alert_names_the_dead_letters() {
        let rules = StaleRules {
            dead_letters: DeadLetterCount {
                since_ms: 101 * MINUTE_MS,
                count: 4,
                newest: Some("expected value at line 1 column 1".to_owned()),
            },
            ..rules()
        };
        let streams = [stream("live", 101 * MINUTE_MS, None)];
        assert_eq!(
            change(&streams, &rules, 110 * MINUTE_MS).alerts[0].message,
            "no new minute from 1 live stream(s): live; since 1970-01-01 01:41 UTC 4 message(s) were dead letters, the last one: expected value at line 1 column 1"
        );
    }
}
