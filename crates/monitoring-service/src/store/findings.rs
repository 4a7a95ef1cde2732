//! The columns of a finding, the same in `minute_counts` and `alerts`: the only place that maps them. The score is not
//! stored, since it follows from count and evidence.

use detection::{
    Baseline, Direction, Evidence, Finding, Judgement, PolicyName, Severity, State, Unjudged,
};
use rusqlite::{Row, ToSql, types::Null};

/// How many columns [`COLUMNS`] names.
pub(super) const COLUMN_COUNT: usize = 6;

/// The columns, in the order of [`values`].
pub(super) const COLUMNS: &str = "policy, direction, threshold, window_minutes, mean, std_dev";

/// The stored form of a finding, or of the evidence while learning.
#[derive(Default)]
pub(super) struct Stored {
    policy: Option<u8>,
    direction: Option<u8>,
    threshold: Option<f64>,
    window_minutes: Option<u32>,
    mean: Option<f64>,
    std_dev: Option<f64>,
}

impl Stored {
    pub(super) fn finding(finding: &Finding) -> Self {
        Self {
            direction: finding.direction.map(direction_code),
            threshold: finding.threshold,
            ..Self::evidence(&finding.evidence)
        }
    }

    pub(super) fn judgement(judgement: &Judgement) -> Self {
        match judgement {
            Judgement::Finding(finding) => Self::finding(finding),
            Judgement::Unjudged(Unjudged::Learning { evidence, .. }) => Self::evidence(evidence),
            Judgement::Unjudged(Unjudged::TooLate | Unjudged::NotMonitored) => Self::default(),
        }
    }

    fn evidence(evidence: &Evidence) -> Self {
        let baseline = evidence.baseline();
        Self {
            policy: Some(policy_code(evidence.policy())),
            window_minutes: baseline.map(|baseline| baseline.minutes()),
            mean: evidence.expected(),
            std_dev: baseline.and_then(|baseline| baseline.std_dev()),
            ..Self::default()
        }
    }

    /// The values of [`COLUMNS`].
    pub(super) fn values(&self) -> [&dyn ToSql; COLUMN_COUNT] {
        [
            &self.policy,
            &self.direction,
            &self.threshold,
            &self.window_minutes,
            &self.mean,
            &self.std_dev,
        ]
    }
}

/// The values of [`COLUMNS`] where there is no finding.
pub(super) const NO_VALUES: [&dyn ToSql; COLUMN_COUNT] = [&Null; COLUMN_COUNT];

/// The evidence of a row with [`COLUMNS`]; none where no policy judged.
fn evidence(row: &Row<'_>) -> rusqlite::Result<Option<Evidence>> {
    match row.get::<_, Option<u8>>("policy")?.map(policy_from) {
        None => Ok(None),
        Some(PolicyName::ZScore) => Ok(Some(Evidence::ZScore {
            baseline: Baseline::from_figures(
                row.get("mean")?,
                row.get("std_dev")?,
                row.get("window_minutes")?,
            ),
        })),
        Some(PolicyName::Adaptive) => Err(rusqlite::Error::InvalidQuery),
    }
}

/// The finding of an anomaly, from a row with [`COLUMNS`].
pub(super) fn read_finding(
    row: &Row<'_>,
    severity: Severity,
    count: u32,
) -> rusqlite::Result<Finding> {
    let evidence = evidence(row)?.ok_or(rusqlite::Error::InvalidQuery)?;
    finding(row, severity, count, evidence)
}

fn finding(
    row: &Row<'_>,
    severity: Severity,
    count: u32,
    evidence: Evidence,
) -> rusqlite::Result<Finding> {
    Ok(Finding {
        severity,
        direction: row.get::<_, Option<u8>>("direction")?.map(direction_from),
        score: evidence.score(count),
        threshold: row.get("threshold")?,
        evidence,
    })
}

/// The judgement of a row of `minute_counts` with [`COLUMNS`], `state`, `count` and `judged_count`. `monitored`: whether
/// its status is.
pub(super) fn read_judgement(row: &Row<'_>, monitored: bool) -> rusqlite::Result<Judgement> {
    let (count, judged_count): (u32, Option<u32>) = (row.get("count")?, row.get("judged_count")?);
    let count = judged_count.unwrap_or(count);
    let Some(evidence) = evidence(row)? else {
        let why = if monitored {
            Unjudged::TooLate
        } else {
            Unjudged::NotMonitored
        };
        return Ok(Judgement::Unjudged(why));
    };
    match state_from(row.get("state")?).severity() {
        Some(severity) => finding(row, severity, count, evidence).map(Judgement::Finding),
        None => Ok(Judgement::Unjudged(Unjudged::Learning {
            score: evidence.score(count),
            evidence,
        })),
    }
}

pub(super) const fn policy_code(policy: PolicyName) -> u8 {
    match policy {
        PolicyName::ZScore => 0,
        PolicyName::Adaptive => 1,
    }
}

/// CHECK constraints exclude other codes, here and below.
pub(super) const fn policy_from(code: u8) -> PolicyName {
    match code {
        0 => PolicyName::ZScore,
        _ => PolicyName::Adaptive,
    }
}

pub(super) const fn direction_code(direction: Direction) -> u8 {
    match direction {
        Direction::Up => 0,
        Direction::Down => 1,
    }
}

pub(super) const fn direction_from(code: u8) -> Direction {
    match code {
        0 => Direction::Up,
        _ => Direction::Down,
    }
}

/// A severity is stored as the state of the same name.
pub(super) const fn severity_code(severity: Severity) -> u8 {
    State::of(severity).code()
}

pub(super) fn severity_from(code: u8) -> Severity {
    state_from(code).severity().unwrap_or(Severity::Normal)
}

pub(super) fn state_from(code: u8) -> State {
    State::from_code(code).unwrap_or(State::NotJudged)
}
