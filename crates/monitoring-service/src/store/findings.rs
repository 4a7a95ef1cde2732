//! The columns of findings, the same in `minute_counts` and `alerts`: the only place that maps them. A score that follows from
//! count and evidence is not stored.

use detection::{
    Baseline, Direction, Evidence, Finding, Judgement, MonitoredStatus, PolicyName, Severity,
    State, Unjudged,
    detector::adaptive::{AdaptiveEvidence, Test},
};
use rusqlite::{Row, Statement};

/// How many columns [`columns`] names.
pub(super) const COLUMN_COUNT: usize = 16;

macro_rules! zscore_columns {
    () => {
        "direction, threshold, window_minutes, mean, std_dev"
    };
}

macro_rules! adaptive_columns {
    () => {
        "window_score, expected, spread, bar, heat, window_count, window_expected, payments, expected_payments, day_count, day_payments"
    };
}

/// The columns of both policies, in the order of [`Stored::bind`].
pub(super) const COLUMNS: &str = concat!(zscore_columns!(), ", ", adaptive_columns!());

/// The columns that [`read_judgement`] reads of a row of `minute_counts`.
pub(super) const fn judgement_columns(policy: PolicyName) -> &'static str {
    match policy {
        PolicyName::ZScore => concat!("count, judged_count, state, ", zscore_columns!()),
        PolicyName::Adaptive => {
            concat!(
                "count, judged_count, adaptive_state AS state, ",
                adaptive_columns!()
            )
        }
    }
}

/// The column with the state that a policy gives a count.
pub(super) const fn state_column(policy: PolicyName) -> &'static str {
    match policy {
        PolicyName::ZScore => "state",
        PolicyName::Adaptive => "adaptive_state",
    }
}

/// The stored form of a finding, or of the evidence while learning; of a minute, of both policies.
#[derive(Default)]
pub(super) struct Stored {
    direction: Option<Direction>,
    threshold: Option<f64>,
    baseline: Option<Baseline>,
    window_score: Option<f64>,
    adaptive: Option<AdaptiveEvidence>,
}

impl Stored {
    /// Of an alert: direction and threshold are stored for every policy.
    pub(super) fn finding(finding: &Finding) -> Self {
        let mut stored = Self::default();
        stored.add(&Judgement::Finding(*finding));
        (stored.direction, stored.threshold) = (finding.direction, finding.threshold);
        stored
    }

    /// Adds what a policy says of a count.
    pub(super) fn add(&mut self, judgement: &Judgement) {
        match judgement.evidence() {
            Some(Evidence::ZScore { baseline }) => {
                self.baseline = Some(*baseline);
                self.direction = judgement.direction();
                self.threshold = judgement.finding().and_then(|finding| finding.threshold);
            }
            Some(Evidence::Adaptive(evidence)) => {
                self.adaptive = Some(*evidence);
                self.window_score = judgement.score().filter(|_| evidence.test == Test::Window);
            }
            None => {}
        }
    }

    /// Binds the values of [`COLUMNS`], from the parameter at this index on.
    pub(super) fn bind(&self, statement: &mut Statement<'_>, at: usize) -> rusqlite::Result<()> {
        let baseline = self.baseline.as_ref();
        statement.raw_bind_parameter(at, self.direction.map(direction_code))?;
        statement.raw_bind_parameter(at + 1, self.threshold)?;
        statement.raw_bind_parameter(at + 2, baseline.map(Baseline::minutes))?;
        statement.raw_bind_parameter(at + 3, baseline.and_then(Baseline::mean))?;
        statement.raw_bind_parameter(at + 4, baseline.and_then(Baseline::std_dev))?;
        statement.raw_bind_parameter(at + 5, self.window_score)?;
        let evidence = self.adaptive.as_ref();
        let real = |field: fn(&AdaptiveEvidence) -> f64| evidence.map(field);
        let whole = |field: fn(&AdaptiveEvidence) -> u64| evidence.map(field);
        statement.raw_bind_parameter(at + 6, real(|evidence| evidence.expected))?;
        statement.raw_bind_parameter(at + 7, real(|evidence| evidence.spread))?;
        statement.raw_bind_parameter(at + 8, real(|evidence| evidence.bar))?;
        statement.raw_bind_parameter(at + 9, real(|evidence| evidence.heat))?;
        statement.raw_bind_parameter(at + 10, whole(|evidence| evidence.window_count))?;
        statement.raw_bind_parameter(at + 11, real(|evidence| evidence.window_expected))?;
        statement.raw_bind_parameter(at + 12, whole(|evidence| evidence.payments))?;
        statement.raw_bind_parameter(at + 13, real(|evidence| evidence.expected_payments))?;
        statement.raw_bind_parameter(at + 14, real(|evidence| evidence.day_count))?;
        statement.raw_bind_parameter(at + 15, real(|evidence| evidence.day_payments))
    }
}

/// The evidence of policy `zscore`; none where it did not judge.
fn baseline(row: &Row<'_>) -> rusqlite::Result<Option<Baseline>> {
    let Some(minutes) = row.get("window_minutes")? else {
        return Ok(None);
    };
    let (mean, std_dev) = (row.get("mean")?, row.get("std_dev")?);
    Ok(Some(Baseline::from_figures(mean, std_dev, minutes)))
}

/// The evidence of policy `adaptive`, and the score of the window where it counts; none where the policy did not judge.
fn adaptive(row: &Row<'_>) -> rusqlite::Result<Option<(AdaptiveEvidence, Option<f64>)>> {
    let Some(expected) = row.get("expected")? else {
        return Ok(None);
    };
    let window_score: Option<f64> = row.get("window_score")?;
    let evidence = AdaptiveEvidence {
        expected,
        spread: row.get("spread")?,
        bar: row.get("bar")?,
        heat: row.get("heat")?,
        test: if window_score.is_some() {
            Test::Window
        } else {
            Test::Minute
        },
        window_count: row.get("window_count")?,
        window_expected: row.get("window_expected")?,
        payments: row.get("payments")?,
        expected_payments: row.get("expected_payments")?,
        day_count: row.get("day_count")?,
        day_payments: row.get("day_payments")?,
    };
    Ok(Some((evidence, window_score)))
}

/// What a policy said of a count, by the columns of a row.
struct Judged {
    policy: PolicyName,
    status: MonitoredStatus,
    count: u32,
    /// None while the policy was learning.
    severity: Option<Severity>,
}

impl Judged {
    /// None where the policy did not judge.
    fn judgement(&self, row: &Row<'_>) -> rusqlite::Result<Option<Judgement>> {
        let evidence = match self.policy {
            PolicyName::ZScore => baseline(row)?.map(|baseline| Evidence::ZScore { baseline }),
            PolicyName::Adaptive => match (adaptive(row)?, self.severity) {
                (Some((evidence, window_score)), Some(severity)) => {
                    let score = window_score.unwrap_or_else(|| evidence.minute_score(self.count));
                    let finding = evidence.finding(self.status, severity, score);
                    return Ok(Some(Judgement::Finding(finding)));
                }
                (evidence, _) => evidence.map(|(evidence, _)| Evidence::Adaptive(evidence)),
            },
        };
        let Some(evidence) = evidence else {
            return Ok(None);
        };
        let baseline = evidence.baseline();
        let score = baseline.and_then(|baseline| baseline.z_score(self.count));
        Ok(Some(match self.severity {
            None => Judgement::Unjudged(Unjudged::Learning { score, evidence }),
            Some(severity) => Judgement::Finding(Finding {
                severity,
                direction: row.get::<_, Option<u8>>("direction")?.map(direction_from),
                score,
                threshold: row.get("threshold")?,
                evidence,
            }),
        }))
    }
}

/// The finding of an alert, from a row with [`COLUMNS`].
pub(super) fn read_finding(
    row: &Row<'_>,
    policy: PolicyName,
    status: MonitoredStatus,
    severity: Severity,
    count: u32,
) -> rusqlite::Result<Finding> {
    let judged = Judged {
        policy,
        status,
        count,
        severity: Some(severity),
    };
    match judged.judgement(row)? {
        Some(Judgement::Finding(finding)) => Ok(finding),
        _ => Err(rusqlite::Error::InvalidQuery),
    }
}

/// What this policy says of a row of `minute_counts`, read with its [`judgement_columns`]. `status`: which one, where it is monitored.
pub(super) fn read_judgement(
    row: &Row<'_>,
    policy: PolicyName,
    status: Option<MonitoredStatus>,
) -> rusqlite::Result<Judgement> {
    let Some(status) = status else {
        return Ok(Judgement::Unjudged(Unjudged::NotMonitored));
    };
    let Some(state) = row.get("state")? else {
        return Ok(Judgement::Unjudged(Unjudged::PolicyOff));
    };
    let (count, judged_count): (u32, Option<u32>) = (row.get("count")?, row.get("judged_count")?);
    let judged = Judged {
        policy,
        status,
        count: judged_count.unwrap_or(count),
        severity: state_from(state).severity(),
    };
    let judgement = judged.judgement(row)?;
    Ok(judgement.unwrap_or(Judgement::Unjudged(Unjudged::TooLate)))
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
