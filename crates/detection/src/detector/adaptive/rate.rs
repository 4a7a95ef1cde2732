//! The usual rate of one status: events per exposure with forgetting, the variance of counts, and the newest ten minutes.
//! The time of day and episodes are elsewhere.

use super::{day::FLOOR, tail};

/// Observed minutes of the window test.
pub(super) const WINDOW: usize = 10;
/// Forgetting per minute: approvals keep about 33 minutes, shares about a day.
const APPROVED_FORGETTING: f64 = 0.03;
const SHARE_FORGETTING: f64 = 1.0 / 1440.0;
/// Prior of approvals if earlier days are known: this many events at exactly the usual level.
const APPROVED_PRIOR: f64 = 10.0;
/// Prior of a share: events, and the approvals among which they occurred.
const SHARE_PRIOR_EVENTS: f64 = 0.5;
const SHARE_PRIOR_EXPOSURE: f64 = 50.0;
/// ln 0.1 and ln 0.003: the initial dispersion and level noise.
const LOG_DISPERSION_START: f64 = -2.302_585_092_994_045_5;
const LOG_LEVEL_NOISE_START: f64 = -5.809_142_990_314_028;
/// The minimum gains of the two trackers.
const DISPERSION_GAIN: f64 = 0.01;
const LEVEL_NOISE_GAIN: f64 = 0.015;
/// The window test counts only if the minute itself is this many deviations off on the same side.
const WINDOW_GATE: f64 = 1.0;
/// A count further off than this many deviations is learned as if it were at this distance.
const CLIP: f64 = 4.0;
/// Length of the shadow rate in minutes; it becomes the usual rate when an episode closes as the new level.
const SHADOW_MINUTES: f64 = 60.0;
/// Bounds that usual counts never reach. They keep every sum and square finite after years without a minute.
const MIN_EXPECTED: f64 = 1e-9;
const MAX_EXPECTED: f64 = 1e15;
const MAX_EXPOSURE: f64 = 1e30;

/// Events and their exposure; the ratio is the rate.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Evidence {
    pub(super) events: f64,
    pub(super) exposure: f64,
}

impl Evidence {
    fn forget_and_add(&mut self, forgetting: f64, events: f64, exposure: f64) {
        self.events += events - forgetting * self.events;
        self.exposure += exposure - forgetting * self.exposure;
    }

    fn shadow(&mut self, events: f64, exposure: f64) {
        self.events += events - self.events / SHADOW_MINUTES;
        self.exposure += exposure - self.exposure / SHADOW_MINUTES;
    }

    fn change_unit(&mut self, ratio: f64) {
        self.exposure = (self.exposure * ratio).min(MAX_EXPOSURE);
    }
}

/// The memory of one status.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Rate {
    /// The usual rate.
    pub(super) usual: Evidence,
    /// The rate of the last hour, also learned during an episode.
    pub(super) last_hour: Evidence,
    /// ln of the relative variance of a minute beyond the Poisson one.
    pub(super) log_dispersion: f64,
    /// ln of the relative variance of the level of a window.
    pub(super) log_level_noise: f64,
    /// Episodes of the last day that this status opened or joined, with forgetting.
    pub(super) episodes: f64,
    /// Ring of the newest counts and their expectations.
    pub(super) counts: [f64; WINDOW],
    pub(super) expected: [f64; WINDOW],
}

impl Default for Rate {
    fn default() -> Self {
        Self {
            usual: Evidence::default(),
            last_hour: Evidence::default(),
            log_dispersion: LOG_DISPERSION_START,
            log_level_noise: LOG_LEVEL_NOISE_START,
            episodes: 0.0,
            counts: [0.0; WINDOW],
            expected: [0.0; WINDOW],
        }
    }
}

/// The exposure of a count: a volume at a time of day, or a share of approvals.
#[derive(Clone, Copy, Debug)]
pub(super) enum Exposure {
    /// Approvals: the level of earlier days, and whether this time of day is known.
    Volume { level: f64, seen: bool },
    /// Problem statuses: the approvals of the minute, at least as many as expected.
    Share { approvals: f64 },
}

impl Exposure {
    pub(super) const fn amount(self) -> f64 {
        match self {
            Self::Volume { level, .. } => level,
            Self::Share { approvals } => approvals,
        }
    }

    const fn forgetting(self) -> f64 {
        match self {
            Self::Volume { .. } => APPROVED_FORGETTING,
            Self::Share { .. } => SHARE_FORGETTING,
        }
    }

    /// The evidence assumed at the start; its weight is small compared with the learned evidence.
    fn prior(self, usual: Evidence, count: f64) -> Evidence {
        let (events, exposure) = match self {
            Self::Volume { seen: true, .. } => (APPROVED_PRIOR, APPROVED_PRIOR),
            Self::Volume { .. } if usual.exposure <= 0.0 => (0.5, 0.5 / count.max(1.0)),
            Self::Volume { .. } => (0.5, 0.5 * usual.exposure / usual.events.max(1e-9)),
            Self::Share { .. } => (SHARE_PRIOR_EVENTS, SHARE_PRIOR_EXPOSURE),
        };
        Evidence { events, exposure }
    }
}

/// The expectation for one count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expectation {
    /// The mean.
    pub(super) mean: f64,
    /// Variance is `mean + spread * mean^2`.
    pub(super) spread: f64,
    /// The part of the spread that comes from the uncertainty of the rate.
    uncertainty: f64,
    dispersion: f64,
}

impl Expectation {
    fn deviation(&self) -> f64 {
        (self.mean + self.spread * self.mean * self.mean).sqrt()
    }

    /// Distance of the count above the mean, in deviations.
    pub(super) fn z(&self, count: f64) -> f64 {
        (count - self.mean) / self.deviation()
    }
}

/// Sums over this minute and those before it in the window.
#[derive(Clone, Copy, Debug)]
pub(super) struct WindowSums {
    pub(super) count: f64,
    pub(super) expected: f64,
    /// As [`Expectation::spread`], for the sum.
    spread: f64,
    level_noise: f64,
}

impl WindowSums {
    /// The window's score, if it exceeds the minute's and the minute is off on the same side.
    pub(super) fn outweighs(&self, z: f64, minute_score: f64) -> Option<f64> {
        if z.abs() <= WINDOW_GATE {
            return None;
        }
        let score = tail::score(self.count, self.expected, self.spread);
        (score * z > 0.0 && score.abs() > minute_score.abs()).then_some(score)
    }
}

impl Rate {
    /// The expectation for this exposure. `count` is used only before anything was learned.
    pub(super) fn expectation(&self, count: f64, exposure: Exposure, cold: f64) -> Expectation {
        let prior = exposure.prior(self.usual, count);
        let events = self.usual.events + prior.events;
        let rate = events / (self.usual.exposure + prior.exposure);
        let floor = match exposure {
            Exposure::Volume { .. } => FLOOR,
            Exposure::Share { .. } => MIN_EXPECTED,
        };
        let uncertainty = 1.0 / events + cold;
        let dispersion = self.log_dispersion.exp();
        Expectation {
            mean: (rate * exposure.amount()).clamp(floor, MAX_EXPECTED),
            spread: dispersion + uncertainty,
            uncertainty,
            dispersion,
        }
    }

    /// The window of `run` minutes that ends with this one, at index `place` of the ring.
    pub(super) fn window(
        &self,
        count: f64,
        expectation: &Expectation,
        place: usize,
        run: usize,
    ) -> WindowSums {
        let mean = expectation.mean;
        let (mut sum, mut expected, mut squares) = (count, mean, mean * mean);
        let mut at = place;
        for _ in 1..run {
            at = at.checked_sub(1).unwrap_or(WINDOW - 1);
            sum += self.counts[at];
            expected += self.expected[at];
            squares += self.expected[at] * self.expected[at];
        }
        let level_noise = self.log_level_noise.exp();
        let spread = expectation.dispersion * squares / (expected * expected)
            + level_noise
            + expectation.uncertainty;
        WindowSums {
            count: sum,
            expected,
            spread,
            level_noise,
        }
    }

    /// Records a minute in the ring and the last hour, also while an episode is open.
    pub(super) fn record(&mut self, count: f64, mean: f64, exposure: f64, place: usize) {
        self.last_hour.shadow(count, exposure);
        self.counts[place] = count;
        self.expected[place] = mean;
    }

    /// Learns the variance of the sum of a full window, once per window, so that no minute counts twice.
    pub(super) fn learn_level_noise(&mut self, window: &WindowSums) {
        let square = window.expected * window.expected;
        let variance = window.expected + window.spread * square;
        let z = (window.count - window.expected).abs() / variance.sqrt();
        let share = window.level_noise * square / variance;
        self.log_level_noise =
            track(self.log_level_noise, LEVEL_NOISE_GAIN, z, share).clamp(-9.2, -1.0);
    }

    /// Learns the rate from a count and, once `ready`, the variance of counts. Then the count is clipped, so that one minute
    /// changes little. Returns the learned count. `observed` is the number of minutes observed so far.
    pub(super) fn learn(
        &mut self,
        count: f64,
        expectation: &Expectation,
        exposure: Exposure,
        observed: u64,
        ready: bool,
    ) -> f64 {
        let mut learned = count;
        if ready {
            let (mean, reach) = (expectation.mean, CLIP * expectation.deviation());
            learned = count.max(mean - reach).min(mean + reach + 1.0).max(0.0);
            #[expect(clippy::cast_precision_loss, reason = "a gain needs no 53 bits")]
            let gain = DISPERSION_GAIN.max(1.0 / (observed as f64 + 60.0));
            let part = expectation.dispersion * mean;
            let share = part / (1.0 + part);
            let z = expectation.z(count).abs();
            self.log_dispersion = track(self.log_dispersion, gain, z, share).clamp(-11.5, 0.7);
        }
        self.usual
            .forget_and_add(exposure.forgetting(), learned, exposure.amount());
        learned
    }

    /// Forgets approvals for missing minutes.
    pub(super) fn forget_missing(&mut self, minutes: f64) {
        let kept = (1.0 - APPROVED_FORGETTING).powf(minutes);
        self.usual.events *= kept;
        self.usual.exposure *= kept;
    }

    /// Counts exposure in a new unit, `ratio` of the old one.
    pub(super) fn change_unit(&mut self, ratio: f64) {
        self.usual.change_unit(ratio);
        self.last_hour.change_unit(ratio);
    }
}

/// A robust step of ln variance: up if `z` is above 0.75 deviations, else down; more than 4 counts as 4.
/// `share` is the part of the variance to learn.
fn track(log_variance: f64, gain: f64, z: f64, share: f64) -> f64 {
    log_variance + 2.0 * gain * (z.min(4.0) - 0.75) * share
}
