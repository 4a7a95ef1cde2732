//! What the demo shows, and how it looks. Decides nothing: it is handed what was found.

use std::{
    io::{self, IsTerminal as _, Write as _},
    net::SocketAddr,
    time::Duration,
};

use anstyle::{AnsiColor, Style};
use detection::{Minute, Severity};
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use monitoring_service::{
    alerts::{Alert, Origin},
    store::OutboxState,
};
use stream_processor::Speed;

use crate::{
    Outcome,
    cli::Cli,
    labels::Incident,
    scorecard::Scorecard,
    stored::{Scope, Totals},
};

const BOLD: Style = Style::new().bold();
const DIM: Style = Style::new().dimmed();
const RED: Style = AnsiColor::Red.on_default().bold();
const GREEN: Style = AnsiColor::Green.on_default().bold();

/// Where there is something to see.
const ROUTES: [(&str, &str); 7] = [
    ("/docs", "all of the API, to try out"),
    ("/alerts/status", "how everything stands"),
    ("/alerts", "what was found, newest first"),
    ("/streams", "how fresh each stream is"),
    ("/transactions/summary", "what was counted"),
    ("/health", "how the service is"),
    ("/metrics", "figures for Prometheus"),
];

/// Standard output: colours and a progress bar on a terminal, plain lines elsewhere.
pub(crate) struct Console {
    address: SocketAddr,
    minutes: u64,
    bar: Option<ProgressBar>,
}

impl Console {
    /// Shows a bar for this many minutes if it is on a terminal.
    pub(crate) fn new(address: SocketAddr, minutes: u64) -> Self {
        let bar = io::stdout().is_terminal().then(|| {
            let style = ProgressStyle::with_template(
                "  {prefix} [{bar:30}] {human_pos}/{human_len} minutes  {msg}",
            );
            ProgressBar::new(minutes).with_style(style.expect("the template is valid"))
        });
        Self {
            address,
            minutes,
            bar,
        }
    }

    /// Writes a line above the bar. A reader that went away is no fault of the demo: it goes on serving.
    pub(crate) fn line(&self, text: &str) {
        let write = || drop(writeln!(anstream::stdout(), "{text}"));
        match &self.bar {
            Some(bar) => bar.suspend(write),
            None => write(),
        }
    }

    /// What is going to happen, and where to look.
    pub(crate) fn header(&self, cli: &Cli, scope: &Scope, held: &Totals) {
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
        if let Some(database) = cli.database.as_ref().filter(|_| held.minutes > 0) {
            self.line(&format!(
                "\n{} holds {} of these minutes already: they are sent again and change nothing, so only what is new is shown.",
                database.display(),
                HumanCount(held.minutes)
            ));
        }
        self.line("\nCRITICAL alerts as they are found (WARNINGs are only counted):\n");
    }

    /// An alert that went out. WARNINGs are not shown one by one: there are too many to read.
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

    /// A labelled incident that an alert has found.
    pub(crate) fn caught(&self, incident: &Incident, by: Minute, severity: Severity) {
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

    /// How far the replay is.
    pub(crate) fn progress(&self, newest: Option<Minute>, sent: u64, rows: u64, warnings: usize) {
        let Some(newest) = newest else { return };
        let found = format!("{} rows, WARNINGs: {warnings}", HumanCount(rows));
        if let Some(bar) = &self.bar {
            bar.set_position(sent);
            bar.set_prefix(minute(newest));
            bar.set_message(found);
        } else {
            let (sent, all) = (HumanCount(sent), HumanCount(self.minutes));
            self.line(&format!(
                "  ...      {}  {sent} of {all} minutes, {found}",
                minute(newest)
            ));
        }
    }

    /// How often [`Console::progress`] is worth a call.
    pub(crate) const fn progress_interval(&self) -> Duration {
        if self.bar.is_some() {
            Duration::from_millis(100)
        } else {
            Duration::from_secs(5)
        }
    }

    /// Takes the bar away.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }

    /// What is stored, beside what the file says.
    pub(crate) fn totals(&self, outcome: &Outcome, expected: &Totals) {
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
        line("rows", stored.rows, expected.rows);
        line("minutes", stored.minutes, expected.minutes);
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
            "  They agree: every row of the file is stored, once."
        } else {
            "  They differ: the log and the dead letters may tell why."
        });
    }

    /// How good the alerts were.
    pub(crate) fn scorecard(&self, scorecard: &Scorecard, incidents: &[Incident], cli: &Cli) {
        let labels = cli.incidents().display();
        self.line(&format!(
            "\n{BOLD}Scorecard{BOLD:#}: the stored alerts against {labels}\n{scorecard}"
        ));
        let incidents = incidents.iter().filter(|incident| incident.alert);
        for ((incident, delay), late) in incidents.zip(&scorecard.delays).zip(&scorecard.late) {
            let (start, name) = (minute(incident.start), incident.name());
            match (delay, late) {
                (Some(_), _) => {}
                (None, Some(late)) => self.line(&format!(
                    "  LATE     {start}  {name}, {late} min after its start"
                )),
                (None, None) => self.line(&format!("  {RED}MISSED  {RED:#} {start}  {name}")),
            }
        }
    }

    /// What became of the pages.
    pub(crate) fn deliveries(&self, OutboxState { pending, dead, .. }: OutboxState) {
        self.line(&match pending + dead {
            0 => "\nThe receiver of --webhook-url has taken every page.".to_owned(),
            lost => format!("\n{lost} pages have not reached the receiver of --webhook-url: it does not take them."),
        });
    }

    /// The replay is through and the service is not.
    pub(crate) fn serving_on(&self) {
        self.line(&format!(
            "\nStill serving on http://{}; Ctrl-C ends it.",
            self.address
        ));
    }
}

/// The speed, and what it means for the person who waits.
fn pace(speed: Speed, minutes: i64) -> String {
    match (speed, u32::try_from(minutes)) {
        (Speed::Times(times), Ok(minutes)) => {
            let takes = Duration::from_secs_f64((f64::from(minutes) * 60.0 / times).round());
            format!(
                "at {speed} times real time: {}",
                humantime::format_duration(takes)
            )
        }
        _ => "as fast as it goes".to_owned(),
    }
}

fn minute(minute: Minute) -> String {
    minute.start().strftime("%Y-%m-%d %H:%M").to_string()
}
