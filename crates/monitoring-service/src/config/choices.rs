//! The words of the settings that have a few values.

use detection::{ApprovedDirection, PolicyName, Severity};
use tracing::Level;

/// The policy in shadow, if any.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shadow(pub Option<PolicyName>);

pub(super) const POLICIES: [(&str, PolicyName); 2] = [
    ("zscore", PolicyName::ZScore),
    ("adaptive", PolicyName::Adaptive),
];

pub(super) const SHADOWS: [(&str, Shadow); 3] = [
    ("zscore", Shadow(Some(PolicyName::ZScore))),
    ("adaptive", Shadow(Some(PolicyName::Adaptive))),
    ("none", Shadow(None)),
];

/// What is notified.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Notify {
    /// Alerts.
    Alerts,
    /// Incidents.
    Incidents,
}

pub(super) const NOTIFY: [(&str, Notify); 2] =
    [("alerts", Notify::Alerts), ("incidents", Notify::Incidents)];

pub(super) const NOTIFY_SEVERITIES: [(&str, Severity); 2] = [
    ("critical", Severity::Critical),
    ("warning", Severity::Warning),
];

pub(super) const LEVELS: [(&str, Level); 5] = [
    ("error", Level::ERROR),
    ("warn", Level::WARN),
    ("info", Level::INFO),
    ("debug", Level::DEBUG),
    ("trace", Level::TRACE),
];

pub(super) const DIRECTIONS: [(&str, ApprovedDirection); 3] = [
    ("both", ApprovedDirection::Both),
    ("down", ApprovedDirection::Down),
    ("up", ApprovedDirection::Up),
];
