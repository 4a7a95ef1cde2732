//! What is sent: some hours of the sample, chosen by the seed, in the shape of the input, and the counts that must be stored.

use std::{collections::BTreeMap, fmt::Write as _};

use fastrand::Rng;
use serde_json::json;

const SAMPLE: &str = include_str!("../../../sample_data/transactions.csv");

/// What a message is: `KAFKA_INPUT`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, strum::IntoStaticStr)]
#[strum(serialize_all = "snake_case")]
pub(crate) enum Shape {
    Minutes,
    Updates,
    Transactions,
}

/// One message.
pub(crate) struct Message {
    pub(crate) key: String,
    pub(crate) payload: String,
}

/// Counts by stream, minute (RFC 3339) and status; zeros are left out.
pub(crate) type Counts = BTreeMap<(String, String, String), u64>;

struct Row {
    /// `2025-07-12 13:45:00`.
    minute: String,
    stream: String,
    counts: Vec<(String, u64)>,
}

/// Minutes in order of time.
pub(crate) struct Input(Vec<Row>);

impl Input {
    /// `minutes` minutes of each stream. Each stream has other hours of the sample, moved to the same times.
    pub(crate) fn draw(rng: &mut Rng, streams: &[&str], minutes: usize) -> Self {
        let mut sample = BTreeMap::<_, Vec<_>>::new();
        for line in SAMPLE.lines().skip(1) {
            let mut fields = line.split(',');
            if let (Some(minute), Some(status), Some(count)) =
                (fields.next(), fields.next(), fields.next())
            {
                let count: u64 = count.parse().expect("the sample has counts");
                sample
                    .entry(minute)
                    .or_default()
                    .push((status.to_owned(), count));
            }
        }
        let sample: Vec<_> = sample.into_iter().collect();
        let from: Vec<_> = streams
            .iter()
            .map(|_| rng.usize(..sample.len() - minutes))
            .collect();
        let row = |at: usize, stream: usize| Row {
            minute: sample[at].0.to_owned(),
            stream: streams[stream].to_owned(),
            counts: sample[from[stream] + at].1.clone(),
        };
        let rows = (0..minutes).flat_map(|at| (0..streams.len()).map(move |stream| (at, stream)));
        Self(rows.map(|(at, stream)| row(at, stream)).collect())
    }

    pub(crate) fn counts(&self) -> Counts {
        let named = |row: &Row| {
            let minute = format!("{}Z", row.minute.replace(' ', "T"));
            let stream = row.stream.clone();
            let key = move |(status, count): &(String, u64)| {
                ((stream.clone(), minute.clone(), status.clone()), *count)
            };
            row.counts
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(key)
                .collect::<Vec<_>>()
        };
        self.0.iter().flat_map(named).collect()
    }

    /// The file that stream-processor replays.
    pub(crate) fn csv(&self) -> String {
        let mut text = "timestamp,stream,status,count\n".to_owned();
        for row in &self.0 {
            for (status, count) in &row.counts {
                let _ = writeln!(text, "{},{},{status},{count}", row.minute, row.stream);
            }
        }
        text
    }

    pub(crate) fn messages(&self, shape: Shape, rng: &mut Rng) -> Vec<Message> {
        match shape {
            Shape::Minutes => self.0.iter().map(|row| update(row, &row.counts)).collect(),
            Shape::Updates => self.0.iter().flat_map(updates).collect(),
            Shape::Transactions => self.transactions(rng),
        }
    }

    /// One message for each transaction, out of order by a few seconds.
    fn transactions(&self, rng: &mut Rng) -> Vec<Message> {
        let mut all = Vec::new();
        for row in &self.0 {
            for (status, count) in &row.counts {
                for _ in 0..*count {
                    all.push((
                        format!("{}:{:02}", &row.minute[..16], rng.u8(..60)),
                        row,
                        status,
                    ));
                }
            }
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all.chunks_mut(8).for_each(|some| rng.shuffle(some));
        let message = |(at, row, status): (String, &Row, &String)| Message {
            key: row.stream.clone(),
            payload: json!({"timestamp": at, "stream": row.stream, "status": status}).to_string(),
        };
        all.into_iter().map(message).collect()
    }
}

fn update(row: &Row, counts: &[(String, u64)]) -> Message {
    let count = |(status, count): &(String, u64)| json!({"status": status, "count": count});
    let counts: Vec<_> = counts.iter().map(count).collect();
    let payload = json!({"timestamp": row.minute, "stream": row.stream, "transactions": counts});
    Message {
        key: row.stream.clone(),
        payload: payload.to_string(),
    }
}

/// Half of the counts first, then each status alone.
fn updates(row: &Row) -> Vec<Message> {
    let half: Vec<_> = row
        .counts
        .iter()
        .map(|(status, count)| (status.clone(), count / 2))
        .collect();
    let alone = row
        .counts
        .iter()
        .map(|count| update(row, std::slice::from_ref(count)));
    std::iter::once(update(row, &half)).chain(alone).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn each_shape_has_the_counts_of_the_input() {
        let mut rng = Rng::with_seed(7);
        let input = Input::draw(&mut rng, &["a", "b"], 30);
        for shape in [Shape::Minutes, Shape::Updates, Shape::Transactions] {
            let mut found = Counts::new();
            for message in input.messages(shape, &mut rng) {
                let message: Value = serde_json::from_str(&message.payload).expect("JSON");
                let text = |of: &Value, name: &str| of[name].as_str().expect("a text").to_owned();
                let minute = format!(
                    "{}:00Z",
                    text(&message, "timestamp")[..16].replace(' ', "T")
                );
                let key = |of| (text(&message, "stream"), minute.clone(), text(of, "status"));
                if shape == Shape::Transactions {
                    *found.entry(key(&message)).or_default() += 1;
                } else {
                    for count in message["transactions"].as_array().expect("a list") {
                        found.insert(key(count), count["count"].as_u64().expect("a count"));
                    }
                }
            }
            found.retain(|_, count| *count > 0);
            assert_eq!(found, input.counts(), "{shape:?}");
        }
    }
}
