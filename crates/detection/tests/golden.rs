//! Compares the policy `adaptive` with the rows and messages of a reference implementation on two recorded streams, to 1e-9
//! relative and the rounding of the files to nine significant digits.

use std::collections::BTreeMap;

use detection::{
    Evidence, Minute, MonitoredStatus,
    detector::adaptive::{
        AdaptiveObserved, AdaptiveSettings, AdaptiveState, EpisodeChange, EpisodeEvent, Test,
    },
};

/// The counts of each observed minute, from `timestamp,status,count`.
fn minutes(csv: &str) -> BTreeMap<Minute, [u32; MonitoredStatus::COUNT]> {
    let mut minutes = BTreeMap::new();
    for line in csv.lines().skip(1) {
        let [minute, status, count] = fields(line);
        let status: MonitoredStatus = status.parse().expect("a golden line");
        let counts: &mut [u32; MonitoredStatus::COUNT] = minutes
            .entry(minute.parse().expect("a golden line"))
            .or_default();
        counts[status.index()] = count.parse().expect("a golden line");
    }
    minutes
}

fn fields<const N: usize>(line: &str) -> [&str; N] {
    let fields: Vec<_> = line.split(',').collect();
    fields.try_into().expect("a golden line")
}

fn assert_near(ours: f64, golden: &str, what: &str, line: &str) {
    let golden: f64 = golden.parse().expect("a golden line");
    let rounding = if golden == 0.0 {
        0.0
    } else {
        0.5 * 10_f64.powf(golden.abs().log10().floor() - 8.0)
    };
    let tolerance = rounding + 1e-9 * golden.abs().max(1.0);
    assert!(
        (ours - golden).abs() <= tolerance,
        "{what} {ours} in {line}"
    );
}

fn assert_row(observed: &AdaptiveObserved, line: &str) {
    let [
        _,
        status,
        _,
        expected,
        score,
        test,
        window_count,
        window_expected,
        bar,
        severity,
        episode,
    ] = fields(line);
    let status: MonitoredStatus = status.parse().expect("a golden line");
    let judgement = &observed.judgements[status.index()];
    let Some(Evidence::Adaptive(ours)) = judgement.evidence() else {
        panic!("{judgement:?}");
    };
    assert_near(ours.expected, expected, "expected", line);
    assert_near(judgement.score().unwrap_or(0.0), score, "score", line);
    assert_near(
        ours.window_expected,
        window_expected,
        "window expected",
        line,
    );
    assert_near(ours.bar, bar, "bar", line);
    let our_test = match (judgement.finding(), ours.test) {
        (None, _) => "learning",
        (Some(_), Test::Minute) => "minute",
        (Some(_), Test::Window) => "window",
    };
    let our_texts = (
        our_test,
        ours.window_count.to_string(),
        judgement.state().name(),
    );
    assert_eq!(
        our_texts,
        (test, window_count.to_owned(), severity),
        "{line}"
    );
    assert_eq!(observed.episode.unwrap_or(0).to_string(), episode, "{line}");
}

fn assert_message(event: &EpisodeEvent, line: &str) {
    let [minute, kind, severity, score, statuses] = fields(line);
    let our_kind = match event.change {
        EpisodeChange::Opened => "open",
        EpisodeChange::Escalated => "escalate",
        EpisodeChange::Collapsed => "collapse",
        EpisodeChange::ClosedCalm => "close",
        EpisodeChange::ClosedNewLevel(_) => "close_new_level",
    };
    let our_statuses: Vec<_> = event.statuses.iter().map(MonitoredStatus::name).collect();
    let ours = (
        event.minute,
        our_kind,
        event.severity.name(),
        our_statuses.join("+"),
    );
    let golden = (
        minute.parse().expect("a golden line"),
        kind,
        severity,
        statuses.to_owned(),
    );
    assert_eq!(ours, golden, "{line}");
    assert_near(event.score, score, "score", line);
}

fn assert_golden(input: &str, rows: &str, messages: &str) {
    let (mut rows, mut messages) = (rows.lines().skip(1), messages.lines().skip(1));
    let (mut state, settings) = (AdaptiveState::default(), AdaptiveSettings::default());
    for (minute, counts) in minutes(input) {
        let observed = state.observe(settings, minute, counts);
        for status in MonitoredStatus::ALL {
            let line = rows.next().expect("a golden line");
            let [text, name, count, ..] = fields::<11>(line);
            let given = (
                text.parse().expect("a golden line"),
                name,
                count.parse().expect("a golden line"),
            );
            assert_eq!((minute, status.name(), counts[status.index()]), given);
            assert_row(&observed, line);
        }
        for event in observed.events() {
            assert_message(event, messages.next().expect("a golden line"));
        }
    }
    assert_eq!((rows.next(), messages.next()), (None, None));
}

#[test]
fn a_busy_stream_equals_the_reference() {
    assert_golden(
        include_str!("golden/busy.csv"),
        include_str!("golden/busy-expected.csv"),
        include_str!("golden/busy-messages.csv"),
    );
}

#[test]
fn a_low_volume_stream_equals_the_reference() {
    assert_golden(
        include_str!("golden/low.csv"),
        include_str!("golden/low-expected.csv"),
        include_str!("golden/low-messages.csv"),
    );
}
