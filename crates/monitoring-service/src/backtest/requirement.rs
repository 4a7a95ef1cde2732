//! `--require`: what a policy must reach, for CI. Computes no figure.

use std::fmt;
use std::str::FromStr;

use detection::PolicyName;
use serde::Serialize;

use super::{
    PolicyResult,
    metrics::{METRICS, Metric},
};

/// A limit on one figure of one policy, or of each.
#[derive(Clone, Debug)]
pub struct Requirement {
    pub(super) policy: Option<PolicyName>,
    pub(super) metric: &'static Metric,
    operator: Operator,
    limit: f64,
}

/// Its sign, and whether a value is within a limit.
type Operator = (&'static str, fn(&f64, &f64) -> bool);

/// Each operator before its own beginning.
const OPERATORS: [Operator; 4] = [
    (">=", f64::ge),
    ("<=", f64::le),
    (">", f64::gt),
    ("<", f64::lt),
];

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let split = OPERATORS
            .into_iter()
            .find_map(|operator| Some((text.split_once(operator.0)?, operator)));
        let ((name, limit), operator) = split.ok_or(
            "give a metric, an operator (>=, <=, > or <) and a number, such as recall>=0.95",
        )?;
        let (policy, metric) = match name.trim().split_once('.') {
            Some((policy, metric)) => (Some(policy), metric),
            None => (None, name.trim()),
        };
        let policy = policy
            .map(|name| {
                name.parse()
                    .map_err(|_| format!("{name:?} is no policy: zscore or adaptive"))
            })
            .transpose()?;
        let limit = limit.trim();
        Ok(Self {
            policy,
            metric: find(metric)?,
            operator,
            limit: limit
                .parse()
                .ok()
                .filter(|limit: &f64| limit.is_finite())
                .ok_or_else(|| format!("{limit:?} is not a number"))?,
        })
    }
}

fn find(name: &str) -> Result<&'static Metric, String> {
    let metric = METRICS.iter().find(|metric| metric.name == name);
    metric.ok_or_else(|| {
        let names: Vec<_> = METRICS.iter().map(|metric| metric.name).collect();
        format!("{name:?} is no metric; there are {}", names.join(", "))
    })
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(policy) = self.policy {
            write!(f, "{policy}.")?;
        }
        write!(f, "{}{}{}", self.metric.name, self.operator.0, self.limit)
    }
}

/// A requirement held against one policy.
#[derive(Debug, Serialize)]
pub(super) struct Checked {
    policy: PolicyName,
    critical: f64,
    requirement: String,
    value: Option<f64>,
    pub(super) met: bool,
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            policy,
            critical,
            requirement,
            ..
        } = self;
        write!(f, "{policy} at {critical}: {requirement}; it is ")?;
        match self.value {
            Some(value) => write!(f, "{value:.3}"),
            None => f.write_str("not known"),
        }
    }
}

/// Every requirement against every policy that it is about. A figure that is not known does not meet one.
pub(super) fn check(required: &[Requirement], policies: &[PolicyResult]) -> Vec<Checked> {
    let mut checked = Vec::new();
    for requirement in required {
        for PolicyResult { report, .. } in policies {
            if requirement
                .policy
                .is_some_and(|policy| policy != report.policy)
            {
                continue;
            }
            let value = (requirement.metric.value)(report);
            checked.push(Checked {
                policy: report.policy,
                critical: report.critical,
                requirement: requirement.to_string(),
                value,
                met: value
                    .is_some_and(|value| (requirement.operator.1)(&value, &requirement.limit)),
            });
        }
    }
    checked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_are_parsed_and_shown_alike() {
        for text in [
            "recall>=0.95",
            "adaptive.false_per_day<=0.5",
            "zscore.delay_p90<10",
            "precision>0",
        ] {
            let parsed: Requirement = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
        }
        let spaced: Requirement = " recall >= 0.95 ".parse().unwrap();
        assert_eq!(spaced.to_string(), "recall>=0.95");
    }

    #[test]
    fn a_bad_requirement_names_its_fault() {
        for (text, fault) in [
            ("recall", "an operator"),
            ("recall=1", "an operator"),
            ("recal>=1", "\"recal\" is no metric; there are incidents"),
            ("recall>=most", "\"most\" is not a number"),
            ("recall>=NaN", "not a number"),
            ("median.recall>=1", "\"median\" is no policy"),
        ] {
            let error = text.parse::<Requirement>().unwrap_err();
            assert!(error.contains(fault), "{text}: {error}");
        }
    }

    #[test]
    fn operators_differ_at_the_limit() {
        let holds = |text: &str| {
            let parsed: Requirement = text.parse().unwrap();
            (parsed.operator.1)(&0.5, &parsed.limit)
        };
        assert!(holds("recall>=0.5") && holds("recall<=0.5"));
        assert!(!holds("recall>0.5") && !holds("recall<0.5"));
    }
}
