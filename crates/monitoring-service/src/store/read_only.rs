//! The stored minutes for a program beside the service: no lock, no writer, nothing is changed. All rows are read at once and the
//! database is closed again, since a long read transaction would keep the service from restarting its write-ahead log.

use detection::{Minute, MinuteCounts, Stream, backtest::LabelledIncident};

use super::{
    Database, DatabaseAddress, Store, StoreError,
    engine::{self, Sql, params},
    minutes::observed_minutes,
    postgres::Server,
    readers::{Readers, Waiting},
    sqlite,
};

/// Minutes that are read at most: they are all in memory, about 300 bytes each.
const MAX_MINUTES: usize = 5_000_000;

/// Which minutes: those in [from, to) of one stream, or of all.
#[derive(Clone, Debug, Default)]
pub(crate) struct MinuteFilter {
    /// Of this stream only.
    pub(crate) stream: Option<Stream>,
    /// From this minute on.
    pub(crate) from: Option<Minute>,
    /// Before this minute.
    pub(crate) to: Option<Minute>,
}

/// The stored counts of the monitored statuses as the messages that would state them, by minute, then stream. Works while a service
/// uses the database, and on a database that no service uses. It fails if the file is missing or not ours, and above 5 million minutes.
pub(crate) fn stored_minutes(
    database: &DatabaseAddress,
    filter: &MinuteFilter,
) -> Result<Vec<MinuteCounts>, StoreError> {
    query(database, |sql| read(sql, filter))
}

/// The incidents that people labelled (`POST /incidents/{id}/feedback`), oldest first, from a database as above. An incident that is
/// open ends after its newest minute.
pub(crate) fn labelled_incidents(
    database: &DatabaseAddress,
) -> Result<Vec<LabelledIncident>, StoreError> {
    query(database, labelled)
}

/// Runs one query on a connection of its own.
fn query<T>(
    database: &DatabaseAddress,
    query: impl FnOnce(Sql<'_>) -> Result<T, StoreError>,
) -> Result<T, StoreError> {
    let database = match database {
        DatabaseAddress::File(path) if !path.is_file() => {
            return Err(StoreError::Broken(format!(
                "there is no database {}; check the path, relative to the working directory",
                path.display()
            )));
        }
        DatabaseAddress::File(path) => {
            sqlite::check(path)?;
            Database::File(path.clone())
        }
        DatabaseAddress::Postgres(url) => Database::Server(Server::new(url.clone())?),
    };
    Readers::new(database).run(&Waiting::default(), query)
}

fn labelled(sql: Sql<'_>) -> Result<Vec<LabelledIncident>, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT stream, opened_at_ms / 60000, coalesce(ended_at_ms / 60000, minute + 1), verdict FROM incidents
         WHERE verdict IS NOT NULL AND kind = 'anomaly' ORDER BY opened_at_ms, seq",
    )?;
    let rows = statement.query_map(params![], |row| {
        let (stream, verdict): (String, String) = (row.get(0)?, row.get(3)?);
        Ok(LabelledIncident {
            stream: Some(stream.parse().map_err(engine::Error::unreadable)?),
            start: Minute::from_epoch_minutes(row.get(1)?),
            end: Minute::from_epoch_minutes(row.get(2)?),
            alert: verdict == "real",
            kind: verdict,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

impl Store {
    /// The same within the service.
    pub(crate) async fn stored_counts(
        &self,
        filter: MinuteFilter,
    ) -> Result<Vec<MinuteCounts>, StoreError> {
        self.scan(move |sql| read(sql, &filter)).await
    }
}

fn read(sql: Sql<'_>, filter: &MinuteFilter) -> Result<Vec<MinuteCounts>, StoreError> {
    let from = filter.from.unwrap_or(Minute::from_epoch_minutes(i64::MIN));
    let mut minutes = Vec::new();
    for (id, name) in streams(sql, filter)? {
        let stream = name
            .parse::<Stream>()
            .map_err(|error| StoreError::Broken(error.to_string()))?;
        let (last, since) = (filter.to.map(|to| to.plus(-1)), from.plus(-1));
        let observed = observed_minutes(sql, id, last, 0, Some(since))?;
        if minutes.len() + observed.len() > MAX_MINUTES {
            return Err(StoreError::Broken(format!(
                "the range has more than {MAX_MINUTES} minutes; choose one stream or a shorter range"
            )));
        }
        let counts = observed
            .iter()
            .map(|observed| MinuteCounts::of_observed(stream.clone(), observed));
        minutes.extend(counts);
    }
    minutes.sort_by(|a, b| (a.minute(), a.stream()).cmp(&(b.minute(), b.stream())));
    Ok(minutes)
}

fn streams(sql: Sql<'_>, filter: &MinuteFilter) -> Result<Vec<(i64, String)>, StoreError> {
    let name = filter.stream.as_ref().map(Stream::as_str);
    let mut statement = sql.prepare_cached(
        "SELECT id, name FROM streams WHERE CAST(?1 AS TEXT) IS NULL OR name = ?1 ORDER BY name",
    )?;
    let rows = statement.query_map(params![name], |row| Ok((row.get(0)?, row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}
