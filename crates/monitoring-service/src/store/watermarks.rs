//! The watermarks of streams: what the minutes of one commit change beside their rows. The rules are in [`detection`].

use std::collections::{BTreeMap, BTreeSet, HashMap};

use detection::{HoursOff, Minute, Observed, Pauses, Stream, Timeliness};

use super::StoreError;
use super::engine::{self, Row, Sql, Value};

/// Names of statuses that are not monitored to keep of a stream.
const MAX_OTHER_STATUSES: usize = 8;

/// The watermarks that the minutes of one commit move, by the stream's id.
#[derive(Default)]
pub(super) struct Watermarks<'a>(BTreeMap<i64, Arrivals<'a>>);

/// What arrived of one stream.
struct Arrivals<'a> {
    stream: &'a Stream,
    /// The first and the last of the fresh minutes.
    fresh: Option<(Minute, Minute)>,
    /// Pauses between the fresh minutes: the minute that ended each, and its length.
    pauses: Vec<(Minute, i64)>,
    too_late: u32,
    /// The monitored statuses that were named: bit 0 is the first.
    named: u8,
    other_statuses: BTreeSet<&'a str>,
}

impl<'a> Watermarks<'a> {
    pub(super) fn note(&mut self, stream_id: i64, observed: &'a Observed) {
        let new = || Arrivals {
            stream: observed.counts.stream(),
            fresh: None,
            pauses: Vec::new(),
            too_late: 0,
            named: 0,
            other_statuses: BTreeSet::new(),
        };
        let arrivals = self.0.entry(stream_id).or_insert_with(new);
        let minute = observed.counts.minute();
        match (observed.timeliness, &mut arrivals.fresh) {
            (Timeliness::Fresh, None) => arrivals.fresh = Some((minute, minute)),
            (Timeliness::Fresh, Some((_, newest))) => {
                let distance = minute.since(*newest);
                if distance > 1 {
                    arrivals.pauses.push((minute, distance));
                }
                *newest = minute;
            }
            (Timeliness::TooLate, _) if !observed.rows.is_empty() => arrivals.too_late += 1,
            (Timeliness::Late | Timeliness::TooLate, _) => {}
        }
        for transaction in observed.counts.transactions() {
            match transaction.status.monitored() {
                Some(status) => arrivals.named |= 1 << status.index(),
                None if arrivals.other_statuses.len() < MAX_OTHER_STATUSES => {
                    arrivals.other_statuses.insert(transaction.status.name());
                }
                None => {}
            }
        }
    }

    /// `versions`: of each stream, the version that the fold went on from.
    ///
    /// [`StoreError::Outdated`] if another instance has changed a stream since.
    pub(super) fn write(
        &self,
        sql: Sql<'_>,
        versions: &HashMap<Stream, i64>,
        now_ms: i64,
    ) -> Result<(), StoreError> {
        let mut read = sql.prepare_cached(
            "SELECT newest_minute, arrived_at_ms, stale_since_ms, pauses, retired_at_ms, old_since_ms, hours_off, hours_off_times,
             named_statuses, other_statuses, unjudged_minutes, unjudged_at_ms, version FROM streams WHERE id = ?1",
        )?;
        let mut write = sql.prepare_cached(
            "UPDATE streams SET newest_minute = ?2, arrived_at_ms = ?3, pauses = ?4, retired_at_ms = ?5, old_since_ms = ?6,
             hours_off = ?7, hours_off_times = ?8, named_statuses = ?9, other_statuses = ?10, unjudged_minutes = ?11,
             unjudged_at_ms = ?12, version = version + 1 WHERE id = ?1 AND version = ?13",
        )?;
        let ids: Vec<_> = self.0.keys().copied().collect();
        let stored = read.query_each(&ids, Stored::read)?;
        let mut moved = Vec::with_capacity(ids.len());
        for ((id, arrivals), mut stored) in self.0.iter().zip(stored) {
            let version = versions.get(arrivals.stream);
            if version.is_some_and(|version| *version != stored.version) {
                let stream = format!("the stream {}", arrivals.stream);
                return Err(StoreError::Outdated(stream));
            }
            stored.apply(arrivals, now_ms);
            moved.push(stored.values(*id));
        }
        // Another instance may change one between the two statements.
        if write.execute_each(&moved)? < moved.len() {
            return Err(StoreError::Outdated("a stream".to_owned()));
        }
        Ok(())
    }
}

/// The stored watermark of one stream.
struct Stored {
    newest: Minute,
    arrived_at_ms: i64,
    stale_since_ms: Option<i64>,
    pauses: Pauses,
    retired_at_ms: Option<i64>,
    old_since_ms: Option<i64>,
    hours_off: HoursOff,
    named: u8,
    other_statuses: String,
    unjudged_minutes: i64,
    unjudged_at_ms: Option<i64>,
    version: i64,
}

impl Stored {
    fn read(row: &Row<'_>) -> engine::Result<Self> {
        Ok(Self {
            newest: Minute::from_epoch_minutes(row.get("newest_minute")?),
            arrived_at_ms: row.get("arrived_at_ms")?,
            stale_since_ms: row.get("stale_since_ms")?,
            pauses: read_pauses(row)?,
            retired_at_ms: row.get("retired_at_ms")?,
            old_since_ms: row.get("old_since_ms")?,
            hours_off: read_hours_off(row)?,
            named: row.get("named_statuses")?,
            other_statuses: row.get("other_statuses")?,
            unjudged_minutes: row.get("unjudged_minutes")?,
            unjudged_at_ms: row.get("unjudged_at_ms")?,
            version: row.get("version")?,
        })
    }

    fn values(self, stream_id: i64) -> [Value; 13] {
        [
            stream_id.into(),
            self.newest.epoch_minutes().into(),
            self.arrived_at_ms.into(),
            self.pauses.to_string().into(),
            self.retired_at_ms.into(),
            self.old_since_ms.into(),
            self.hours_off.hours.into(),
            self.hours_off.times.into(),
            self.named.into(),
            self.other_statuses.into(),
            self.unjudged_minutes.into(),
            self.unjudged_at_ms.into(),
            self.version.into(),
        ]
    }

    fn apply(&mut self, arrivals: &Arrivals<'_>, now_ms: i64) {
        if let Some((first, newest)) = arrivals.fresh
            && newest >= self.newest
        {
            self.advance(first, newest, &arrivals.pauses, now_ms);
        } else if arrivals.too_late > 0 {
            self.old_since_ms = self.old_since_ms.or(Some(now_ms));
        }
        if arrivals.too_late > 0 {
            self.unjudged_minutes += i64::from(arrivals.too_late);
            self.unjudged_at_ms = Some(now_ms);
        }
        self.named |= arrivals.named;
        for name in &arrivals.other_statuses {
            self.note_other(name);
        }
    }

    fn note_other(&mut self, name: &str) {
        let known: Vec<_> = self.other_statuses.split(',').collect();
        if known.contains(&name) || known.len() >= MAX_OTHER_STATUSES {
            return;
        }
        if !self.other_statuses.is_empty() {
            self.other_statuses.push(',');
        }
        self.other_statuses.push_str(name);
    }

    fn advance(&mut self, first: Minute, newest: Minute, pauses: &[(Minute, i64)], now_ms: i64) {
        self.pauses.observe(first, first.since(self.newest));
        for (minute, distance) in pauses {
            self.pauses.observe(*minute, *distance);
        }
        // A minute stored after its stream was marked as stale arrived later, even if the clock was set back.
        let arrived_at_ms = now_ms.max(self.stale_since_ms.map_or(now_ms, |since| since + 1));
        self.hours_off
            .observe(newest, arrived_at_ms, self.arrived_at_ms);
        self.arrived_at_ms = arrived_at_ms;
        self.newest = newest;
        self.old_since_ms = None;
        self.retired_at_ms = None;
    }
}

pub(super) fn read_pauses(row: &Row<'_>) -> engine::Result<Pauses> {
    row.get::<_, String>("pauses")?
        .parse()
        .map_err(engine::Error::unreadable)
}

pub(super) fn read_hours_off(row: &Row<'_>) -> engine::Result<HoursOff> {
    Ok(HoursOff {
        hours: row.get("hours_off")?,
        times: row.get("hours_off_times")?,
    })
}
