//! The columns of findings, the same in `minute_counts` and `alerts`: the only place that maps them. A score that follows from
//! count and evidence is not stored.

use rusqlite::{
    ToSql,
    types::{ToSqlOutput, Value},
};

use super::engine::{self, Row};
use detection::{
    Baseline, Direction, Evidence, Finding, Judgement, MonitoredStatus, PolicyName, Severity,
    State, Unjudged,
    detector::adaptive::{AdaptiveEvidence, Test},
};

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

/// The columns of both policies, in the order of [`Stored::values`].
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

    /// The values of [`COLUMNS`].
    pub(super) fn values(&self) -> [Number; COLUMN_COUNT] {
        let baseline = self.baseline.as_ref();
        let evidence = self.adaptive.as_ref();
        let adaptive = |field: fn(&AdaptiveEvidence) -> f64| real(evidence.map(field));
        let adaptive_whole = |field: fn(&AdaptiveEvidence) -> u64| {
            let number = evidence.map(|evidence| i64::try_from(field(evidence)));
            whole(number.map(|number| number.unwrap_or(i64::MAX)))
        };
        [
            whole(self.direction.map(direction_code)),
            real(self.threshold),
            whole(baseline.map(Baseline::minutes)),
            real(baseline.and_then(Baseline::mean)),
            real(baseline.and_then(Baseline::std_dev)),
            real(self.window_score),
            adaptive(|evidence| evidence.expected),
            adaptive(|evidence| evidence.spread),
            adaptive(|evidence| evidence.bar),
            adaptive(|evidence| evidence.heat),
            adaptive_whole(|evidence| evidence.window_count),
            adaptive(|evidence| evidence.window_expected),
            adaptive_whole(|evidence| evidence.payments),
            adaptive(|evidence| evidence.expected_payments),
            adaptive(|evidence| evidence.day_count),
            adaptive(|evidence| evidence.day_payments),
        ]
    }
}

/// Which of [`COLUMNS`] are real numbers.
pub(super) const IS_REAL: [bool; COLUMN_COUNT] = [
    false, true, false, true, true, true, true, true, true, true, false, true, false, true, true,
    true,
];

/// A value of a column of numbers.
#[derive(Clone, Copy)]
pub(super) enum Number {
    Null,
    Whole(i64),
    Real(f64),
}

impl ToSql for Number {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Owned(match *self {
            Self::Null => Value::Null,
            Self::Whole(number) => Value::Integer(number),
            Self::Real(number) => Value::Real(number),
        }))
    }
}

pub(super) fn whole(number: Option<impl Into<i64>>) -> Number {
    number.map_or(Number::Null, |number| Number::Whole(number.into()))
}

fn real(number: Option<f64>) -> Number {
    number.map_or(Number::Null, Number::Real)
}

/// The evidence of policy `zscore`; none where it did not judge.
fn baseline(row: &Row<'_>) -> engine::Result<Option<Baseline>> {
    let Some(minutes) = row.get("window_minutes")? else {
        return Ok(None);
    };
    let (mean, std_dev) = (row.get("mean")?, row.get("std_dev")?);
    Ok(Some(Baseline::from_figures(mean, std_dev, minutes)))
}

/// The evidence of policy `adaptive`, and the score of the window where it counts; none where the policy did not judge.
fn adaptive(row: &Row<'_>) -> engine::Result<Option<(AdaptiveEvidence, Option<f64>)>> {
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
    fn judgement(&self, row: &Row<'_>) -> engine::Result<Option<Judgement>> {
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
) -> engine::Result<Finding> {
    let judged = Judged {
        policy,
        status,
        count,
        severity: Some(severity),
    };
    match judged.judgement(row)? {
        Some(Judgement::Finding(finding)) => Ok(finding),
        _ => Err(engine::Error::unreadable("a finding has no evidence")),
    }
}

/// What this policy says of a row of `minute_counts`, read with its [`judgement_columns`]. `status`: which one, where it is monitored.
pub(super) fn read_judgement(
    row: &Row<'_>,
    policy: PolicyName,
    status: Option<MonitoredStatus>,
) -> engine::Result<Judgement> {
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
