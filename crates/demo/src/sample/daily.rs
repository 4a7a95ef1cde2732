//! Four weeks of two streams with daily and weekly patterns, slow and fast noise, and labelled events of every kind. The data is not tuned to a
//! detector: some incidents are too small to be found early, or at all.

mod events;
mod traffic;

use std::array::from_fn;

use jiff::civil::{DateTime, date};

use self::{
    events::{Event, plan},
    traffic::{PROFILES, Profile, Traffic},
};
use super::{STATUSES, SampleData, random::SplitMix64, timestamps, write_row};

const DAYS: u32 = 28;
const MINUTES_PER_DAY: u32 = 1440;
const MINUTES: u32 = DAYS * MINUTES_PER_DAY;
/// A Monday.
const START: DateTime = date(2025, 9, 1).at(0, 0, 0, 0);

/// Dispersion of the counts, in the order of [`STATUSES`]: the variance is mean + mean² / this.
const EVENNESS: [u32; 6] = [180, 18, 6, 3, 4, 8];

/// Generates the set of a seed: `timestamp,stream,status,count` in order of time, and `start,end,kind,stream,alert`. `alert` is `no` for sales
/// and feed gaps.
pub fn generate(seed: u64) -> SampleData {
    let mut random = SplitMix64(seed);
    let series = PROFILES
        .each_ref()
        .map(|profile| Series::new(profile, &mut random));
    let timestamps = timestamps(START, MINUTES);
    SampleData {
        transactions_csv: transactions_csv(&timestamps, &series),
        incidents_csv: incidents_csv(&timestamps, &series),
    }
}

/// A stream, its events, and its counts by minute; `None` in a feed gap.
struct Series {
    stream: &'static str,
    events: Vec<Event>,
    counts: Vec<Option<[u32; 6]>>,
}

impl Series {
    fn new(profile: &Profile, random: &mut SplitMix64) -> Self {
        let events = plan(random);
        let mut traffic = Traffic::new(profile, random);
        let counts = (0..MINUTES)
            .map(|minute| {
                let usual = traffic.means(minute, random);
                let event = events
                    .iter()
                    .find(|event| (event.start..event.end).contains(&minute));
                let means = event.map_or(Some(usual), |event| event.means(minute, usual))?;
                Some(from_fn(|status| {
                    random.negative_binomial(means[status], EVENNESS[status])
                }))
            })
            .collect();
        Self {
            stream: profile.name,
            events,
            counts,
        }
    }
}

fn transactions_csv(timestamps: &[String], series: &[Series]) -> String {
    let mut csv = String::from("timestamp,stream,status,count\n");
    for (minute, timestamp) in timestamps[..MINUTES as usize].iter().enumerate() {
        for Series { stream, counts, .. } in series {
            for (status, count) in STATUSES.iter().zip(counts[minute].iter().flatten()) {
                write_row(
                    &mut csv,
                    format_args!("{timestamp},{stream},{status},{count}"),
                );
            }
        }
    }
    csv
}

fn incidents_csv(timestamps: &[String], series: &[Series]) -> String {
    let mut rows: Vec<_> = series
        .iter()
        .flat_map(|series| series.events.iter().map(|event| (event, series.stream)))
        .collect();
    rows.sort_by_key(|(event, _)| event.start);
    let mut csv = String::from("start,end,kind,stream,alert\n");
    for (
        Event {
            kind, start, end, ..
        },
        stream,
    ) in rows
    {
        let [start, end] = [start, end].map(|at| &timestamps[*at as usize]);
        let alert = if kind.alert { "yes" } else { "no" };
        write_row(
            &mut csv,
            format_args!("{start},{end},{},{stream},{alert}", kind.name),
        );
    }
    csv
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        io,
        sync::LazyLock,
    };

    use flate2::read::GzDecoder;

    use super::*;
    use crate::sample::{SEED, committed};

    static DATA: LazyLock<SampleData> = LazyLock::new(|| generate(SEED));

    fn fields(csv: &str) -> impl Iterator<Item = Vec<&str>> {
        csv.lines().skip(1).map(|row| row.split(',').collect())
    }

    #[test]
    fn committed_files_match_the_generator() {
        let packed = committed("daily/transactions.csv.gz");
        let transactions = io::read_to_string(GzDecoder::new(&*packed)).unwrap();
        let advice = "differs: run `cargo run -p demo --bin generate-sample-data`";
        assert!(
            DATA.transactions_csv == transactions,
            "daily/transactions.csv.gz {advice}"
        );
        assert!(
            DATA.incidents_csv.as_bytes() == committed("daily/incidents.csv"),
            "daily/incidents.csv {advice}"
        );
    }

    #[test]
    fn both_streams_have_events_of_every_kind() {
        let mut kinds = BTreeMap::<(&str, &str), Vec<&str>>::new();
        for row in fields(&DATA.incidents_csv) {
            assert!(row[0] < row[1], "{row:?}");
            kinds.entry((row[3], row[2])).or_default().push(row[4]);
        }
        let streams: BTreeSet<&str> = kinds.keys().map(|(stream, _)| *stream).collect();
        assert!(streams.into_iter().eq(["stores", "web-shop"]));
        assert_eq!(kinds.len(), 2 * 11, "slow_ramp has two forms");
        for ((stream, kind), alerts) in kinds {
            let expected = if ["sale", "feed_gap"].contains(&kind) {
                "no"
            } else {
                "yes"
            };
            assert!(
                alerts.iter().all(|alert| *alert == expected),
                "{stream} {kind}"
            );
        }
    }

    #[test]
    fn an_outage_has_zeros_and_a_gap_has_no_rows() {
        let mut minutes = BTreeMap::<(&str, &str), Vec<u32>>::new();
        for row in fields(&DATA.transactions_csv) {
            let counts = minutes.entry((row[1], row[0])).or_default();
            counts.push(row[3].parse().unwrap());
        }
        assert!(
            minutes
                .values()
                .all(|counts| counts.len() == STATUSES.len())
        );
        for label in fields(&DATA.incidents_csv) {
            let range = minutes.range((label[3], label[0])..(label[3], label[1]));
            let mut counts = range.flat_map(|(_, counts)| counts).peekable();
            match label[2] {
                "feed_gap" => assert_eq!(counts.next(), None, "{label:?}"),
                "total_outage" => {
                    assert!(counts.peek().is_some() && counts.all(|count| *count == 0));
                }
                _ => assert!(counts.any(|count| *count > 0), "{label:?}"),
            }
        }
    }

    #[test]
    fn rows_are_in_order_of_time_and_stream() {
        let keys = fields(&DATA.transactions_csv).step_by(STATUSES.len());
        let keys: Vec<_> = keys.map(|row| (row[0], row[1])).collect();
        assert!(keys.is_sorted_by(|a, b| a < b));
        let labels = fields(&DATA.incidents_csv);
        assert!(labels.map(|row| row[0]).is_sorted());
        assert!(
            DATA.transactions_csv
                .contains("\n2025-09-28 23:59:00,web-shop,refunded,")
        );
    }
}
