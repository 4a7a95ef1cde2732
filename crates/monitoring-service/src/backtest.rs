//! The command `backtest`: a history through the policies, by the same fold as live, and what they would have found and sent.
//!
//! It needs no running service, changes no database, and knows no silences.

mod chart;
mod export;
mod fold;
mod html;
mod metrics;
mod options;
mod requirement;
mod rows;
mod source;
mod svg;
mod table;
#[cfg(test)]
mod tests;

use std::io::{ErrorKind, Write, stderr, stdout};
use std::process::ExitCode;

use anyhow::Context as _;
use detection::{
    Detector, MonitorSettings,
    backtest::{DEFAULT_THRESHOLDS, Report, recommended, with_critical},
};

pub(crate) use options::{AFTER_HELP, OF_THE_FILE};
pub use options::{Format, Options};
pub use source::{History, LabelFile};

use self::{
    chart::{Charts, Recorder},
    fold::{Progress, fold},
    requirement::Checked,
};

/// False episodes a day that are accepted where nobody says.
const DEFAULT_FALSE_PER_DAY: f64 = 0.5;

/// A requirement is not met.
const NOT_MET: u8 = 1;

/// Wrong usage, or input that cannot be used.
const UNUSABLE: u8 = 2;

/// The results of all policies on one history.
struct Comparison {
    history: History,
    labels: Option<LabelFile>,
    policies: Vec<PolicyResult>,
    checked: Vec<Checked>,
}

/// The results of one policy.
struct PolicyResult {
    report: Report,
    charts: Option<Charts>,
    sweep: Option<Sweep>,
}

/// One policy at several CRITICAL thresholds.
struct Sweep {
    reports: Vec<Report>,
    /// The most false episodes a day.
    budget: f64,
    /// The position of the best threshold within the budget; none without labels, or if every one has more.
    recommended: Option<usize>,
}

/// Runs the command: the result goes to stdout, progress and errors to stderr. Exit code 0, 1 if a requirement is not met, 2 if
/// the input cannot be used.
pub fn command(options: &Options, settings: &MonitorSettings) -> ExitCode {
    command_to(options, settings, &mut stdout())
}

fn command_to(options: &Options, settings: &MonitorSettings, out: &mut impl Write) -> ExitCode {
    match run(options, settings, out) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(NOT_MET),
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error:#}");
            ExitCode::from(UNUSABLE)
        }
    }
}

/// Writes the result to `out`; true if every requirement is met.
pub fn run(
    options: &Options,
    settings: &MonitorSettings,
    out: &mut impl Write,
) -> anyhow::Result<bool> {
    let comparison = compare(options, settings)?;
    let text = match options.format {
        Format::Table => table::render(&comparison)?,
        Format::Json => export::json(&comparison)?,
        Format::Csv => export::csv(&comparison)?,
    };
    match out.write_all(text.as_bytes()) {
        // The reader, such as `head`, has seen enough.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        written => written.context("cannot write the result")?,
    }
    if let Some(path) = &options.html {
        std::fs::write(path, html::render(&comparison)?)
            .with_context(|| format!("cannot write the report to {} (--html)", path.display()))?;
    }
    let failed = comparison.checked.iter().filter(|checked| !checked.met);
    let failed: Vec<_> = failed.collect();
    if options.format != Format::Table {
        for checked in &failed {
            let _ = writeln!(stderr(), "requirement not met: {checked}");
        }
    }
    Ok(failed.is_empty())
}

fn compare(options: &Options, settings: &MonitorSettings) -> anyhow::Result<Comparison> {
    options.check()?;
    let progress = Progress::reading()?;
    let history = History::load(options)?;
    let labels = LabelFile::load(options, &history)?;
    let plans = plans(options, settings)?;
    let runs: usize = plans.iter().map(|plan| 1 + plan.sweep.len()).sum();
    progress.start(history.minutes.len() * runs)?;
    let mut policies = Vec::with_capacity(plans.len());
    for plan in &plans {
        policies.push(plan.result(options, &history, labels.as_ref(), &progress));
    }
    progress.finish();
    let checked = requirement::check(&options.require, &policies);
    Ok(Comparison {
        history,
        labels,
        policies,
        checked,
    })
}

/// The settings under which a policy is run.
struct Plan {
    settings: MonitorSettings,
    sweep: Vec<Detector>,
}

fn plans(options: &Options, settings: &MonitorSettings) -> anyhow::Result<Vec<Plan>> {
    let mut plans: Vec<Plan> = Vec::new();
    for policy in &options.policy {
        let settings = settings.only(*policy);
        let done = |plan: &Plan| plan.settings.detector.policy() == *policy;
        if plans.iter().any(done) {
            continue;
        }
        let thresholds = options.thresholds(&DEFAULT_THRESHOLDS);
        let sweep = thresholds.iter().map(|critical| {
            with_critical(settings.detector, *critical)
                .with_context(|| format!("--sweep: {critical} is no threshold of {policy}"))
        });
        plans.push(Plan {
            settings,
            sweep: sweep.collect::<anyhow::Result<_>>()?,
        });
    }
    Ok(plans)
}

impl Plan {
    fn result(
        &self,
        options: &Options,
        history: &History,
        labels: Option<&LabelFile>,
        progress: &Progress,
    ) -> PolicyResult {
        let mut recorder = options
            .html
            .is_some()
            .then(|| Recorder::new(self.settings.detector, history, labels));
        let report = fold(self.settings, history, labels, progress, |observed| {
            if let Some(recorder) = &mut recorder {
                recorder.observe(observed);
            }
        });
        let at = |detector: &Detector| {
            let settings = MonitorSettings {
                detector: *detector,
                ..self.settings
            };
            fold(settings, history, labels, progress, |_| {})
        };
        let reports: Vec<_> = self.sweep.iter().map(at).collect();
        PolicyResult {
            report,
            charts: recorder.map(Recorder::finish),
            sweep: (!reports.is_empty()).then(|| Sweep::new(reports, options.false_per_day)),
        }
    }
}

impl Sweep {
    fn new(reports: Vec<Report>, budget: Option<f64>) -> Self {
        let budget = budget.unwrap_or(DEFAULT_FALSE_PER_DAY);
        let best = recommended(&reports, budget);
        Self {
            recommended: best.and_then(|best| reports.iter().position(|report| report == best)),
            reports,
            budget,
        }
    }
}
