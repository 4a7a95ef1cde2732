//! One history through one policy, with progress on a terminal. The fold itself is [`detection::backtest`].

use detection::{
    MonitorSettings, Observed,
    backtest::{Backtest, Report},
};
use indicatif::{ProgressBar, ProgressStyle, style::TemplateError};

use super::{History, LabelFile};

/// Minutes between two redraws.
const REDRAW_INTERVAL: usize = 4096;

/// A bar on stderr, drawn only on a terminal.
pub(super) struct Progress(ProgressBar);

impl Progress {
    /// While the history is read.
    pub(super) fn reading() -> Result<Self, TemplateError> {
        let style = ProgressStyle::with_template("{spinner} {msg}")?;
        let bar = ProgressBar::no_length().with_style(style);
        bar.set_message("reading the history");
        bar.tick();
        Ok(Self(bar))
    }

    pub(super) fn start(&self, minutes: usize) -> Result<(), TemplateError> {
        let template = "{msg:32} {wide_bar} {human_pos} of {human_len} minutes";
        self.0.set_style(ProgressStyle::with_template(template)?);
        self.0.set_length(minutes as u64);
        Ok(())
    }

    pub(super) fn finish(&self) {
        self.0.finish_and_clear();
    }
}

/// Folds all minutes; `see` gets the result of each.
pub(super) fn fold(
    settings: MonitorSettings,
    history: &History,
    labels: Option<&LabelFile>,
    progress: &Progress,
    mut see: impl FnMut(&Observed),
) -> Report {
    let detector = settings.detector;
    let threshold = detector.threshold(detection::Severity::Critical);
    progress
        .0
        .set_message(format!("{} at {threshold}", detector.policy()));
    let labels = labels.map(|file| file.labels.clone());
    let mut backtest = Backtest::new(settings, labels);
    for minutes in history.minutes.chunks(REDRAW_INTERVAL) {
        for counts in minutes {
            see(&backtest.observe(counts.clone()));
        }
        progress.0.inc(minutes.len() as u64);
    }
    backtest.report()
}
