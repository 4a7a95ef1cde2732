//! The watchdog: ends the process when a task hangs. It restarts nothing; the process manager does.

use std::thread;
use std::time::Duration;

use anyhow::Context as _;
use tokio_util::sync::CancellationToken;

use super::exit;

/// Checks, a second apart, without a report of a task until the watchdog ends the process.
const MAX_UNREPORTED_CHECKS: u32 = 60;

/// Interval of the watchdog's checks.
const WATCHDOG_INTERVAL: Duration = Duration::from_secs(1);

/// Exit code of a process that its watchdog ended (`EX_SOFTWARE`).
const EXIT_HUNG: i32 = 70;

/// Ends the process when a task has not reported for a minute, so that a hung task cannot keep the
/// service up. Runs on a thread of its own. `last_reports` returns each task's name and a number that
/// changes with every report.
///
/// It counts checks and reads no clock, so a clock jump or a suspended machine does not look like a hang.
pub(crate) fn watchdog<R>(
    stop: CancellationToken,
    last_reports: impl Fn() -> R + Send + 'static,
) -> anyhow::Result<()>
where
    R: IntoIterator<Item = (&'static str, i64)>,
{
    let check = move || {
        let mut watched = Vec::new();
        while !stop.is_cancelled() {
            if let Some(task) = hung(&mut watched, last_reports()) {
                let checks = MAX_UNREPORTED_CHECKS;
                tracing::error!(task, checks, "task hangs; ending the process");
                exit(EXIT_HUNG);
            }
            thread::sleep(WATCHDOG_INTERVAL);
        }
    };
    thread::Builder::new()
        .name("watchdog".to_owned())
        .spawn(check)
        .context("cannot start thread watchdog")?;
    Ok(())
}

/// The state of a task at the last check.
struct Watched {
    name: &'static str,
    last_report: i64,
    unreported_checks: u32,
}

/// The first task without a report for too many checks, if any.
fn hung(
    watched: &mut Vec<Watched>,
    last_reports: impl IntoIterator<Item = (&'static str, i64)>,
) -> Option<&'static str> {
    for (name, last_report) in last_reports {
        match watched.iter_mut().find(|task| task.name == name) {
            Some(task) if task.last_report == last_report => task.unreported_checks += 1,
            Some(task) => (task.last_report, task.unreported_checks) = (last_report, 0),
            None => watched.push(Watched {
                name,
                last_report,
                unreported_checks: 0,
            }),
        }
    }
    let hung = |task: &&Watched| task.unreported_checks >= MAX_UNREPORTED_CHECKS;
    watched.iter().find(hung).map(|task| task.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_task_hangs_after_sixty_unreported_checks() {
        let mut watched = Vec::new();
        for check in 0..60 {
            assert_eq!(
                hung(&mut watched, [("alive", check), ("stuck", 7)]),
                None,
                "check {check}"
            );
        }
        assert_eq!(
            hung(&mut watched, [("alive", 60), ("stuck", 7)]),
            Some("stuck")
        );
        assert_eq!(hung(&mut watched, [("alive", 61), ("stuck", 8)]), None);
    }
}
