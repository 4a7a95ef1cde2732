//! Properties of the policy `adaptive` for any counts (determinism, restarts, bounds), and its rules for learning and episodes.

use detection::{
    Detector, Evidence, Judgement, Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus,
    Observed, RowChange, Severity, StatusCount, StoredStream, Stream,
    detector::adaptive::{
        AdaptiveEvidence, AdaptiveObserved, AdaptiveSettings, AdaptiveState, EpisodeChange,
    },
};
use proptest::prelude::*;

type Counts = [u32; MonitoredStatus::COUNT];

const USUAL: Counts = [118, 6, 0, 1, 0];

/// Folds consecutive minutes.
struct Feed {
    state: AdaptiveState,
    next: Minute,
}

impl Feed {
    fn new() -> Self {
        Self {
            state: AdaptiveState::default(),
            next: Minute::from_epoch_minutes(29_000_000),
        }
    }

    fn observe(&mut self, counts: Counts) -> AdaptiveObserved {
        let minute = self.next;
        self.next = minute.plus(1);
        self.state
            .observe(AdaptiveSettings::default(), minute, counts)
    }

    fn usual(&mut self, minutes: usize) {
        for _ in 0..minutes {
            self.observe(USUAL);
        }
    }

    /// The changes of the episode over some minutes of the same counts.
    fn changes(&mut self, minutes: usize, counts: Counts) -> Vec<EpisodeChange> {
        let mut changes = Vec::new();
        for _ in 0..minutes {
            changes.extend(self.observe(counts).events().map(|event| event.change));
        }
        changes
    }
}

fn evidence(judgement: &Judgement) -> AdaptiveEvidence {
    match judgement.evidence() {
        Some(Evidence::Adaptive(evidence)) => *evidence,
        other => panic!("{other:?}"),
    }
}

/// The evidence of one status of a minute.
fn evidence_of(observed: &AdaptiveObserved, status: MonitoredStatus) -> AdaptiveEvidence {
    evidence(&observed.judgements[status.index()])
}

fn severity_of(observed: &AdaptiveObserved, status: MonitoredStatus) -> Option<Severity> {
    observed.judgements[status.index()].severity()
}

/// Every number of a judgement is finite and in its documented range.
fn assert_sane(observed: &AdaptiveObserved) {
    for judgement in &observed.judgements {
        let evidence = evidence(judgement);
        let amounts = [
            evidence.expected,
            evidence.spread,
            evidence.bar,
            evidence.heat,
            evidence.window_expected,
            evidence.expected_payments,
            evidence.day_count,
            evidence.day_payments,
        ];
        let sane = amounts.iter().all(|x| x.is_finite() && *x >= 0.0);
        assert!(
            sane && judgement.score().is_none_or(f64::is_finite),
            "{judgement:?}"
        );
    }
    for event in observed.events() {
        assert!(event.score.is_finite() && !event.statuses.is_empty());
        if let EpisodeChange::ClosedNewLevel(level) = event.change {
            assert!(
                level.approved.is_finite() && level.shares.iter().all(|s| (0.0..=1.0).contains(s))
            );
        }
    }
}

/// Runs of equal counts with pauses between them, up to the largest counts and to years.
fn segments() -> impl Strategy<Value = Vec<(i64, usize, Counts)>> {
    let count = prop_oneof![
        Just(0_u32),
        0..5_u32,
        0..1000_u32,
        any::<u32>(),
        Just(u32::MAX)
    ];
    let pause = prop_oneof![
        6 => Just(1_i64),
        2 => 1..10_i64,
        2 => 1..3000_i64,
        1 => 1..2_000_000_i64
    ];
    prop::collection::vec((pause, 1..60_usize, prop::array::uniform5(count)), 1..20)
}

/// The minutes of some segments, one after another.
fn unfold(segments: Vec<(i64, usize, Counts)>) -> Vec<(Minute, Counts)> {
    let mut minutes = Vec::new();
    let mut minute = Minute::from_epoch_minutes(29_000_000);
    for (pause, length, counts) in segments {
        minute = minute.plus(pause - 1);
        for _ in 0..length {
            minute = minute.plus(1);
            minutes.push((minute, counts));
        }
    }
    minutes
}

proptest! {
    #[test]
    fn any_counts_and_pauses_give_finite_numbers(segments in segments()) {
        let mut state = AdaptiveState::default();
        for (minute, counts) in unfold(segments) {
            assert_sane(&state.observe(AdaptiveSettings::default(), minute, counts));
        }
        let restored = AdaptiveState::try_from_bytes(&state.to_bytes());
        prop_assert_eq!(restored, Ok(state));
    }

    #[test]
    fn a_restart_at_any_minute_changes_no_bit(segments in segments(), every in 1..50_usize) {
        let (mut whole, mut restarted) = (AdaptiveState::default(), AdaptiveState::default());
        for (i, (minute, counts)) in unfold(segments).into_iter().enumerate() {
            if i % every == 0 {
                restarted = AdaptiveState::try_from_bytes(&restarted.to_bytes()).unwrap();
            }
            let ours = whole.observe(AdaptiveSettings::default(), minute, counts);
            let theirs = restarted.observe(AdaptiveSettings::default(), minute, counts);
            prop_assert_eq!(ours, theirs);
        }
        prop_assert_eq!(whole.to_bytes(), restarted.to_bytes());
    }

    #[test]
    fn late_minutes_change_no_state(segments in segments(), back in 0..100_i64, counts in any::<Counts>()) {
        let mut state = AdaptiveState::default();
        for (minute, counts) in unfold(segments) {
            state.observe(AdaptiveSettings::default(), minute, counts);
        }
        let before = state.clone();
        let late = state.newest().unwrap().plus(-back);
        let observed = state.observe(AdaptiveSettings::default(), late, counts);
        assert_sane(&observed);
        prop_assert_eq!(observed.judgements, before.judge(AdaptiveSettings::default(), late, counts));
        prop_assert_eq!((observed.events().count(), observed.episode), (0, None));
        prop_assert_eq!(state, before);
    }
}

#[test]
fn damage_in_any_byte_never_panics() {
    let mut stream = Feed::new();
    stream.usual(100);
    stream.changes(3, [118, 60, 0, 1, 0]);
    let blob = stream.state.to_bytes();
    for at in 0..blob.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut damaged = blob.clone();
            damaged[at] = value;
            if let Ok(mut state) = AdaptiveState::try_from_bytes(&damaged) {
                state.observe(AdaptiveSettings::default(), stream.next, USUAL);
            }
        }
    }
}

#[test]
fn the_first_thirty_minutes_are_not_evaluated() {
    let mut stream = Feed::new();
    let burst = [118, 6, 50, 1, 0];
    for _ in 0..30 {
        let observed = stream.observe(burst);
        assert!(
            observed
                .judgements
                .iter()
                .all(|judgement| judgement.finding().is_none())
        );
    }
    let observed = stream.observe(burst);
    assert!(
        observed
            .judgements
            .iter()
            .all(|judgement| judgement.finding().is_some())
    );
}

#[test]
fn a_burst_closes_after_five_calm_minutes() {
    let mut stream = Feed::new();
    stream.usual(300);
    assert_eq!(
        stream.changes(20, [118, 60, 0, 1, 0]),
        [EpisodeChange::Opened]
    );
    assert!(stream.state.has_open_episode());
    assert_eq!(stream.changes(4, USUAL), []);
    assert_eq!(stream.changes(1, USUAL), [EpisodeChange::ClosedCalm]);
    assert_eq!(stream.changes(60, USUAL), []);
}

#[test]
fn an_open_episode_teaches_nothing() {
    let mut stream = Feed::new();
    stream.usual(300);
    let burst = [118, 60, 0, 1, 0];
    stream.changes(10, burst);
    let first = stream.observe(burst);
    stream.changes(300, burst);
    let last = stream.observe(burst);
    assert!(stream.state.has_open_episode());
    for status in MonitoredStatus::ALL {
        let (first, last) = (evidence_of(&first, status), evidence_of(&last, status));
        assert!((first.expected - last.expected).abs() < 1e-12);
        assert!((first.spread - last.spread).abs() < 1e-12);
    }
}

#[test]
fn six_hours_of_another_share_are_the_new_level() {
    let mut stream = Feed::new();
    stream.usual(300);
    let changes = stream.changes(400, [118, 60, 0, 1, 0]);
    let [EpisodeChange::Opened, EpisodeChange::ClosedNewLevel(level)] = changes[..] else {
        panic!("{changes:?}");
    };
    assert!((level.shares[MonitoredStatus::Denied.index()] - 60.0 / 179.0).abs() < 0.01);
    let usual = stream.observe([118, 60, 0, 1, 0]);
    assert_eq!(
        severity_of(&usual, MonitoredStatus::Denied),
        Some(Severity::Normal)
    );
    assert!((evidence_of(&usual, MonitoredStatus::Denied).expected - 60.0).abs() < 1.0);
}

#[test]
fn an_outage_is_no_new_level_before_a_day() {
    let mut stream = Feed::new();
    stream.usual(300);
    assert_eq!(stream.changes(1440, [0; 5]), [EpisodeChange::Opened]);
    let changes = stream.changes(1, [0; 5]);
    assert!(
        matches!(changes[..], [EpisodeChange::ClosedNewLevel(_)]),
        "{changes:?}"
    );
}

#[test]
fn a_rise_of_approvals_never_alerts() {
    let mut stream = Feed::new();
    stream.usual(300);
    assert_eq!(stream.changes(60, [1180, 60, 0, 10, 0]), []);
}

#[test]
fn a_collapse_of_approvals_leaves_shares_usual() {
    let mut stream = Feed::new();
    stream.usual(300);
    let collapsed = stream.observe([5, 6, 0, 1, 0]);
    let severities = [MonitoredStatus::Approved, MonitoredStatus::Denied]
        .map(|status| severity_of(&collapsed, status));
    assert_eq!(
        severities,
        [Some(Severity::Critical), Some(Severity::Normal)]
    );
}

#[test]
fn a_collapse_within_an_episode_is_announced() {
    let mut stream = Feed::new();
    stream.usual(300);
    let failing = [118, 6, 20, 1, 0];
    assert_eq!(stream.changes(5, failing), [EpisodeChange::Opened]);
    assert_eq!(
        stream.changes(10, [10, 6, 20, 1, 0]),
        [EpisodeChange::Collapsed]
    );
}

#[test]
fn many_episodes_a_day_raise_the_bar() {
    let mut stream = Feed::new();
    stream.usual(300);
    let mut bars = Vec::new();
    for _ in 0..6 {
        let observed = stream.observe([118, 60, 0, 1, 0]);
        bars.push(evidence_of(&observed, MonitoredStatus::Denied).bar);
        stream.usual(30);
    }
    assert!((bars[0] - 5.0).abs() < 1e-12 && (bars[1] - 5.0).abs() < 1e-12);
    assert!(bars[3] > 6.0 && bars[5] > bars[3], "{bars:?}");
}

#[test]
fn the_usual_range_contains_the_expected_count() {
    let mut stream = Feed::new();
    stream.usual(300);
    let observed = stream.observe(USUAL);
    let approved = evidence_of(&observed, MonitoredStatus::Approved).usual_range();
    assert!(approved.contains(&118) && *approved.start() > 10 && *approved.end() < 500);
    let failed = evidence_of(&observed, MonitoredStatus::Failed).usual_range();
    assert!(failed.contains(&0) && *failed.end() < 10, "{failed:?}");
}

/// The message for one minute.
fn message(stream: &Stream, minute: Minute, counts: Counts) -> MinuteCounts {
    let transactions = MonitoredStatus::ALL.map(|status| StatusCount {
        status: status.into(),
        count: counts[status.index()],
    });
    MinuteCounts::try_new(stream.clone(), minute, transactions.into()).expect("no status twice")
}

/// The default settings with this policy, and no cooldown to store.
fn settings() -> MonitorSettings {
    MonitorSettings {
        detector: Detector::Adaptive(AdaptiveSettings::default()),
        cooldown_minutes: 0,
        ..MonitorSettings::default()
    }
}

/// The stored form of a stream.
fn stored(monitor: &Monitor, stream: &Stream) -> StoredStream {
    let history = monitor.history(stream).expect("observed before");
    let newest = history.newest().expect("observed before").minute;
    let minutes = (0..30).filter_map(|back| history.get(newest.plus(-back)).copied());
    StoredStream {
        minutes: minutes.collect(),
        adaptive: monitor.adaptive(stream).expect("observed before").clone(),
        ..StoredStream::default()
    }
}

/// The result of one message, without cooldowns.
fn essence(observed: Observed) -> impl PartialEq + std::fmt::Debug {
    let alerts: Vec<_> = observed
        .alerts
        .into_iter()
        .map(|alert| alert.anomaly)
        .collect();
    (observed.rows, alerts, observed.episode_events)
}

/// Messages of two streams: which one, minutes after its newest (late and corrected ones among them), counts.
fn messages() -> impl Strategy<Value = Vec<(bool, i64, Counts)>> {
    let step = prop_oneof![10 => Just(1_i64), 1 => 2..20_i64, 1 => -12..1_i64];
    let count = prop_oneof![4 => 0..4_u32, 1 => 0..300_u32];
    let counts = prop::array::uniform5(count);
    prop::collection::vec((any::<bool>(), step, counts), 50..200)
}

proptest! {
    #[test]
    fn restarts_and_other_streams_change_nothing(messages in messages(), every in 1..20_usize) {
        let names = ["a", "b"].map(|name| name.parse::<Stream>().expect("valid"));
        let mut together = Monitor::new(settings());
        let mut alone = [Monitor::new(settings()), Monitor::new(settings())];
        let mut newest = [Minute::from_epoch_minutes(29_000_000); 2];
        for (i, (second, step, counts)) in messages.into_iter().enumerate() {
            let at = usize::from(second);
            let minute = newest[at].plus(step);
            newest[at] = newest[at].max(minute);
            if i % every == 0 && alone[at].knows(&names[at]) {
                let state = stored(&alone[at], &names[at]);
                alone[at].forget();
                alone[at].restore(names[at].clone(), state);
            }
            let ours = together.observe(message(&names[at], minute, counts), &[]);
            let theirs = alone[at].observe(message(&names[at], minute, counts), &[]);
            prop_assert_eq!(essence(ours), essence(theirs));
        }
    }
}

#[test]
fn the_monitor_folds_like_the_state_alone() {
    let (mut monitor, mut stream) = (Monitor::new(settings()), Feed::new());
    for i in 0..400 {
        let counts = if (300..320).contains(&i) {
            [118, 60, 0, 1, 0]
        } else {
            USUAL
        };
        let minute = stream.next;
        let alone = stream.observe(counts);
        let observed = monitor.observe(message(&Stream::default(), minute, counts), &[]);
        let judgements = observed.rows.iter().map(|row| match row.change {
            RowChange::Judged { judgement, .. } => judgement,
            RowChange::CountOnly => panic!("{row:?}"),
        });
        assert!(judgements.eq(alone.judgements));
        assert!(observed.episode_events.iter().eq(alone.events()));
    }
    let newest = stream.next.plus(-1);
    assert_eq!(monitor.adaptive(&Stream::default()), Some(&stream.state));
    let corrected = monitor.observe(message(&Stream::default(), newest, [118, 90, 0, 1, 0]), &[]);
    assert_eq!(corrected.rows.len(), 1);
    assert!(matches!(
        corrected.rows[0].change,
        RowChange::Judged { judgement, .. } if judgement.severity() == Some(Severity::Critical)
    ));
    assert!(
        corrected.alerts.is_empty(),
        "an episode knows no corrected minute"
    );
    assert_eq!(monitor.adaptive(&Stream::default()), Some(&stream.state));
}

#[test]
fn a_submission_is_a_share_of_usual_approvals() {
    let mut stream = Feed::new();
    stream.usual(300);
    let detector = Detector::Adaptive(AdaptiveSettings::default());
    let history = MonitorSettings {
        detector,
        ..MonitorSettings::default()
    }
    .history([]);
    let submit = |count| {
        let denied = MonitoredStatus::Denied;
        detector.judge_submission(&history, &stream.state, stream.next, denied, count)
    };
    assert_eq!(submit(6).severity, Severity::Normal);
    let burst = submit(60);
    assert_eq!(burst.severity, Severity::Critical);
    let sentence = burst.sentence("denied", 60);
    assert!(
        sentence.contains("60 of 178 payments (34 %), usually 6"),
        "{sentence}"
    );
}
