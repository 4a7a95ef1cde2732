//! The stored form of the policy's memory: a version and fixed fields, little endian. Another version is refused; the caller then
//! folds the stored minutes again.

use super::{
    AdaptiveState,
    day::{DayShape, SLOTS},
    episode::{Episodes, OpenEpisode, StatusSet},
    rate::{Evidence, Rate, WINDOW},
};
use crate::{Minute, MonitoredStatus, Severity};

/// The version of the stored form.
pub const BLOB_VERSION: u8 = 1;

/// The size of every blob of this version, in bytes.
pub const BLOB_BYTES: usize = 1714;

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
        let mut out = Writer(Vec::with_capacity(BLOB_BYTES));
        out.0.push(BLOB_VERSION);
        out.minute(self.newest);
        out.0.extend(self.observed.to_le_bytes());
        out.0.push(byte(self.run));
        out.day(&self.day);
        for rate in &self.rates {
            out.rate(rate);
        }
        out.episodes(&self.episodes);
        out.0
    }

    /// Reads the stored form. Refuses another version and any value that the fold cannot produce.
    pub fn try_from_bytes(blob: &[u8]) -> Result<Self, AdaptiveStateError> {
        match blob.first() {
            Some(&BLOB_VERSION) => {}
            Some(&version) => return Err(AdaptiveStateError::Version(version)),
            None => return Err(damaged(blob, "version")),
        }
        if blob.len() != BLOB_BYTES {
            return Err(damaged(blob, "its length"));
        }
        let mut reader = Reader {
            rest: &blob[1..],
            impossible: None,
        };
        let state = reader.state();
        match reader.impossible {
            Some(field) => Err(damaged(blob, field)),
            None => Ok(state),
        }
    }
}

fn damaged(blob: &[u8], field: &'static str) -> AdaptiveStateError {
    AdaptiveStateError::Damaged {
        bytes: blob.len(),
        field,
    }
}

/// A number below 256 as a byte.
fn byte(number: usize) -> u8 {
    u8::try_from(number).unwrap_or(u8::MAX)
}

struct Writer(Vec<u8>);

impl Writer {
    fn numbers(&mut self, numbers: &[f64]) {
        for number in numbers {
            self.0.extend(number.to_le_bytes());
        }
    }

    fn minute(&mut self, minute: Option<Minute>) {
        self.0.push(u8::from(minute.is_some()));
        let epoch = minute.map_or(0, Minute::epoch_minutes);
        self.0.extend(epoch.to_le_bytes());
    }

    fn day(&mut self, day: &DayShape) {
        self.numbers(&day.levels);
        for days in day.days {
            self.0.extend(days.to_le_bytes());
        }
        self.numbers(&[day.sum, day.exposure]);
        self.0.extend(day.minutes.to_le_bytes());
        self.0.push(day.slot.map_or(u8::MAX, byte));
        self.0.push(u8::from(day.seen));
    }

    fn rate(&mut self, rate: &Rate) {
        for evidence in [rate.usual, rate.last_hour] {
            self.numbers(&[evidence.events, evidence.exposure]);
        }
        self.numbers(&[rate.log_dispersion, rate.log_level_noise, rate.episodes]);
        self.numbers(&rate.counts);
        self.numbers(&rate.expected);
    }

    fn episodes(&mut self, episodes: &Episodes) {
        let open = episodes.open.as_ref();
        self.0.extend(episodes.number.to_le_bytes());
        self.minute(open.map(|open| open.since));
        self.0.push(open.map_or(0, |open| open.calm_minutes));
        self.0
            .push(open.map_or(0, |open| u8::from(open.severity == Severity::Critical)));
        self.0.push(open.map_or(0, |open| open.statuses.0));
        self.0.push(open.map_or(0, |open| open.announced.0));
    }
}

/// Reads field by field and keeps the name of the first impossible one. The length is checked before.
struct Reader<'a> {
    rest: &'a [u8],
    impossible: Option<&'static str>,
}

impl Reader<'_> {
    fn array<const N: usize>(&mut self) -> [u8; N] {
        let Some((head, rest)) = self.rest.split_first_chunk::<N>() else {
            self.impossible.get_or_insert("its end");
            return [0; N];
        };
        self.rest = rest;
        *head
    }

    fn check(&mut self, possible: bool, field: &'static str) {
        if !possible {
            self.impossible.get_or_insert(field);
        }
    }

    fn number(&mut self, low: f64, high: f64, field: &'static str) -> f64 {
        let number = f64::from_le_bytes(self.array());
        self.check((low..=high).contains(&number), field);
        number
    }

    /// A finite number of 0 or more.
    fn amount(&mut self, field: &'static str) -> f64 {
        self.number(0.0, f64::MAX, field)
    }

    fn small(&mut self, limit: u8, field: &'static str) -> u8 {
        let [number] = self.array();
        self.check(number <= limit, field);
        number
    }

    fn minute(&mut self) -> Option<Minute> {
        let known = self.small(1, "a minute") == 1;
        let minute = Minute::from_epoch_minutes(i64::from_le_bytes(self.array()));
        known.then_some(minute)
    }

    fn state(&mut self) -> AdaptiveState {
        AdaptiveState {
            newest: self.minute(),
            observed: u64::from_le_bytes(self.array()),
            run: self.small(byte(WINDOW), "run").into(),
            day: self.day(),
            rates: std::array::from_fn(|_| self.rate()),
            episodes: self.episodes(),
        }
    }

    fn day(&mut self) -> DayShape {
        let levels = std::array::from_fn(|_| self.amount("levels of the day"));
        let days = std::array::from_fn(|_| u32::from_le_bytes(self.array()));
        let (sum, exposure) = (self.amount("sum of a slot"), self.amount("exposure"));
        let minutes = u32::from_le_bytes(self.array());
        let [slot] = self.array();
        let slot = (slot != u8::MAX).then_some(usize::from(slot));
        self.check(slot.is_none_or(|slot| slot < SLOTS), "slot");
        self.check(exposure > 0.0, "exposure");
        let seen = self.small(1, "seen") == 1;
        DayShape {
            levels,
            days,
            sum,
            minutes,
            slot,
            exposure,
            seen,
        }
    }

    fn evidence(&mut self) -> Evidence {
        Evidence {
            events: self.amount("events"),
            exposure: self.amount("exposure"),
        }
    }

    fn rate(&mut self) -> Rate {
        Rate {
            usual: self.evidence(),
            last_hour: self.evidence(),
            log_dispersion: self.number(-11.5, 0.7, "dispersion"),
            log_level_noise: self.number(-9.2, -1.0, "level noise"),
            episodes: self.amount("episodes of a status"),
            counts: std::array::from_fn(|_| self.amount("counts of the window")),
            expected: std::array::from_fn(|_| self.amount("expected counts of the window")),
        }
    }

    fn episodes(&mut self) -> Episodes {
        let number = u32::from_le_bytes(self.array());
        let since = self.minute();
        let calm_minutes = self.small(4, "calm minutes");
        let severity = match self.small(1, "severity") {
            1 => Severity::Critical,
            _ => Severity::Warning,
        };
        let all = (1 << MonitoredStatus::COUNT) - 1;
        let statuses = StatusSet(self.small(all, "statuses"));
        let announced = StatusSet(self.small(all, "announced statuses"));
        let open = since.map(|since| OpenEpisode {
            since,
            calm_minutes,
            severity,
            statuses,
            announced,
        });
        Episodes { open, number }
    }
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
