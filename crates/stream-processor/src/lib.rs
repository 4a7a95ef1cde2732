//! The producer side: replays minute counts from a CSV file into Kafka, at any speed and in any shape.
//!
//! `replay` computes when each minute is due and `shape` its messages (both pure), `pacer` waits for
//! them, `producer` sends them and accounts for every delivery, and [`run()`] connects them. [`execute`] adds what only the command has:
//! terminal, signals, exit code. No count is evaluated here.

use std::io::{IsTerminal, Write, stderr, stdout};
use std::process::ExitCode;

use common::clock::Clock;
use common::metrics::MetricsRegistry;
use common::signals::StopSignals;
use tokio::{select, try_join};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use transaction_csv::Loaded;

pub use crate::cli::Cli;
pub use crate::metrics::ProcessorMetrics;
pub use crate::pacer::{Command, Handle, Progress, Remote, remote};
pub use crate::producer::Kafka;
pub use crate::replay::{Timeline, file_minute};
pub use crate::run::{Options, resume, run};
pub use crate::shape::Shape;
pub use crate::speed::Speed;
pub use crate::summary::Summary;

pub mod cli;
mod controls;
mod input;
mod metrics;
mod pacer;
mod producer;
mod progress;
mod replay;
mod run;
mod shape;
mod speed;
mod summary;

/// Exit code of a replay that the user stopped early; shells use it for an interrupt.
const EXIT_INTERRUPTED: u8 = 130;

/// The whole command after parsing: load the file, then print its totals or replay it. The exit code
/// says whether all of it was sent.
pub async fn execute(cli: &Cli) -> anyhow::Result<ExitCode> {
    let options = cli.options();
    let loaded = input::load(&cli.input)?;
    if cli.dry_run {
        let summary = Summary::of(&loaded, cli.shape);
        writeln!(stdout(), "{summary}\nDry run: nothing was sent.")?;
        return Ok(ExitCode::SUCCESS);
    }
    let summary = send(cli, &loaded, &options).await?;
    report(&summary, &options);
    let early = summary.stopped_at.is_some() && options.timeline != Timeline::RebasedForEver;
    Ok(if early {
        ExitCode::from(EXIT_INTERRUPTED)
    } else {
        ExitCode::SUCCESS
    })
}

/// Replays the file, with signals, keys, progress and metrics.
async fn send(cli: &Cli, loaded: &Loaded, options: &Options) -> anyhow::Result<Summary> {
    let registry = MetricsRegistry::new();
    let metrics = ProcessorMetrics::new(&registry);
    let listener = metrics::bind(cli.metrics_addr).await?;
    let mut signals = StopSignals::listen()?;
    let shutdown = CancellationToken::new();
    let (remote, handle) = remote();
    let on_terminal = stderr().is_terminal();
    let keys = on_terminal
        .then(|| controls::Keys::listen(handle.commands, shutdown.clone()))
        .flatten();
    let stop = async {
        signals.next().await;
        shutdown.cancel();
        Ok(())
    };
    let acknowledged = metrics.messages_produced.clone();
    let show = async {
        progress::show(handle.progress, acknowledged, on_terminal, keys.is_some()).await;
        Ok(())
    };
    // Ends only on an error: showing and serving never end.
    let beside = async { try_join!(stop, metrics::serve(listener, registry), show) };
    select! {
        biased;
        Err(error) = beside => Err(error),
        summary = run(loaded, options, &metrics, remote, Clock::system(), &shutdown) => summary,
    }
}

/// Reports the end on the terminal, or in the log.
fn report(summary: &Summary, options: &Options) {
    let Summary {
        minutes,
        messages,
        rows,
        skipped,
        left_out,
        absent,
        ..
    } = *summary;
    if stderr().is_terminal() {
        // If the terminal is gone, the messages are still sent.
        let _ = writeln!(stderr(), "{summary}");
    } else {
        info!(
            minutes,
            messages, rows, skipped, left_out, absent, "all messages sent are acknowledged"
        );
    }
    if let Some(minute) = summary.stopped_at {
        warn!(before = %minute, "stopped early; {}", resume(minute, options));
    }
}
