//! How the partitions move on, from the offsets in the database.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Result;
use tokio::time::{Instant, sleep};
use tokio_postgres::NoTls;

const POLL: Duration = Duration::from_millis(100);

/// A connection to the database.
#[expect(
    clippy::disallowed_methods,
    reason = "its errors are those of the client"
)]
pub(crate) async fn connect(database: &str) -> Result<tokio_postgres::Client> {
    let (client, connection) = tokio_postgres::connect(database, NoTls).await?;
    drop(tokio::spawn(connection));
    Ok(client)
}

/// When each partition moved on.
#[derive(Clone, Default)]
pub(crate) struct Moves(Arc<Mutex<Vec<(Instant, i64)>>>);

impl Moves {
    fn note(&self, partition: i64) {
        let mut moves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        moves.push((Instant::now(), partition));
    }

    /// How long the partition stood still that stood still longest after this.
    pub(crate) fn pause_after(&self, since: Instant) -> Duration {
        let moves = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let partitions: BTreeSet<_> = moves.iter().map(|(_, partition)| *partition).collect();
        let end = Instant::now();
        let pause = |partition: i64| {
            let of_it = moves.iter().filter(|(_, of)| *of == partition);
            let mut last = since;
            let mut longest = Duration::ZERO;
            for (at, _) in of_it.filter(|(at, _)| *at > since) {
                longest = longest.max(*at - last);
                last = *at;
            }
            longest.max(end - last)
        };
        partitions.into_iter().map(pause).max().unwrap_or_default()
    }
}

/// Watches the stored offsets.
pub(crate) async fn watch(database: String, moves: Moves) {
    let mut known = BTreeMap::new();
    loop {
        let Ok(client) = connect(&database).await else {
            sleep(POLL).await;
            continue;
        };
        while let Ok(rows) = client
            .query("SELECT partition, last_offset FROM offsets", &[])
            .await
        {
            for row in rows {
                let (partition, offset): (i64, i64) = (row.get(0), row.get(1));
                if known.insert(partition, offset) != Some(offset) {
                    moves.note(partition);
                }
            }
            sleep(POLL).await;
        }
    }
}
