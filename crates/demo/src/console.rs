//! The output of the demo: its texts, colours and progress bar. It decides nothing.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use detection::{Minute, PolicyName, Severity, backtest::LabelledIncident};
use indicatif::{HumanCount, ProgressBar, ProgressStyle, style::TemplateError};
use monitoring_service::{
    alerts::{Alert, Origin},
    store::OutboxState,
};
use stream_processor::{Progress, Shape, Speed};

use crate::{
    Outcome,
    cli::Cli,
    scorecard::{Scorecard, SideBySide},
    stored::{Scope, Totals},
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();

/// Routes that the header lists.
const ROUTES: [(&str, &str); 8] = [
    ("/", "the page: see streams and alerts as they change"),
    ("/docs", "try the whole API"),
    ("/alerts/status", "the current state of each status"),
    ("/alerts", "alerts, newest first"),
    ("/streams", "the newest minute of each stream"),
    ("/transactions/summary", "totals per status"),
    ("/health", "the health of the service"),
    ("/metrics", "metrics for Prometheus"),
];

/// Standard output: colours and a progress bar on a terminal, plain lines elsewhere.
pub(crate) struct Console {
    address: SocketAddr,
    minutes: u64,
    bar: Option<ProgressBar>,
}

impl Console {
    /// A console; on a terminal, with a progress bar for this many minutes.
    pub(crate) fn new(address: SocketAddr, minutes: u64) -> Result<Self, TemplateError> {
        let style = ProgressStyle::with_template(
            "  {prefix} [{bar:30}] {human_pos}/{human_len} messages  {msg}",
        )?;
        let on_terminal = io::stdout().is_terminal();
        Ok(Self {
            address,
            minutes,
            bar: on_terminal.then(|| ProgressBar::new(minutes).with_style(style)),
        })
    }

    /// Writes a line above the bar. Ignores a closed stdout, so that the demo goes on serving.
    pub(crate) fn line(&self, text: &str) {
        let write = || drop(writeln!(anstream::stdout(), "{text}"));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// The file, its replay speed and the routes to try.
    pub(crate) fn header(&self, cli: &Cli, scope: &Scope, already_stored: &Totals) {
        let (first, last, minutes) = (
            minute(scope.first()),
            minute(scope.last()),
            HumanCount(self.minutes),
        );
        self.line(&format!(
            "{BOLD}Transaction Monitoring System{BOLD:#}: {minutes} minutes of {}\n{first} to {last} UTC, {}\n",
            cli.file().display(),
            pace(cli.speed, scope.length())
        ));
        for (path, about) in ROUTES {
            self.line(&format!(
                "  http://{}{path:<24}{DIM}{about}{DIM:#}",
                self.address
            ));
        }
        if let Some(database) = cli.database.as_ref().filter(|_| already_stored.minutes > 0) {
            self.line(&format!(
                "\n{} already has {} of these minutes. They are sent again and change nothing; only new alerts are shown.",
                database.display(),
                HumanCount(already_stored.minutes)
            ));
        }
        self.line("\nCRITICAL alerts as they are raised (WARNINGs are only counted):\n");
    }

    /// Shows a CRITICAL alert. WARNINGs are too many to show each.
    pub(crate) fn alert(&self, alert: &Alert) {
        if alert.severity() != Severity::Critical {
            return;
        }
        let when = alert
            .anomaly()
            .map_or_else(|| "now".to_owned(), |anomaly| minute(anomaly.minute));
        let reason = alert
            .message
            .strip_prefix("CRITICAL: ")
            .unwrap_or(&alert.message);
        let submitted = if alert.subject.origin() == Origin::Evaluate {
            " (submitted to /alerts/evaluate)"
        } else {
            ""
        };
        self.line(&format!(
            "  {RED}CRITICAL{RED:#} {when:<16}  {reason}{submitted}"
        ));
    }

    /// Shows a labelled incident that an alert has caught.
    pub(crate) fn caught(&self, incident: &LabelledIncident, by: Minute, severity: Severity) {
        let delay = match by.since(incident.start) {
            0 => "in its first minute".to_owned(),
            minutes => format!("{minutes} min after its start"),
        };
        let by = if severity == Severity::Critical {
            ""
        } else {
            ", by a WARNING"
        };
        let (start, incident) = (minute(incident.start), incident.name());
        self.line(&format!(
            "  {GREEN}CAUGHT  {GREEN:#} {start}  the {incident} that starts here, {delay}{by}"
        ));
    }

    /// Shows the progress of the replay.
    pub(crate) fn progress(&self, progress: &Progress, rows: u64, warnings: usize) {
        let (Some(newest), Some(all)) = (progress.minute, progress.expected) else {
            return;
        };
        let sent = progress.sent;
        let found = format!("{} rows, WARNINGs: {warnings}", HumanCount(rows));
        if let Some(bar) = &self.bar {
            bar.set_length(all);
            bar.set_position(sent);
            bar.set_prefix(minute(newest));
            bar.set_message(found);
        } else {
            let (sent, all) = (HumanCount(sent), HumanCount(all));
            self.line(&format!(
                "  ...      {}  {sent} of {all} messages, {found}",
                minute(newest)
            ));
        }
    }

    /// Interval of [`Console::progress`].
    pub(crate) const fn progress_interval(&self) -> Duration {
        if self.bar.is_some() {
            Duration::from_millis(100)
        } else {
            Duration::from_secs(5)
        }
    }

    /// Removes the progress bar.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// Compares the stored totals with those of the file.
    pub(crate) fn totals(&self, outcome: &Outcome, expected: &Totals, shape: Shape) {
        self.line(&format!(
            "\n{BOLD}The end of the file{BOLD:#}{:>22}{:>15}",
            "stored", "in the file"
        ));
        let line = |what: &str, stored: u64, expected: u64| {
            let differs = if stored == expected {
                String::new()
            } else {
                format!("  {RED}DIFFERS{RED:#}")
            };
            let (stored, expected) = (
                HumanCount(stored).to_string(),
                HumanCount(expected).to_string(),
            );
            self.line(&format!("  {what:<24}{stored:>15}{expected:>15}{differs}"));
        };
        let stored = &outcome.totals;
        if shape == Shape::Minutes {
            line("rows", stored.rows, expected.rows);
            line("minutes", stored.minutes, expected.minutes);
        }
        let total =
            |totals: &Totals, status: &str| totals.statuses.get(status).copied().unwrap_or(0);
        let mut statuses: Vec<_> = stored
            .statuses
            .keys()
            .chain(expected.statuses.keys())
            .collect();
        statuses.sort_unstable();
        statuses.dedup();
        for status in statuses {
            line(status, total(stored, status), total(expected, status));
        }
        self.line(if outcome.as_in_file {
            "  They agree: everything in the file is stored once."
        } else {
            "  They differ; check the log and /dead-letters for the reason."
        });
    }

    /// Shows the scorecards side by side, and each incident that a policy missed or found late.
    pub(crate) fn scorecard(
        &self,
        scorecards: &[(PolicyName, Scorecard)],
        incidents: &[LabelledIncident],
        cli: &Cli,
    ) {
        let labels = cli.incidents().display();
        let roles = ["alerts", "in shadow"];
        let columns = scorecards.iter().zip(roles).map(|((policy, _), role)| {
            format!("{BOLD}{:<29}{BOLD:#}", format!("{policy} ({role})"))
        });
        let heading = format!(
            "\n{BOLD}Scorecard{BOLD:#}: the stored alerts against {labels}\n{:29}{}",
            "",
            columns.collect::<String>()
        );
        self.line(&format!("{heading}\n{}", SideBySide(scorecards)));
        for (policy, scorecard) in scorecards {
            self.missed(*policy, scorecard, incidents);
        }
    }

    fn missed(&self, policy: PolicyName, scorecard: &Scorecard, incidents: &[LabelledIncident]) {
        let incidents = incidents.iter().filter(|incident| incident.alert);
        for ((incident, delay), late) in incidents.zip(&scorecard.delays).zip(&scorecard.late) {
            let (start, name) = (minute(incident.start), incident.name());
            match (delay, late) {
                (Some(_), _) => {}
                (None, Some(late)) => self.line(&format!(
                    "  LATE     {policy:<8} {start}  {name}, {late} min after its start"
                )),
                (None, None) => {
                    self.line(&format!(
                        "  {RED}MISSED  {RED:#} {policy:<8} {start}  {name}"
                    ));
                }
            }
        }
    }

    /// Shows how many notifications were delivered.
    pub(crate) fn deliveries(&self, OutboxState { pending, dead, .. }: OutboxState) {
        self.line(&match pending + dead {
            0 => "\nEvery notification was delivered to --webhook-url.".to_owned(),
            open => format!(
                "\n{open} notifications were not delivered; check the receiver of --webhook-url."
            ),
        });
    }

    /// Shows that the service goes on after the replay.
    pub(crate) fn serving_on(&self) {
        self.line(&format!(
            "\nStill serving on http://{}; stop with Ctrl-C.",
            self.address
        ));
    }
}

/// The replay speed and the time the replay takes.
fn pace(speed: Speed, minutes: i64) -> String {
    match (speed, u32::try_from(minutes)) {
        (Speed::Times(times), Ok(minutes)) => {
            let takes = Duration::from_secs_f64((f64::from(minutes) * 60.0 / times).round());
            format!(
                "at {speed} times real time: {}",
                humantime::format_duration(takes)
            )
        }
        _ => "as fast as possible".to_owned(),
    }
}

fn minute(minute: Minute) -> String {
    minute.start().strftime("%Y-%m-%d %H:%M").to_string()
}
