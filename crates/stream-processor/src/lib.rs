//! The producer side: a CSV file of counts per minute becomes Kafka messages, at the speed that is asked for.
//!
//! [`loader`] reads and groups, [`replay`] says when each minute is due (pure), `pacer` waits for it, `producer` sends it and accounts for every
//! acknowledgement, and [`run()`] puts them together. [`execute`] adds what only the command has: terminal, signals, exit code.
//! Nothing here judges a count.

use std::{
    io::{IsTerminal, Write, stderr, stdout},
    process::ExitCode,
};

use common::metrics::MetricsRegistry;
use tokio::{select, try_join};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use crate::{
    cli::Cli,
    metrics::ProcessorMetrics,
    pacer::{Clock, Command, Handle, Progress, Remote, remote},
    producer::Kafka,
    properties::Properties,
    replay::{Speed, Timeline},
    run::{Options, resume, run},
    summary::Summary,
};

pub mod cli;
mod controls;
pub mod loader;
mod metrics;
mod pacer;
mod producer;
mod progress;
mod properties;
pub mod replay;
mod run;
mod summary;

use crate::loader::Loaded;

/// Stopped by the user before the end, as a shell counts an interrupt.
const INTERRUPTED: u8 = 130;

/// The whole command after parsing: read, then print or send. The exit code says whether all of it was sent.
pub async fn execute(cli: &Cli) -> anyhow::Result<ExitCode> {
    let options = cli.options()?;
    let loaded = loader::load_file(&cli.file, &cli.load_options()?)?;
    for example in &loaded.examples {
        warn!(file = %cli.file.display(), row = %example, skipped = loaded.skipped, "bad row skipped");
    }
    if cli.dry_run {
        let summary = Summary::of(&loaded.batches, loaded.skipped);
        writeln!(stdout(), "{summary}\nDry run: nothing was sent.")?;
        return Ok(ExitCode::SUCCESS);
    }
    let summary = send(cli, &loaded, &options).await?;
    report(&summary, &options);
    let early = summary.stopped_at.is_some() && options.timeline != Timeline::RebasedForEver;
    Ok(if early {
        ExitCode::from(INTERRUPTED)
    } else {
        ExitCode::SUCCESS
    })
}

/// The replay, with all that goes on beside it.
async fn send(cli: &Cli, loaded: &Loaded, options: &Options) -> anyhow::Result<Summary> {
    let registry = MetricsRegistry::new();
    let own = ProcessorMetrics::new(&registry);
    let listener = metrics::bind(cli.metrics_addr).await?;
    let shutdown = CancellationToken::new();
    let (remote, handle) = remote();
    let on_terminal = stderr().is_terminal();
    let keys = on_terminal
        .then(|| controls::Keys::listen(handle.commands, shutdown.clone()))
        .flatten();
    // None of these ends by itself: they are wanted until the replay is over.
    let beside = async {
        let show = async {
            progress::show(
                handle.progress,
                own.messages_produced.clone(),
                on_terminal,
                keys.is_some(),
            )
            .await;
            Ok(())
        };
        try_join!(
            controls::stop_at_signal(&shutdown),
            metrics::serve(listener, registry),
            show
        )
    };
    select! {
        biased;
        Err(error) = beside => Err(error),
        summary = run(loaded, options, &own, remote, Clock::System, &shutdown) => summary,
    }
}

/// The end, for a person or for the log.
fn report(summary: &Summary, options: &Options) {
    let Summary {
        minutes,
        batches,
        rows,
        skipped,
        ..
    } = *summary;
    if stderr().is_terminal() {
        // A terminal that is gone is no reason to fail: all is sent.
        let _ = writeln!(stderr(), "{summary}");
    } else {
        info!(
            minutes,
            messages = batches,
            rows,
            skipped,
            "all that was sent is acknowledged"
        );
    }
    if let Some(minute) = summary.stopped_at {
        warn!(before = %minute, "stopped; {}", resume(minute, options.timeline));
    }
}
