//! The cost of judging: each detector alone, and the whole fold with one policy or both. A count is one of the five of a minute, so
//! divide a minute by five. Run it with `cargo bench -p detection`.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use detection::{
    Baseline, Detector, Minute, MinuteCounts, Monitor, MonitorSettings, MonitoredStatus,
    StatusCount, Stream, ZScoreDetector,
    detector::adaptive::{AdaptiveSettings, AdaptiveState},
};

/// Minutes folded before a measurement: two days, so that windows and slots are filled.
const WARM_UP_MINUTES: i64 = 2 * 1440;

/// Counts of a busy stream: about 120 approvals and 6 denials, the rest rare.
fn counts(minute: i64) -> [u32; MonitoredStatus::COUNT] {
    let wave = u32::try_from(minute * 37 % 23).expect("not negative");
    [109 + wave, 2 + wave / 3, wave / 22, wave / 11, 0]
}

fn message(minute: i64) -> MinuteCounts {
    let transactions = MonitoredStatus::ALL.into_iter().zip(counts(minute));
    let transactions = transactions.map(|(status, count)| StatusCount {
        status: status.into(),
        count,
    });
    MinuteCounts::try_new(
        Stream::default(),
        Minute::from_epoch_minutes(minute),
        transactions.collect(),
    )
    .expect("no status twice")
}

fn zscore(c: &mut Criterion) {
    let detector = ZScoreDetector::default();
    let baseline = Baseline::from_figures(Some(6.1), Some(2.4), 60);
    c.bench_function("zscore, one count", |b| {
        b.iter(|| detector.judge(MonitoredStatus::Denied, black_box(9), black_box(baseline)));
    });
}

fn adaptive(c: &mut Criterion) {
    let settings = AdaptiveSettings::default();
    let mut state = AdaptiveState::default();
    let mut minute = 0;
    let mut observe = |state: &mut AdaptiveState| {
        minute += 1;
        state.observe(settings, Minute::from_epoch_minutes(minute), counts(minute))
    };
    for _ in 0..WARM_UP_MINUTES {
        observe(&mut state);
    }
    c.bench_function("adaptive, one minute of five counts", |b| {
        b.iter(|| black_box(observe(&mut state)));
    });
}

fn fold(c: &mut Criterion) {
    let zscore = Detector::ZScore(ZScoreDetector::default());
    let adaptive = Detector::Adaptive(AdaptiveSettings::default());
    let policies = [
        ("zscore", zscore, None),
        ("adaptive", adaptive, None),
        ("zscore, adaptive in shadow", zscore, Some(adaptive)),
    ];
    for (name, detector, shadow) in policies {
        let mut monitor = Monitor::new(MonitorSettings {
            detector,
            shadow,
            ..MonitorSettings::default()
        });
        let mut minute = 0;
        for _ in 0..WARM_UP_MINUTES {
            minute += 1;
            monitor.observe(message(minute), &[]);
        }
        c.bench_function(&format!("fold of one minute: {name}"), |b| {
            let next = || {
                minute += 1;
                message(minute)
            };
            b.iter_batched(
                next,
                |counts| monitor.observe(counts, &[]),
                BatchSize::SmallInput,
            );
        });
    }
}

criterion_group!(benches, zscore, adaptive, fold);
criterion_main!(benches);
