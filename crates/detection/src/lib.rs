//! Anomaly detection over minutes of transaction counts.
//!
//! Pure: no I/O, no async, no clock. The dependency list and the workspace's `clippy.toml` ensure this.
//! Start at [`monitor`]: everything else is a part of that fold.

pub mod backtest;
pub mod baseline;
mod cooldown;
pub mod detector;
mod finding;
mod gate;
mod history;
pub mod hours_off;
pub mod incident;
mod judgement;
pub mod mapping;
pub mod message;
pub mod minute;
pub mod monitor;
mod number;
pub mod open_minutes;
pub mod pattern;
pub mod pauses;
mod recompute;
mod settings;
pub mod silence;
pub mod status;
mod stream;
mod text;

pub use baseline::Baseline;
pub use cooldown::Cooldown;
pub use detector::{
    Detector,
    zscore::{ApprovedDirection, Thresholds, ZScoreDetector},
};
pub use finding::{Direction, Evidence, Finding, PolicyName, Severity};
pub use gate::{AlertKey, Anomaly, Raised, Suppression};
pub use history::{History, ObservedMinute};
pub use hours_off::HoursOff;
pub use incident::{Incident, IncidentChange, IncidentStep, Resolution};
pub use judgement::{Judgement, State, Unjudged};
pub use mapping::Mapping;
pub use message::{MinuteCounts, StatusCount};
pub use minute::Minute;
pub use monitor::{DetectorState, Monitor, Observed, Row, RowChange, StoredStream, Timeliness};
pub use pattern::StreamPattern;
pub use pauses::Pauses;
pub use recompute::recompute;
pub use settings::MonitorSettings;
pub use silence::Silence;
pub use status::{MonitoredStatus, Status};
pub use stream::{Stream, StreamError};
