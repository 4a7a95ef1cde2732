//! Evaluates one minute against the learned rates: expectation, score, severity and evidence of each status. It does not learn.

use super::{
    AdaptiveSettings, AdaptiveState, bar,
    day::TimeOfDay,
    evidence::{AdaptiveEvidence, Test},
    rate::{Expectation, Exposure, WINDOW, WindowSums},
    tail,
};
use crate::{Finding, Judgement, Minute, MonitoredStatus, Unjudged};

/// One status of one minute, evaluated and not yet learned.
pub(super) struct Evaluated {
    pub(super) finding: Finding,
    pub(super) heat: f64,
    pub(super) expectation: Expectation,
    pub(super) window: WindowSums,
    pub(super) exposure: Exposure,
}

impl AdaptiveState {
    /// Evaluates a late or corrected minute against the present state, by the minute test only, since the window contains newer
    /// minutes. Changes no state.
    pub fn judge(
        &self,
        settings: AdaptiveSettings,
        minute: Minute,
        counts: [u32; MonitoredStatus::COUNT],
    ) -> [Judgement; MonitoredStatus::COUNT] {
        let counts = counts.map(f64::from);
        self.evaluate(settings, self.day.at(minute), &counts, 1, self.is_ready())
            .map(|status| self.judgement(&status))
    }

    /// Evaluates a submitted count for a minute, even with few observed minutes: a share among the expected approvals.
    pub(crate) fn judge_now(
        &self,
        settings: AdaptiveSettings,
        minute: Minute,
        status: MonitoredStatus,
        count: u32,
    ) -> Finding {
        let time = self.day.at(minute);
        let mut counts = [0.0; MonitoredStatus::COUNT];
        counts[0] = self.rates[0]
            .expectation(0.0, time.volume(), time.cold)
            .mean;
        counts[status.index()] = f64::from(count);
        self.evaluate(settings, time, &counts, 1, true)[status.index()].finding
    }

    pub(super) fn judgement(&self, status: &Evaluated) -> Judgement {
        if self.is_ready() {
            return Judgement::Finding(status.finding);
        }
        Judgement::Unjudged(Unjudged::Learning {
            score: None,
            evidence: status.finding.evidence,
        })
    }

    pub(super) fn evaluate(
        &self,
        settings: AdaptiveSettings,
        time: TimeOfDay,
        counts: &[f64; MonitoredStatus::COUNT],
        run: usize,
        ready: bool,
    ) -> [Evaluated; MonitoredStatus::COUNT] {
        let volume = time.volume();
        let approved = self.rates[0].expectation(counts[0], volume, time.cold);
        // A collapse of approvals must not hide a high share, so at least the expected approvals count.
        let share = Exposure::Share {
            approvals: counts[0].max(approved.mean),
        };
        let judged = MonitoredStatus::ALL.map(|status| {
            let i = status.index();
            let (exposure, expectation) = if status.is_problem() {
                (
                    share,
                    self.rates[i].expectation(counts[i], share, time.cold),
                )
            } else {
                (volume, approved)
            };
            let window = self.rates[i].window(counts[i], &expectation, self.place(), run);
            (exposure, expectation, window)
        });
        let payments = Payments::of(counts, &judged);
        MonitoredStatus::ALL.map(|status| {
            let (exposure, expectation, window) = judged[status.index()];
            let count = counts[status.index()];
            let (score, test) = if ready {
                score(count, &expectation, &window, run)
            } else {
                (0.0, Test::Minute)
            };
            let evidence = self.evidence(settings, status, &expectation, &window, test, &payments);
            Evaluated {
                finding: finding(settings, status, score, evidence),
                heat: evidence.heat,
                expectation,
                window,
                exposure,
            }
        })
    }

    fn evidence(
        &self,
        settings: AdaptiveSettings,
        status: MonitoredStatus,
        expectation: &Expectation,
        window: &WindowSums,
        test: Test,
        payments: &Payments,
    ) -> AdaptiveEvidence {
        let rate = &self.rates[status.index()];
        let heat = bar::heat(rate.episodes);
        let (day_count, day_payments) = if status.is_problem() {
            (rate.usual.events, rate.usual.events + rate.usual.exposure)
        } else {
            (0.0, 0.0)
        };
        let (payments, expected_payments) = payments.within(test);
        AdaptiveEvidence {
            expected: expectation.mean,
            spread: expectation.spread,
            bar: settings.critical() * heat,
            heat,
            test,
            window_count: whole(window.count),
            window_expected: window.expected,
            payments: whole(payments),
            expected_payments,
            day_count,
            day_payments,
        }
    }
}

/// The score, and the test that produced it.
fn score(count: f64, expectation: &Expectation, window: &WindowSums, run: usize) -> (f64, Test) {
    let score = tail::score(count, expectation.mean, expectation.spread);
    let of_window = if run == WINDOW {
        window.outweighs(expectation.z(count), score)
    } else {
        None
    };
    of_window.map_or((score, Test::Minute), |score| (score, Test::Window))
}

/// The score in the direction that alerts: approvals fall, problem statuses rise.
pub(crate) fn bad(status: MonitoredStatus, score: f64) -> f64 {
    if status.is_problem() { score } else { -score }
}

fn finding(
    settings: AdaptiveSettings,
    status: MonitoredStatus,
    score: f64,
    evidence: AdaptiveEvidence,
) -> Finding {
    let severity = settings.severity(bad(status, score), evidence.heat);
    evidence.finding(status, severity, score)
}

/// All payments and the expected payments, of the minute and of the window.
struct Payments {
    minute: (f64, f64),
    window: (f64, f64),
}

impl Payments {
    fn of(
        counts: &[f64; MonitoredStatus::COUNT],
        judged: &[(Exposure, Expectation, WindowSums); MonitoredStatus::COUNT],
    ) -> Self {
        let windows = judged.map(|(_, _, window)| window.count);
        Self {
            minute: (
                counts.iter().sum(),
                expected_payments(
                    counts[0],
                    judged.map(|(_, expectation, _)| expectation.mean),
                ),
            ),
            window: (
                windows.iter().sum(),
                expected_payments(windows[0], judged.map(|(_, _, window)| window.expected)),
            ),
        }
    }

    const fn within(&self, test: Test) -> (f64, f64) {
        match test {
            Test::Minute => self.minute,
            Test::Window => self.window,
        }
    }
}

fn expected_payments(approved: f64, expected: [f64; MonitoredStatus::COUNT]) -> f64 {
    approved.max(expected[0]) + expected[1..].iter().sum::<f64>()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a sum of at most 50 counts of u32"
)]
fn whole(count: f64) -> u64 {
    count as u64
}
