//! Opens the database. While a PostgreSQL server is away, it waits here, and answers the probes.

use std::time::Duration;

use anyhow::Context as _;
use common::metrics::MetricsRegistry;
use tokio::{net::TcpListener, sync::watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    routes,
    store::{DatabaseAddress, PostgresUrl, Store, StoreError, Writer},
};

/// Interval of the attempts.
const ATTEMPT_INTERVAL: Duration = Duration::from_secs(1);

/// The open database, and the listener to serve on; none if the service was stopped before.
pub(crate) async fn open(
    config: &Config,
    listener: TcpListener,
    registry: &MetricsRegistry,
    stop: &CancellationToken,
) -> anyhow::Result<Option<(Store, Writer, TcpListener)>> {
    let url = match config.database() {
        DatabaseAddress::File(path) => {
            let (store, writer) = Store::open(&path)?;
            return Ok(Some((store, writer, listener)));
        }
        DatabaseAddress::Postgres(url) => url,
    };
    let reason = match attempt(&url).await? {
        Attempt::Opened(opened) => {
            let (store, writer) = *opened;
            return Ok(Some((store, writer, listener)));
        }
        Attempt::NotYet(reason) => reason,
    };
    tracing::warn!(reason, "waiting for the database");
    let (say, reason) = watch::channel(reason);
    let listener = listener.into_std().context("cannot share the listener")?;
    let shared = TcpListener::from_std(listener.try_clone()?)?;
    let (router, serving) = (
        routes::waiting::router(registry.clone(), reason),
        CancellationToken::new(),
    );
    let served = http_listener::serve(shared, router, config.keep_alive, serving.clone());
    let waited = async {
        let opened = wait(&url, &say, stop).await;
        serving.cancel();
        opened
    };
    let ((), opened) = tokio::join!(served, waited);
    Ok(match opened? {
        Some((store, writer)) => Some((store, writer, TcpListener::from_std(listener)?)),
        None => None,
    })
}

/// Tries until the database is open; none after the stop.
async fn wait(
    url: &PostgresUrl,
    say: &watch::Sender<String>,
    stop: &CancellationToken,
) -> anyhow::Result<Option<(Store, Writer)>> {
    loop {
        if tokio::time::timeout(ATTEMPT_INTERVAL, stop.cancelled())
            .await
            .is_ok()
        {
            return Ok(None);
        }
        match attempt(url).await? {
            Attempt::Opened(opened) => return Ok(Some(*opened)),
            Attempt::NotYet(reason) => {
                if *say.borrow() != reason {
                    tracing::warn!(reason, "waiting for the database");
                    say.send_replace(reason);
                }
            }
        }
    }
}

/// The outcome of an attempt.
enum Attempt {
    Opened(Box<(Store, Writer)>),
    NotYet(String),
}

async fn attempt(url: &PostgresUrl) -> anyhow::Result<Attempt> {
    let url = url.clone();
    let attempt = tokio::task::spawn_blocking(move || match Store::connect(url) {
        Ok(opened) => Ok(Attempt::Opened(Box::new(opened))),
        Err(StoreError::Unavailable(reason) | StoreError::Conflict(reason)) => {
            Ok(Attempt::NotYet(reason))
        }
        Err(error) => Err(error),
    });
    Ok(attempt.await.context("opening the database panicked")??)
}
