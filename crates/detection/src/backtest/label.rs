//! Labelled incidents: periods in which something was known to be wrong, and the minutes in and shortly after them.

use serde::{Deserialize, Deserializer, Serialize, de::Error as _};

use crate::{Minute, Stream};

/// An alert within this many minutes after an incident is no false alarm: it may come from the recovery.
pub const AFTERMATH_MINUTES: i64 = 60;

/// A labelled period, `start` to `end`, the latter excluded: something was wrong, or only looked like it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct LabelledIncident {
    /// The stream; `None` for all streams.
    pub stream: Option<Stream>,
    /// Its first minute.
    pub start: Minute,
    /// The first minute after it.
    pub end: Minute,
    /// The kind of incident; the report has a score for each kind.
    pub kind: String,
    /// True if an alert for it is right; false for a harmless event, such as a sale or a feed gap.
    #[serde(default = "yes", deserialize_with = "yes_or_no", skip_serializing)]
    pub alert: bool,
}

const fn yes() -> bool {
    true
}

fn yes_or_no<'de, D: Deserializer<'de>>(deserializer: D) -> Result<bool, D::Error> {
    match String::deserialize(deserializer)?.as_str() {
        "yes" | "" => Ok(true),
        "no" => Ok(false),
        other => Err(D::Error::custom(format!(
            "alert {other:?} is neither yes nor no"
        ))),
    }
}

impl LabelledIncident {
    /// What happened and to which stream, in words.
    pub fn name(&self) -> String {
        let kind = self.kind.replace('_', " ");
        match &self.stream {
            Some(stream) => format!("{kind} of {stream}"),
            None => kind,
        }
    }

    /// True if the label is about this stream.
    pub fn is_of(&self, stream: &Stream) -> bool {
        self.stream.as_ref().is_none_or(|own| own == stream)
    }

    /// True if the minute of the stream is within the period or less than `after` minutes after its end.
    pub fn covers(&self, stream: &Stream, minute: Minute, after: i64) -> bool {
        self.is_of(stream) && self.start <= minute && minute < self.end.plus(after)
    }
}

/// All labels of incidents, by start.
pub(super) struct Labels {
    incidents: Vec<LabelledIncident>,
    /// Length of the longest in minutes, which limits the search backwards.
    longest: i64,
}

impl Labels {
    pub(super) fn new(mut incidents: Vec<LabelledIncident>) -> Self {
        incidents.retain(|label| label.alert);
        incidents.sort_by_key(|incident| incident.start);
        let lengths = incidents
            .iter()
            .map(|incident| incident.end.since(incident.start));
        Self {
            longest: lengths.max().unwrap_or(0),
            incidents,
        }
    }

    pub(super) fn all(&self) -> &[LabelledIncident] {
        &self.incidents
    }

    /// The positions of the incidents that contain a minute.
    pub(super) fn during(&self, stream: &Stream, minute: Minute) -> impl Iterator<Item = usize> {
        self.within(stream, minute, 0)
    }

    /// True if an alert for this minute is no false alarm: during an incident or within the hour after one.
    pub(super) fn excuses(&self, stream: &Stream, minute: Minute) -> bool {
        self.within(stream, minute, AFTERMATH_MINUTES)
            .next()
            .is_some()
    }

    fn within(&self, stream: &Stream, minute: Minute, after: i64) -> impl Iterator<Item = usize> {
        let first = minute.plus(-self.longest - after);
        let from = self
            .incidents
            .partition_point(|incident| incident.start < first);
        let candidates = self.incidents[from..].iter().enumerate();
        candidates
            .take_while(move |(_, incident)| incident.start <= minute)
            .filter(move |(_, incident)| incident.covers(stream, minute, after))
            .map(move |(at, _)| from + at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(start: i64, end: i64) -> LabelledIncident {
        let [start, end] = [start, end].map(Minute::from_epoch_minutes);
        LabelledIncident {
            stream: None,
            start,
            end,
            kind: "spike".into(),
            alert: true,
        }
    }

    #[test]
    fn harmless_events_are_no_incidents() {
        let mut sale = label(100, 110);
        sale.alert = false;
        let labels = Labels::new(vec![sale]);
        assert!(labels.all().is_empty());
        assert!(!labels.excuses(&Stream::default(), Minute::from_epoch_minutes(105)));
    }

    #[test]
    fn minutes_belong_to_labels_and_their_aftermath() {
        let labels = Labels::new(vec![label(500, 510), label(100, 400), label(150, 160)]);
        let stream = Stream::default();
        let during = |minute| {
            let minute = Minute::from_epoch_minutes(minute);
            labels.during(&stream, minute).collect::<Vec<_>>()
        };
        assert_eq!(during(99), [] as [usize; 0]);
        assert_eq!(during(155), [0, 1]);
        assert_eq!(during(399), [0]);
        assert_eq!(during(400), [] as [usize; 0]);
        assert_eq!(during(509), [2]);
        let is_excused = |minute| labels.excuses(&stream, Minute::from_epoch_minutes(minute));
        let excused = [99, 100, 459, 460, 499, 500, 569, 570].map(is_excused);
        assert_eq!(
            excused,
            [false, true, true, false, false, true, true, false]
        );
    }

    #[test]
    fn a_label_may_apply_to_one_stream() {
        let mut about = label(100, 110);
        about.stream = Some("a".parse().expect("valid"));
        let labels = Labels::new(vec![about]);
        let minute = Minute::from_epoch_minutes(105);
        let excused = ["a", "b"].map(|name| labels.excuses(&name.parse().expect("valid"), minute));
        assert_eq!(excused, [true, false]);
    }
}
