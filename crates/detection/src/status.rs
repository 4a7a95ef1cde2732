//! Statuses: their names, which are monitored, and which are problems. Detectors evaluate them elsewhere.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use strum::{Display, EnumString, IntoStaticStr};

/// A monitored status.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    Display,
    EnumString,
    IntoStaticStr,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum MonitoredStatus {
    /// Approved transactions: the only monitored status that also alerts on a fall.
    Approved,
    /// Refused by the issuer or the acquirer.
    Denied,
    /// Ended by a technical fault.
    Failed,
    /// Reversed by a party of the transaction.
    Reversed,
    /// Reversed by the back end of the payment platform.
    BackendReversed,
}

impl MonitoredStatus {
    /// The number of monitored statuses.
    pub const COUNT: usize = 5;

    /// All of them, in the order of [`MonitoredStatus::index`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Approved,
        Self::Denied,
        Self::Failed,
        Self::Reversed,
        Self::BackendReversed,
    ];

    /// The position in arrays of per-status values.
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The name in messages.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// True for all but `approved`: they should be rare, and alert on rises only.
    pub const fn is_problem(self) -> bool {
        !matches!(self, Self::Approved)
    }
}

/// The valid name of a status that is not monitored: it is stored and shown.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OtherStatus(Box<str>);

/// A status: monitored, or any other valid name (`[a-z][a-z0-9_]{0,63}`).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Status {
    /// Evaluated every minute.
    Monitored(MonitoredStatus),
    /// Stored, counted and shown.
    Other(OtherStatus),
}

/// A status name outside `[a-z][a-z0-9_]{0,63}`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "status {0:?} is not a valid name: 1 to 64 characters of a-z, 0-9 and _, starting with a letter"
)]
pub struct StatusError(pub String);

/// The names among these statuses that are not monitored, if a monitored status is missing: it may have one of these names.
pub fn unjudged<'a>(named: impl IntoIterator<Item = &'a Status>) -> Vec<&'a str> {
    let (mut monitored, mut others) = ([false; MonitoredStatus::COUNT], Vec::new());
    for status in named {
        match status {
            Status::Monitored(status) => monitored[status.index()] = true,
            Status::Other(_) => others.push(status.name()),
        }
    }
    if monitored.contains(&false) {
        others
    } else {
        Vec::new()
    }
}

impl Status {
    /// The status of this name; an error if the name is not valid.
    pub fn parse(name: &str) -> Result<Self, StatusError> {
        if let Ok(monitored) = name.parse() {
            return Ok(Self::Monitored(monitored));
        }
        let valid = name.len() <= 64
            && name.starts_with(|c: char| c.is_ascii_lowercase())
            && name
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if valid {
            Ok(Self::Other(OtherStatus(name.into())))
        } else {
            Err(StatusError(name.chars().take(80).collect()))
        }
    }

    /// The name in messages.
    pub fn name(&self) -> &str {
        match self {
            Self::Monitored(status) => status.name(),
            Self::Other(OtherStatus(name)) => name,
        }
    }

    /// The monitored status, if it is one.
    pub const fn monitored(&self) -> Option<MonitoredStatus> {
        match self {
            Self::Monitored(status) => Some(*status),
            Self::Other(_) => None,
        }
    }
}

impl From<MonitoredStatus> for Status {
    fn from(status: MonitoredStatus) -> Self {
        Self::Monitored(status)
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Status {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Status {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::deserialize(deserializer, "a status name", Self::parse)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_names_may_be_those_of_a_missing_status() {
        let unjudged_of = |names: &[&str]| {
            let named = names.iter().map(|name| Status::parse(name));
            let named: Vec<_> = named.collect::<Result<_, _>>().expect("statuses");
            unjudged(&named).join(",")
        };
        assert_eq!(
            unjudged_of(&["approved", "declined", "expired"]),
            "declined,expired"
        );
        assert_eq!(unjudged_of(&["approved", "denied"]), "");
        let all = MonitoredStatus::ALL.map(MonitoredStatus::name);
        assert_eq!(unjudged_of(&[&all[..], &["refunded"]].concat()), "");
    }

    #[test]
    fn the_five_monitored_names_round_trip() {
        for status in MonitoredStatus::ALL {
            assert_eq!(Status::parse(status.name()), Ok(Status::Monitored(status)));
            assert_eq!(MonitoredStatus::ALL[status.index()], status);
        }
    }

    #[test]
    fn other_valid_names_are_kept_and_not_monitored() {
        let longest = format!("a{}", "b".repeat(63));
        for name in ["refunded", "a", "charge_back_2", &longest] {
            let status = Status::parse(name).expect("valid");
            assert_eq!((status.name(), status.monitored()), (name, None));
        }
    }

    #[test]
    fn bad_names_are_refused_with_the_name() {
        let long = "a".repeat(65);
        for name in ["", "Denied", "9lives", "_x", "a-b", "dénié", "a b", &long] {
            assert!(Status::parse(name).is_err(), "{name:?} must be refused");
        }
    }

    #[test]
    fn every_status_but_approved_is_a_problem() {
        let problems: Vec<_> = MonitoredStatus::ALL
            .into_iter()
            .filter(|s| s.is_problem())
            .map(MonitoredStatus::name)
            .collect();
        assert_eq!(
            problems,
            ["denied", "failed", "reversed", "backend_reversed"]
        );
    }
}
