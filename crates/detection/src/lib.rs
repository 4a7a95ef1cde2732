//! What is an anomaly, and what is a minute of transactions.
//!
//! Pure: no I/O, no async, no clock. The dependency list and this crate's own `clippy.toml` hold it so.
//! Start at [`monitor`]: everything else is a part of that fold.

pub mod baseline;
pub mod batch;
pub mod cooldown;
pub mod detector;
pub mod history;
pub mod monitor;
pub mod silence;
pub mod status;
mod text;

pub use baseline::{Baseline, ZScore};
pub use batch::{Minute, MinuteCounts, StatusCount, Stream};
pub use cooldown::{AlertKey, Cooldown};
pub use detector::{ApprovedDirection, Direction, Severity, Thresholds, Verdict, ZScoreDetector};
pub use history::{History, ObservedMinute};
pub use monitor::{
    Alert, Disposition, Judged, Monitor, MonitorSettings, Row, RowChange, StreamState, Timeliness,
};
pub use silence::Silence;
pub use status::{MonitoredStatus, Status};
