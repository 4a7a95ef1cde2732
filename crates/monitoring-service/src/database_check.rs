//! Checks the whole database: once after each start, beside everything else, and by the command `check`.

use std::{
    io::{Write as _, stderr, stdout},
    process::ExitCode,
    time::Duration,
};

use tokio_util::sync::CancellationToken;

use crate::{
    context::Context,
    store::{self, DatabaseAddress, StoreError},
};

/// Pause after a check that was interrupted.
const RETRY_PAUSE: Duration = Duration::from_mins(1);

/// Checks until the whole database was checked once; damage ends the service.
pub(crate) async fn run(context: Context, stop: CancellationToken) -> anyhow::Result<()> {
    let checked = async {
        loop {
            match context.store.check_integrity().await {
                // The writer needed the write-ahead log, which a long query holds.
                Err(StoreError::Unavailable(reason)) => {
                    tracing::debug!(reason, "check of the database interrupted; retried later");
                }
                checked => break checked,
            }
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => return Ok(()),
        checked = checked => {
            if checked? {
                context.store.note_checked(context.clock.now_ms());
                tracing::info!("database checked, no damage found");
            }
        }
    }
    stop.cancelled().await;
    Ok(())
}

/// The command `check`: prints what it finds. Exit code 1 if the database is damaged, cannot be read, or is not a file.
pub fn command(database: &DatabaseAddress) -> ExitCode {
    let DatabaseAddress::File(path) = database else {
        let _ = writeln!(
            stderr(),
            "error: only a file of SQLite is checked here; check {database} with the tools of PostgreSQL: pg_amcheck, and data checksums"
        );
        return ExitCode::FAILURE;
    };
    match store::check_database(path) {
        Ok(pages) => {
            let path = path.display();
            let _ = writeln!(stdout(), "{path}: no damage found in {pages} pages");
            ExitCode::SUCCESS
        }
        Err(error) => {
            let _ = writeln!(stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}
