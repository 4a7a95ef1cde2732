//! The daily pattern of one stream's approvals: a usual level for each half hour of the UTC day, learned once a day.
//! It has no weekly pattern, no shares and no episodes.

use super::rate::Exposure;
use crate::Minute;

/// Half hours of a day.
pub(super) const SLOTS: usize = 48;
/// Minutes of a slot.
const SLOT_MINUTES: f64 = 30.0;
/// The minimum weight of a new day in a slot; the first days weigh 1/n.
const SLOT_GAIN: f64 = 0.25;
/// The lowest expected level of approvals per minute.
pub(super) const FLOOR: f64 = 0.02;
/// Extra relative variance of a slot without a completed day; falls with the square of its days.
const COLD: f64 = 0.05;

/// The usual approvals by time of day.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct DayShape {
    /// The usual approvals per minute in each slot.
    pub(super) levels: [f64; SLOTS],
    /// Completed visits of each slot, about one per day.
    pub(super) days: [u32; SLOTS],
    /// Approvals learned in the current visit of `slot`.
    pub(super) sum: f64,
    /// Minutes from which they were learned.
    pub(super) minutes: u32,
    /// The slot of the newest minute.
    pub(super) slot: Option<usize>,
    /// The level expected by earlier days for the newest minute: the exposure of approvals. 1 before any slot is complete.
    pub(super) exposure: f64,
    /// True if the slot of the newest minute was complete on an earlier day.
    pub(super) seen: bool,
}

/// The expectation of earlier days for one minute.
#[derive(Clone, Copy, Debug)]
pub(super) struct TimeOfDay {
    /// The exposure of approvals.
    pub(super) exposure: f64,
    /// True if an earlier day completed this slot: the exposure is a level of this time of day.
    pub(super) seen: bool,
    /// Relative variance to add for a pattern learned from few days.
    pub(super) cold: f64,
}

impl TimeOfDay {
    /// The exposure of approvals.
    pub(super) const fn volume(self) -> Exposure {
        Exposure::Volume {
            level: self.exposure,
            seen: self.seen,
        }
    }
}

impl Default for DayShape {
    fn default() -> Self {
        Self {
            levels: [0.0; SLOTS],
            days: [0; SLOTS],
            sum: 0.0,
            minutes: 0,
            slot: None,
            exposure: 1.0,
            seen: false,
        }
    }
}

impl DayShape {
    /// The expectation for this minute, from the completed visits only.
    pub(super) fn at(&self, minute: Minute) -> TimeOfDay {
        let (slot, offset) = position(minute);
        let seen = self.days[slot] > 0;
        TimeOfDay {
            exposure: if seen {
                self.level(slot, offset)
            } else {
                self.exposure
            },
            seen,
            cold: COLD / (1.0 + f64::from(self.days[slot])).powi(2),
        }
    }

    /// The level interpolated between a slot and its nearer neighbour, by the distance to their middles.
    fn level(&self, slot: usize, offset: f64) -> f64 {
        let neighbour = if offset < 0.5 {
            (slot + SLOTS - 1) % SLOTS
        } else {
            (slot + 1) % SLOTS
        };
        let weight = (offset - 0.5).abs();
        let beside = if self.days[neighbour] > 0 {
            self.levels[neighbour]
        } else {
            self.levels[slot]
        };
        (self.levels[slot] * (1.0 - weight) + beside * weight).max(FLOOR)
    }

    /// Advances to a newer minute. When the pattern becomes known, the unit of exposure changes; then returns the ratio new/old.
    pub(super) fn advance(&mut self, minute: Minute) -> (TimeOfDay, Option<f64>) {
        let (slot, _) = position(minute);
        if self.slot != Some(slot) {
            self.complete_visit();
            self.slot = Some(slot);
        }
        let now = self.at(minute);
        let unit = (now.seen && !self.seen).then(|| now.exposure / self.exposure);
        self.seen = now.seen;
        self.exposure = now.exposure;
        (now, unit)
    }

    fn complete_visit(&mut self) {
        if let Some(slot) = self.slot
            && self.minutes > 0
        {
            let gain = SLOT_GAIN.max(1.0 / (f64::from(self.days[slot]) + 1.0));
            let mean = self.sum / f64::from(self.minutes);
            self.levels[slot] += gain * (mean - self.levels[slot]);
            self.days[slot] = self.days[slot].saturating_add(1);
        }
        self.sum = 0.0;
        self.minutes = 0;
    }

    /// Adds a minute's approvals to the current visit of its slot.
    pub(super) fn learn(&mut self, approved: f64) {
        self.sum += approved;
        self.minutes = self.minutes.saturating_add(1);
    }
}

/// The slot of a minute, and the position of the middle of the minute within it (0 to 1).
fn position(minute: Minute) -> (usize, f64) {
    let of_day = u32::try_from(minute.epoch_minutes().rem_euclid(1440)).unwrap_or(0);
    let position = f64::from(of_day) / SLOT_MINUTES;
    let slot = of_day / 30;
    (
        slot as usize,
        position - f64::from(slot) + 0.5 / SLOT_MINUTES,
    )
}
