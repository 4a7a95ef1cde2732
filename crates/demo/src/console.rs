//! What the demo shows while it runs. Decides nothing: it is handed what was found.

use std::{
    io::{self, IsTerminal as _, Write},
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use detection::{Minute, Severity};
use indicatif::{ProgressBar, ProgressStyle};
use monitoring_service::store::AlertRecord;

use crate::scorecard::Incident;

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();

/// Standard output: colours and a progress bar on a terminal, plain lines elsewhere.
pub(crate) struct Console {
    bar: Option<ProgressBar>,
}

impl Console {
    /// Shows a bar for this many minutes if it is on a terminal.
    pub(crate) fn new(minutes: u64) -> Self {
        let bar = io::stdout().is_terminal().then(|| {
            let style = ProgressStyle::with_template("  {prefix} [{bar:40}] {pos}/{len} minutes  {msg}");
            ProgressBar::new(minutes).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Self { bar }
    }

    /// Writes a line above the bar. A reader that went away is no fault of the demo: it goes on serving.
    pub(crate) fn line(&self, text: &str) {
        let write = || drop(writeln!(anstream::stdout(), "{text}"));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// Where to look.
    pub(crate) fn header(&self, address: &str, what: &str) {
        self.line(&format!("{BOLD}Transaction Monitoring System{BOLD:#}  {what}\n"));
        for (path, about) in [
            ("/alerts/status", "how everything stands"),
            ("/alerts", "what was found, newest first"),
            ("/transactions/summary", "what was counted"),
            ("/health", "how the service is"),
            ("/metrics", "figures for Prometheus"),
        ] {
            self.line(&format!("  http://{address}{path:<24}{DIM}{about}{DIM:#}"));
        }
        self.line("\nCRITICAL alerts as they are found (WARNINGs are counted):\n");
    }

    /// An alert that went out. WARNINGs are not shown one by one: there are too many to read.
    pub(crate) fn alert(&self, alert: &AlertRecord) {
        if alert.severity != Severity::Critical {
            return;
        }
        let when = alert.anomaly.as_ref().map_or_else(String::new, |anomaly| minute(anomaly.minute));
        let reason = alert.message.strip_prefix("CRITICAL: ").unwrap_or(&alert.message);
        self.line(&format!("  {RED}CRITICAL{RED:#} {when}  {reason}"));
    }

    /// A labelled incident that an alert has found.
    pub(crate) fn caught(&self, incident: &Incident, delay_minutes: i64) {
        let (kind, start) = (incident.kind.replace('_', " "), minute(incident.start));
        let delay = match delay_minutes {
            0 => "in its first minute".to_owned(),
            minutes => format!("{minutes} min after its start"),
        };
        self.line(&format!("  {GREEN}CAUGHT  {GREEN:#} {start}  the {kind} that starts here, {delay}"));
    }

    /// How far the replay is.
    pub(crate) fn progress(&self, newest: Option<Minute>, sent: u64, warnings: usize) {
        let Some(newest) = newest else { return };
        match &self.bar {
            Some(bar) => {
                bar.set_position(sent);
                bar.set_prefix(minute(newest));
                bar.set_message(format!("{warnings} warnings"));
            }
            None => self.line(&format!("  ...      {}  {sent} minutes sent, {warnings} warnings", minute(newest))),
        }
    }

    /// How often [`Console::progress`] is worth a call.
    pub(crate) const fn progress_interval(&self) -> Duration {
        if self.bar.is_some() { Duration::from_millis(100) } else { Duration::from_secs(5) }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn minute(minute: Minute) -> String {
    minute.start().strftime("%Y-%m-%d %H:%M").to_string()
}
