//! Three days of one payment flow with fourteen labelled incidents. The level is constant, and incidents start and end abruptly.

use jiff::civil::{DateTime, date};

use super::{
    APPROVED, BACKEND_REVERSED, DENIED, FAILED, STATUSES, SampleData, random::SplitMix64,
    timestamps, write_row,
};

const MINUTES: u32 = 72 * 60;
const START: DateTime = date(2025, 7, 12).at(13, 45, 0, 0);

/// Mean counts a minute, in tenths, in the order of [`STATUSES`].
type Means = [u32; 6];
const USUAL: Means = [1200, 60, 10, 0, 0, 10];

const INCIDENTS: usize = 14;
/// Minimum distance of incidents, and of the last one from the end: two windows of the policy `zscore`.
const MIN_GAP: u32 = 120;

/// Generates the set of a seed: `timestamp,status,count` in one block for each status, and `start,end,kind`.
pub fn generate(seed: u64) -> SampleData {
    let mut random = SplitMix64(seed);
    let incidents = incidents(&mut random);
    let timestamps = timestamps(START, MINUTES);
    let counts: Vec<[u32; 6]> = (0..MINUTES)
        .map(|minute| {
            let incident = incidents
                .iter()
                .find(|incident| (incident.start..incident.end).contains(&minute));
            incident
                .map_or(USUAL, |incident| incident.means)
                .map(|mean| random.poisson(mean))
        })
        .collect();
    SampleData {
        transactions_csv: transactions_csv(&timestamps, &counts),
        incidents_csv: incidents_csv(&timestamps, &incidents),
    }
}

fn transactions_csv(timestamps: &[String], counts: &[[u32; 6]]) -> String {
    let mut csv = String::from("timestamp,status,count\n");
    for (index, status) in STATUSES.iter().enumerate() {
        for (timestamp, counts) in timestamps.iter().zip(counts) {
            write_row(
                &mut csv,
                format_args!("{timestamp},{status},{}", counts[index]),
            );
        }
    }
    csv
}

fn incidents_csv(timestamps: &[String], incidents: &[Incident]) -> String {
    let mut csv = String::from("start,end,kind\n");
    for incident in incidents {
        let [start, end] = [incident.start, incident.end].map(|at| &timestamps[at as usize]);
        write_row(&mut csv, format_args!("{start},{end},{}", incident.kind));
    }
    csv
}

/// Minutes `start..end` of the set, with means of their own.
struct Incident {
    start: u32,
    end: u32,
    kind: &'static str,
    means: Means,
}

/// Fourteen incidents of the three kinds in turn, at random times at least [`MIN_GAP`] apart.
fn incidents(random: &mut SplitMix64) -> Vec<Incident> {
    let first = random.between(120, 300);
    let lengths: Vec<u32> = (0..INCIDENTS).map(|_| random.between(20, 60)).collect();
    // Incidents and minimum gaps leave some minutes free; random cuts divide these between the gaps.
    let taken: u32 = lengths.iter().map(|length| length + MIN_GAP).sum();
    let free = MINUTES - first - taken;
    let mut cuts: Vec<u32> = (1..INCIDENTS).map(|_| random.between(0, free)).collect();
    cuts.sort_unstable();
    cuts.insert(0, 0);

    let mut earlier = first;
    let mut incidents = Vec::with_capacity(INCIDENTS);
    for (index, (length, cut)) in lengths.into_iter().zip(cuts).enumerate() {
        let (kind, means) = incident_means(index % 3, random);
        let start = earlier + cut;
        incidents.push(Incident {
            start,
            end: start + length,
            kind,
            means,
        });
        earlier += length + MIN_GAP;
    }
    incidents
}

fn incident_means(kind: usize, random: &mut SplitMix64) -> (&'static str, Means) {
    let mut means = USUAL;
    let kind = match kind {
        0 => {
            means[DENIED] = random.between(160, 330);
            means[APPROVED] = USUAL[APPROVED] / 100 * (100 - random.between(8, 38));
            "decline_surge"
        }
        1 => {
            means[FAILED] = random.between(14, 25);
            means[BACKEND_REVERSED] = random.between(20, 30);
            "technical_failure"
        }
        _ => {
            means[BACKEND_REVERSED] = random.between(30, 40);
            "backend_reversal"
        }
    };
    (kind, means)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, ops::Range};

    use super::*;
    use crate::sample::{SEED, committed, mean};

    /// The minutes and the kind of each incident.
    fn parse_incidents(data: &SampleData) -> Vec<(Range<usize>, &str)> {
        let timestamps = timestamps(START, MINUTES);
        let minute = |text: &str| timestamps.iter().position(|t| t == text).unwrap();
        let rows = data.incidents_csv.lines().skip(1);
        rows.map(|row| {
            let fields: Vec<&str> = row.split(',').collect();
            (minute(fields[0])..minute(fields[1]), fields[2])
        })
        .collect()
    }

    /// The counts of a status, by minute.
    fn counts(data: &SampleData, status: &str) -> Vec<u32> {
        let rows = data.transactions_csv.lines().skip(1);
        rows.filter_map(|row| {
            let fields: Vec<&str> = row.split(',').collect();
            (fields[1] == status).then(|| fields[2].parse().unwrap())
        })
        .collect()
    }

    #[test]
    fn committed_files_match_the_generator() {
        // Not assert_eq: it would print two megabytes.
        let data = generate(SEED);
        let advice = "differs: run `cargo run -p demo --bin generate-sample-data`";
        assert!(
            data.transactions_csv.as_bytes() == committed("transactions.csv"),
            "transactions.csv {advice}"
        );
        assert!(
            data.incidents_csv.as_bytes() == committed("incidents.csv"),
            "incidents.csv {advice}"
        );
    }

    #[test]
    fn another_seed_gives_other_data() {
        assert_ne!(
            generate(SEED).incidents_csv,
            generate(SEED + 1).incidents_csv
        );
    }

    #[test]
    fn each_status_is_a_block_of_all_minutes() {
        let csv = generate(SEED).transactions_csv;
        let timestamps = timestamps(START, MINUTES);
        let mut rows = csv.lines();
        assert_eq!(rows.next(), Some("timestamp,status,count"));
        for status in STATUSES {
            for timestamp in &timestamps[..MINUTES as usize] {
                let prefix = format!("{timestamp},{status},");
                assert!(rows.next().unwrap().starts_with(&prefix), "row of {prefix}");
            }
        }
        assert_eq!(rows.next(), None);
        assert_eq!(csv.lines().count(), 1 + 25_920);
        assert!(csv.contains("\n2025-07-12 13:45:00,approved,"));
        assert!(csv.contains("\n2025-07-15 13:44:00,refunded,"));
    }

    #[test]
    fn incidents_keep_length_and_distance_for_any_seed() {
        for seed in (0..200).chain([SEED, u64::MAX]) {
            let incidents = incidents(&mut SplitMix64(seed));
            assert_eq!(incidents.len(), 14);
            let first = incidents[0].start;
            assert!((120..=300).contains(&first), "seed {seed}: {first}");
            for pair in incidents.windows(2) {
                assert!(pair[0].end + MIN_GAP <= pair[1].start, "seed {seed}");
            }
            for incident in &incidents {
                let length = incident.end - incident.start;
                assert!((20..=60).contains(&length), "seed {seed}: {length}");
            }
            assert!(incidents[13].end + MIN_GAP <= MINUTES, "seed {seed}");
        }
    }

    #[test]
    fn usual_minutes_have_the_stated_means() {
        let data = generate(SEED);
        let incidents = parse_incidents(&data);
        let is_usual = |minute: usize| !incidents.iter().any(|(range, _)| range.contains(&minute));
        for (status, expected) in STATUSES.into_iter().zip(USUAL) {
            let counts = (0..).zip(counts(&data, status));
            let usual = counts.filter(|(minute, _)| is_usual(*minute));
            let (mean, expected) = (
                mean(usual.map(|(_, count)| count)),
                f64::from(expected) / 10.0,
            );
            // Four standard errors over some 3,700 minutes; where 0 is expected, exactly 0.
            let tolerance = 4.0 * (expected / 3_700.0).sqrt();
            assert!((mean - expected).abs() <= tolerance, "{status}: {mean}");
        }
    }

    #[test]
    fn each_kind_shows_in_the_statuses_it_changes() {
        let data = generate(SEED);
        let counts = STATUSES.map(|status| counts(&data, status));
        let mut kinds = BTreeMap::<&str, u32>::new();
        for (range, kind) in parse_incidents(&data) {
            *kinds.entry(kind).or_default() += 1;
            let mean = |status: usize| mean(counts[status][range.clone()].iter().copied());
            // The stated ranges of the means, and room for the noise of 20 minutes.
            let within = |status: usize, low: f64, high: f64| {
                let mean = mean(status);
                assert!((low..high).contains(&mean), "{range:?}: {mean}");
            };
            match kind {
                "decline_surge" => {
                    within(DENIED, 13.0, 36.0);
                    within(APPROVED, 64.0, 121.0);
                }
                "technical_failure" => {
                    within(FAILED, 0.5, 4.0);
                    within(BACKEND_REVERSED, 1.0, 4.5);
                }
                "backend_reversal" => {
                    within(BACKEND_REVERSED, 1.5, 5.5);
                    within(FAILED, 0.0, f64::EPSILON);
                }
                other => panic!("unknown kind {other}"),
            }
        }
        assert_eq!(kinds.into_values().collect::<Vec<_>>(), [4, 5, 5]);
    }
}
