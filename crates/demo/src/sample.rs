//! The sample data: three days of one payment flow with fourteen labelled incidents, made from a seed.
//!
//! The same seed gives the same bytes with every compiler and on every machine: the generator is our own, and counts are decided by comparing products
//! of `f64`, which IEEE 754 fixes to the last bit, never by a library's `exp` or `ln`. There is no daily shape and no slow onset: incidents have hard edges.

use std::fmt::Write;

use jiff::ToSpan;
use jiff::civil::{DateTime, date};

/// The seed of the files in `sample_data/`.
pub const SEED: u64 = 20_250_712;

const MINUTES: u32 = 72 * 60;
const START: DateTime = date(2025, 7, 12).at(13, 45, 0, 0);
const TIMESTAMP: &str = "%Y-%m-%d %H:%M:%S";

/// In the order of their blocks in the file.
const STATUSES: [&str; 6] = [
    "approved",
    "denied",
    "reversed",
    "backend_reversed",
    "failed",
    "refunded",
];
/// Indexes into [`STATUSES`].
const APPROVED: usize = 0;
const DENIED: usize = 1;
const BACKEND_REVERSED: usize = 3;
const FAILED: usize = 4;

/// Mean counts a minute, in tenths, in the order of [`STATUSES`].
type Means = [u32; 6];
const QUIET: Means = [1200, 60, 10, 0, 0, 10];

const INCIDENTS: usize = 14;
/// Between two incidents, and from the last one to the end: two windows of the detector.
const MIN_GAP: u32 = 120;

/// The two files, as text with `\n` line ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SampleData {
    /// `timestamp,status,count`: one block per status, one row per minute in each, zeros written.
    pub transactions_csv: String,
    /// `start,end,kind`: the incidents in time order, each from `start` up to but not including `end`.
    pub incidents_csv: String,
}

/// Makes the sample data of a seed.
pub fn generate(seed: u64) -> SampleData {
    let mut random = SplitMix64(seed);
    let incidents = incidents(&mut random);
    let timestamps: Vec<String> = (0..=MINUTES).map(timestamp).collect();
    let counts: Vec<[u32; 6]> = (0..MINUTES)
        .map(|minute| {
            let incident = incidents
                .iter()
                .find(|incident| (incident.start..incident.end).contains(&minute));
            incident
                .map_or(QUIET, |incident| incident.means)
                .map(|mean| random.poisson(mean))
        })
        .collect();
    SampleData {
        transactions_csv: transactions_csv(&timestamps, &counts),
        incidents_csv: incidents_csv(&timestamps, &incidents),
    }
}

fn timestamp(minute: u32) -> String {
    (START + i64::from(minute).minutes())
        .strftime(TIMESTAMP)
        .to_string()
}

fn transactions_csv(timestamps: &[String], counts: &[[u32; 6]]) -> String {
    let mut csv = String::from("timestamp,status,count\n");
    for (index, status) in STATUSES.iter().enumerate() {
        for (timestamp, counts) in timestamps.iter().zip(counts) {
            writeln!(csv, "{timestamp},{status},{}", counts[index])
                .expect("a String takes all text");
        }
    }
    csv
}

fn incidents_csv(timestamps: &[String], incidents: &[Incident]) -> String {
    let mut csv = String::from("start,end,kind\n");
    for Incident {
        start, end, kind, ..
    } in incidents
    {
        let (start, end) = (&timestamps[*start as usize], &timestamps[*end as usize]);
        writeln!(csv, "{start},{end},{kind}").expect("a String takes all text");
    }
    csv
}

/// Minutes `start..end` of the file with means of their own.
struct Incident {
    start: u32,
    end: u32,
    kind: &'static str,
    means: Means,
}

/// Fourteen incidents of the three kinds in turn, at random places that keep their distance.
fn incidents(random: &mut SplitMix64) -> Vec<Incident> {
    let first = random.between(120, 300);
    let lengths: Vec<u32> = (0..INCIDENTS).map(|_| random.between(20, 60)).collect();
    // What the incidents and the least gaps leave free is dealt out by cutting it at random points.
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
    let mut means = QUIET;
    let kind = match kind {
        0 => {
            means[DENIED] = random.between(160, 330);
            means[APPROVED] = QUIET[APPROVED] / 100 * (100 - random.between(8, 38));
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

/// Steele, Lea, Flood: Fast splittable pseudorandom number generators (2014).
struct SplitMix64(u64);

impl SplitMix64 {
    /// The upper half of the next output.
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 32) as u32
    }

    /// A whole number in `low..=high`. (Its bias, of one in millions, does not matter here.)
    fn between(&mut self, low: u32, high: u32) -> u32 {
        low + self.next() % (high - low + 1)
    }

    /// In (0, 1], exactly.
    fn fraction(&mut self) -> f64 {
        (f64::from(self.next()) + 1.0) / 4_294_967_296.0
    }

    /// A Poisson number by Knuth's product method; a mean of 0 gives 0.
    fn poisson(&mut self, mean_tenths: u32) -> u32 {
        /// e^-0.1.
        const PER_TENTH: f64 = 0.904_837_418_035_959_6;
        let floor = (0..mean_tenths).fold(1.0, |product, _| product * PER_TENTH);
        let mut product = self.fraction();
        let mut count = 0;
        while product > floor {
            product *= self.fraction();
            count += 1;
        }
        count
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::path::Path;

    use super::*;

    fn committed(name: &str) -> String {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../sample_data")
            .join(name);
        fs::read_to_string(path).unwrap()
    }

    /// (start minute, end minute, kind)
    fn parse_incidents(data: &SampleData) -> Vec<(u32, u32, &str)> {
        let minute_of: BTreeMap<String, u32> = (0..=MINUTES)
            .map(|minute| (timestamp(minute), minute))
            .collect();
        let rows = data.incidents_csv.lines().skip(1);
        rows.map(|row| {
            let fields: Vec<&str> = row.split(',').collect();
            (minute_of[fields[0]], minute_of[fields[1]], fields[2])
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

    fn mean(counts: impl Iterator<Item = u32>) -> f64 {
        let counts: Vec<f64> = counts.map(f64::from).collect();
        counts.iter().sum::<f64>() / f64::from(u32::try_from(counts.len()).unwrap())
    }

    #[test]
    fn the_committed_files_are_what_the_generator_makes() {
        // Not assert_eq: it would print two megabytes.
        let data = generate(SEED);
        let advice = "differs: run `cargo run -p demo --bin generate-sample-data`";
        assert!(
            data.transactions_csv == committed("transactions.csv"),
            "transactions.csv {advice}"
        );
        assert!(
            data.incidents_csv == committed("incidents.csv"),
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
    fn the_generator_is_the_published_one() {
        // The first outputs for seed 1234567, as Vigna's reference code gives them: their upper halves.
        let mut random = SplitMix64(1_234_567);
        let expected = [
            6_457_827_717_110_365_317_u64,
            3_203_168_211_198_807_973,
            9_817_491_932_198_370_423,
        ];
        assert_eq!(
            [random.next(), random.next(), random.next()].map(u64::from),
            expected.map(|output| output >> 32)
        );
    }

    #[test]
    fn there_is_one_block_per_status_with_every_minute_in_order() {
        let csv = generate(SEED).transactions_csv;
        let mut rows = csv.lines();
        assert_eq!(rows.next(), Some("timestamp,status,count"));
        for status in STATUSES {
            for minute in 0..MINUTES {
                let prefix = format!("{},{status},", timestamp(minute));
                assert!(rows.next().unwrap().starts_with(&prefix), "row of {prefix}");
            }
        }
        assert_eq!(rows.next(), None);
        assert_eq!(csv.lines().count(), 1 + 25_920);
        assert!(csv.contains("\n2025-07-12 13:45:00,approved,"));
        assert!(csv.contains("\n2025-07-15 13:44:00,refunded,"));
    }

    #[test]
    fn the_incidents_keep_their_number_length_and_distance_for_any_seed() {
        for seed in (0..200).chain([SEED, u64::MAX]) {
            let incidents = incidents(&mut SplitMix64(seed));
            assert_eq!(incidents.len(), 14);
            assert!(
                (120..=300).contains(&incidents[0].start),
                "seed {seed}: first at {}",
                incidents[0].start
            );
            for pair in incidents.windows(2) {
                assert!(
                    pair[0].end + MIN_GAP <= pair[1].start,
                    "seed {seed}: too close"
                );
            }
            for incident in &incidents {
                assert!(
                    (20..=60).contains(&(incident.end - incident.start)),
                    "seed {seed}: length"
                );
            }
            assert!(
                incidents[13].end + MIN_GAP <= MINUTES,
                "seed {seed}: past the end"
            );
        }
    }

    #[test]
    fn quiet_minutes_have_the_stated_means() {
        let data = generate(SEED);
        let incidents = parse_incidents(&data);
        let quiet = |minute: u32| {
            !incidents
                .iter()
                .any(|(start, end, _)| (*start..*end).contains(&minute))
        };
        for (status, expected) in STATUSES.into_iter().zip(QUIET) {
            let counts = (0..)
                .zip(counts(&data, status))
                .filter(|(minute, _)| quiet(*minute));
            let (mean, expected) = (
                mean(counts.map(|(_, count)| count)),
                f64::from(expected) / 10.0,
            );
            // Four standard errors over some 3,700 minutes; where 0 is expected, exactly 0.
            assert!(
                (mean - expected).abs() <= 4.0 * (expected / 3_700.0).sqrt(),
                "{status}: {mean}"
            );
        }
    }

    #[test]
    fn incidents_of_each_kind_show_in_the_counts_they_are_labelled_for() {
        let data = generate(SEED);
        let by_status: BTreeMap<&str, Vec<u32>> = STATUSES
            .into_iter()
            .map(|status| (status, counts(&data, status)))
            .collect();
        let mut kinds = BTreeMap::<&str, u32>::new();
        for (start, end, kind) in parse_incidents(&data) {
            *kinds.entry(kind).or_default() += 1;
            let mean = |status| {
                mean(
                    by_status[status][start as usize..end as usize]
                        .iter()
                        .copied(),
                )
            };
            // The stated ranges of the means, and room for the noise of 20 minutes.
            match kind {
                "decline_surge" => {
                    assert!(
                        (13.0..36.0).contains(&mean("denied")),
                        "{start}: {}",
                        mean("denied")
                    );
                    assert!(
                        (64.0..121.0).contains(&mean("approved")),
                        "{start}: {}",
                        mean("approved")
                    );
                }
                "technical_failure" => {
                    assert!(
                        (0.5..4.0).contains(&mean("failed")),
                        "{start}: {}",
                        mean("failed")
                    );
                    assert!((1.0..4.5).contains(&mean("backend_reversed")), "{start}");
                }
                "backend_reversal" => {
                    assert!((1.5..5.5).contains(&mean("backend_reversed")), "{start}");
                    assert!(
                        mean("failed") < f64::EPSILON,
                        "{start}: failed in a backend reversal"
                    );
                }
                other => panic!("unknown kind {other}"),
            }
        }
        assert_eq!(kinds.into_values().collect::<Vec<_>>(), [4, 5, 5]);
    }
}
