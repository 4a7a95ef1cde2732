//! The stored form of the policy's memory: a version and fixed fields, little endian. Another version is refused; the caller then
//! folds the stored minutes again.

use std::ops::RangeInclusive;

use super::{
    AdaptiveState,
    day::{DayShape, SLOTS},
    episode::{Episodes, OpenEpisode, StatusSet},
    rate::{Rate, WINDOW},
};
use crate::{Minute, MonitoredStatus, Severity};

/// The version of the stored form.
pub const BLOB_VERSION: u8 = 1;

/// The size of every blob of this version, in bytes.
pub const BLOB_BYTES: usize = 1714;

/// Stored where no episode is open.
const NOT_OPEN: OpenEpisode = OpenEpisode {
    since: Minute::from_epoch_minutes(0),
    calm_minutes: 0,
    severity: Severity::Warning,
    statuses: StatusSet(0),
    announced: StatusSet(0),
};

/// Stands for no slot of the day.
const NO_SLOT: u8 = u8::MAX;

/// The bytes are not a state of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AdaptiveStateError {
    /// Written by another version of the policy.
    #[error(
        "detector state of version {0}, expected {BLOB_VERSION}: fold the stored minutes again"
    )]
    Version(u8),
    /// The bytes are damaged.
    #[error("detector state of {bytes} bytes is damaged at {field}: fold the stored minutes again")]
    Damaged {
        /// The number of bytes.
        bytes: usize,
        /// The first field with an impossible value.
        field: &'static str,
    },
}

impl AdaptiveState {
    /// The stored form, [`BLOB_BYTES`] long.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut blob = vec![0; BLOB_BYTES];
        blob[0] = BLOB_VERSION;
        let mut fields = Fields {
            rest: &mut blob[1..],
            writes: true,
            impossible: None,
        };
        fields.state(&mut self.clone());
        blob
    }

    /// Reads the stored form. Refuses another version and any value that the fold cannot produce.
    pub fn try_from_bytes(blob: &[u8]) -> Result<Self, AdaptiveStateError> {
        let damaged = |field| AdaptiveStateError::Damaged {
            bytes: blob.len(),
            field,
        };
        match blob.first() {
            Some(&BLOB_VERSION) => {}
            Some(&version) => return Err(AdaptiveStateError::Version(version)),
            None => return Err(damaged("version")),
        }
        if blob.len() != BLOB_BYTES {
            return Err(damaged("its length"));
        }
        let mut fields = Fields {
            rest: &mut blob[1..].to_vec(),
            writes: false,
            impossible: None,
        };
        let mut state = Self::default();
        fields.state(&mut state);
        match fields.impossible {
            Some(field) => Err(damaged(field)),
            None => Ok(state),
        }
    }
}

/// Passes over the fields in their stored order, and writes each, or reads it and keeps the name of the first impossible one. The
/// length is checked before.
struct Fields<'a> {
    rest: &'a mut [u8],
    writes: bool,
    impossible: Option<&'static str>,
}

impl Fields<'_> {
    fn bytes<const N: usize>(&mut self, bytes: [u8; N]) -> [u8; N] {
        let Some((stored, rest)) = std::mem::take(&mut self.rest).split_first_chunk_mut::<N>()
        else {
            self.impossible.get_or_insert("its end");
            return bytes;
        };
        self.rest = rest;
        if self.writes {
            *stored = bytes;
        }
        *stored
    }

    fn check(&mut self, possible: bool, field: &'static str) {
        if !possible {
            self.impossible.get_or_insert(field);
        }
    }

    fn number(&mut self, number: &mut f64, limits: RangeInclusive<f64>, field: &'static str) {
        *number = f64::from_le_bytes(self.bytes(number.to_le_bytes()));
        self.check(limits.contains(number), field);
    }

    /// A finite number of 0 or more.
    fn amount(&mut self, amount: &mut f64, field: &'static str) {
        self.number(amount, 0.0..=f64::MAX, field);
    }

    fn amounts(&mut self, amounts: &mut [f64], field: &'static str) {
        for amount in amounts {
            self.amount(amount, field);
        }
    }

    fn whole(&mut self, number: &mut u32) {
        *number = u32::from_le_bytes(self.bytes(number.to_le_bytes()));
    }

    fn small(&mut self, number: &mut u8, limit: u8, field: &'static str) {
        [*number] = self.bytes([*number]);
        self.check(*number <= limit, field);
    }

    fn flag(&mut self, flag: &mut bool, field: &'static str) {
        let mut stored = u8::from(*flag);
        self.small(&mut stored, 1, field);
        *flag = stored == 1;
    }

    fn minute(&mut self, minute: &mut Option<Minute>) {
        let mut known = minute.is_some();
        self.flag(&mut known, "a minute");
        let epoch = minute.map_or(0, Minute::epoch_minutes);
        let epoch = i64::from_le_bytes(self.bytes(epoch.to_le_bytes()));
        *minute = known.then_some(Minute::from_epoch_minutes(epoch));
    }

    fn state(&mut self, state: &mut AdaptiveState) {
        self.minute(&mut state.newest);
        state.observed = u64::from_le_bytes(self.bytes(state.observed.to_le_bytes()));
        let mut run = byte(state.run);
        self.small(&mut run, byte(WINDOW), "run");
        state.run = run.into();
        self.day(&mut state.day);
        for rate in &mut state.rates {
            self.rate(rate);
        }
        self.episodes(&mut state.episodes);
    }

    fn day(&mut self, day: &mut DayShape) {
        self.amounts(&mut day.levels, "levels of the day");
        for days in &mut day.days {
            self.whole(days);
        }
        self.amount(&mut day.sum, "sum of a slot");
        self.amount(&mut day.exposure, "exposure");
        self.check(day.exposure > 0.0, "exposure");
        self.whole(&mut day.minutes);
        let [slot] = self.bytes([day.slot.map_or(NO_SLOT, byte)]);
        day.slot = (slot != NO_SLOT).then_some(usize::from(slot));
        self.check(day.slot.is_none_or(|slot| slot < SLOTS), "slot");
        self.flag(&mut day.seen, "seen");
    }

    fn rate(&mut self, rate: &mut Rate) {
        for evidence in [&mut rate.usual, &mut rate.last_hour] {
            self.amount(&mut evidence.events, "events");
            self.amount(&mut evidence.exposure, "exposure");
        }
        self.number(&mut rate.log_dispersion, -11.5..=0.7, "dispersion");
        self.number(&mut rate.log_level_noise, -9.2..=-1.0, "level noise");
        self.amount(&mut rate.episodes, "episodes of a status");
        self.amounts(&mut rate.counts, "counts of the window");
        self.amounts(&mut rate.expected, "expected counts of the window");
    }

    fn episodes(&mut self, episodes: &mut Episodes) {
        self.whole(&mut episodes.number);
        let mut since = episodes.open.as_ref().map(|open| open.since);
        self.minute(&mut since);
        let mut open = episodes.open.take().unwrap_or(NOT_OPEN);
        self.small(&mut open.calm_minutes, 4, "calm minutes");
        let mut critical = open.severity == Severity::Critical;
        self.flag(&mut critical, "severity");
        open.severity = if critical {
            Severity::Critical
        } else {
            Severity::Warning
        };
        let all = (1 << MonitoredStatus::COUNT) - 1;
        self.small(&mut open.statuses.0, all, "statuses");
        self.small(&mut open.announced.0, all, "announced statuses");
        episodes.open = since.map(|since| OpenEpisode { since, ..open });
    }
}

/// A number below 256 as a byte.
fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_has_the_stated_size() {
        assert_eq!(AdaptiveState::default().to_bytes().len(), BLOB_BYTES);
    }

    #[test]
    fn another_version_is_refused() {
        let mut blob = AdaptiveState::default().to_bytes();
        blob[0] = BLOB_VERSION + 1;
        let error = AdaptiveState::try_from_bytes(&blob).unwrap_err();
        assert_eq!(error, AdaptiveStateError::Version(2));
        assert!(error.to_string().contains("fold the stored minutes again"));
    }

    #[test]
    fn damaged_blobs_are_refused_not_read() {
        let blob = AdaptiveState::default().to_bytes();
        for length in [0, 1, 100, BLOB_BYTES - 1] {
            assert!(AdaptiveState::try_from_bytes(&blob[..length]).is_err());
        }
        let mut not_a_number = blob.clone();
        not_a_number[19..27].copy_from_slice(&f64::NAN.to_le_bytes());
        let error = AdaptiveState::try_from_bytes(&not_a_number).unwrap_err();
        assert!(error.to_string().contains("levels of the day"), "{error}");
        let mut run = blob;
        run[18] = 11;
        let error = AdaptiveState::try_from_bytes(&run).unwrap_err();
        assert!(error.to_string().contains("run"), "{error}");
    }
}
