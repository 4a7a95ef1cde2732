//! What a round does, drawn from its seed.

use std::time::Duration;

use fastrand::Rng;
use stream_processor::Shape;

/// The kinds of injuries of a round. Every kind comes before one comes again.
pub(crate) fn deal(seed: u64, round: u64, kinds: &[Kind], injuries: usize) -> Vec<Kind> {
    let mut passes = (0..).flat_map(|pass| {
        let mut pack = kinds.to_vec();
        Rng::with_seed(seed ^ pass).shuffle(&mut pack);
        pack
    });
    let skip = usize::try_from(round)
        .unwrap_or(usize::MAX)
        .saturating_mul(injuries);
    passes.by_ref().skip(skip).take(injuries).collect()
}

/// An injury.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    clap::ValueEnum,
    strum::Display,
    strum::EnumIter,
)]
#[strum(serialize_all = "kebab-case")]
pub enum Kind {
    /// SIGKILL while messages are read.
    Kill,
    /// SIGKILL again while it starts, up to three times.
    KillInRecovery,
    /// SIGSTOP for some seconds.
    Freeze,
    /// SIGTERM, and a new start.
    Terminate,
    /// Connections to the broker are closed for 0.5 to 4 s.
    BrokerCut,
    /// Connections to the broker stay, and nothing moves.
    BrokerStall,
    /// A tenth of the usual speed.
    BrokerSlow,
    /// The receiver answers 503.
    ReceiverRefuse,
    /// The receiver answers late.
    ReceiverSlow,
    /// The receiver reads and does not answer in time.
    ReceiverHang,
    /// The receiver reads and closes the connection.
    ReceiverClose,
    /// No space is left on the disk of the database.
    DiskFull,
    /// Hundreds of clients send their bodies byte by byte.
    Dribble,
    /// Many clients ask for as much as they may.
    Flood,
    /// Records are deleted before they are read.
    OffsetGap,
}

/// One injury of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Injury {
    pub(crate) kind: Kind,
    /// Since the end of the one before.
    pub(crate) after: Duration,
    pub(crate) lasts: Duration,
}

/// The settings and the injuries of a round.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) shape: Shape,
    pub(crate) policy: &'static str,
    pub(crate) notify: &'static str,
    pub(crate) streams: &'static [&'static str],
    pub(crate) partitions: i32,
    pub(crate) minutes: usize,
    /// The minutes are sent during the round. Otherwise all messages are in the topic before, and are read slowly.
    pub(crate) live: bool,
    pub(crate) injuries: Vec<Injury>,
}

/// Lengths of rounds.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Minutes of each stream.
    pub minutes: usize,
    /// Injuries of a round.
    pub injuries: usize,
    /// How long an undisturbed service reads, in seconds.
    pub seconds: u32,
}

impl Size {
    /// About half a minute.
    pub const FULL: Self = Self {
        minutes: 600,
        injuries: 6,
        seconds: 12,
    };
    /// A few seconds.
    pub const QUICK: Self = Self {
        minutes: 300,
        injuries: 6,
        seconds: 2,
    };
}

impl Plan {
    /// Draws the settings of a round. `can_pace`: the broker sends small parts of a topic.
    pub(crate) fn draw(rng: &mut Rng, kinds: &[Kind], size: Size, can_pace: bool) -> Self {
        let shapes = [
            Shape::Minutes,
            Shape::Minutes,
            Shape::Updates,
            Shape::Transactions,
        ];
        // What is lost is sent as minutes, and at the end, since it belongs to no other check.
        let has_gap = kinds.contains(&Kind::OffsetGap);
        let shape = if has_gap {
            Shape::Minutes
        } else {
            shapes[rng.usize(..shapes.len())]
        };
        let policies = [
            ("zscore", "alerts"),
            ("zscore", "incidents"),
            ("adaptive", "incidents"),
        ];
        let (policy, notify) = policies[rng.usize(..policies.len())];
        let streams: &[&str] = &["acquirer-1", "acquirer-2"];
        let mut kinds = kinds.to_vec();
        rng.shuffle(&mut kinds);
        kinds.sort_by_key(|kind| *kind == Kind::OffsetGap);
        kinds.dedup_by(|kind, last| *kind == Kind::OffsetGap && kind == last);
        Self {
            shape,
            policy,
            notify,
            streams: &streams[..rng.usize(1..=streams.len())],
            partitions: rng.i32(1..=2),
            minutes: size.minutes,
            live: shape == Shape::Minutes && (rng.bool() || !can_pace),
            injuries: kinds
                .into_iter()
                .map(|kind| Injury::draw(rng, kind, size))
                .collect(),
        }
    }

    pub(crate) fn has(&self, kind: Kind) -> bool {
        self.injuries.iter().any(|injury| injury.kind == kind)
    }
}

impl Injury {
    fn draw(rng: &mut Rng, kind: Kind, size: Size) -> Self {
        let share = |rng: &mut Rng, from: u64, to: u64| Duration::from_millis(rng.u64(from..to));
        let unit = u64::from(size.seconds) * 1000;
        Self {
            kind,
            after: share(rng, 0, unit / 8),
            lasts: share(rng, unit / 24, unit / 3),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_comes_before_one_comes_again() {
        let kinds = [Kind::Kill, Kind::Freeze, Kind::Flood, Kind::OffsetGap];
        let dealt: Vec<_> = (0..2).flat_map(|round| deal(7, round, &kinds, 2)).collect();
        assert!(kinds.iter().all(|kind| dealt.contains(kind)), "{dealt:?}");
    }

    #[test]
    fn offset_gap_is_last_and_once() {
        let kinds = [Kind::OffsetGap, Kind::Kill, Kind::OffsetGap, Kind::Kill];
        for seed in 0..20 {
            let plan = Plan::draw(&mut Rng::with_seed(seed), &kinds, Size::QUICK, true);
            let kinds: Vec<_> = plan.injuries.iter().map(|injury| injury.kind).collect();
            assert_eq!(kinds, [Kind::Kill, Kind::Kill, Kind::OffsetGap]);
            assert_eq!(plan.shape, Shape::Minutes);
        }
    }
}
