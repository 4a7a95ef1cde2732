//! What the instances committed, in order: a trigger notes each change of an offset in the transaction that changes it.

use std::{collections::BTreeMap, fmt, time::Duration};

use anyhow::{Context as _, Result};
use tokio::time::{Instant, sleep};
use tokio_postgres::{Client, NoTls};

use crate::report::Checks;

const POLL: Duration = Duration::from_millis(5);
/// A server that is restarted answers again within this time.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// Beside the tables of the instances.
const INSTALL: &str = "CREATE SCHEMA campaign;
    CREATE TABLE campaign.moves (id BIGSERIAL PRIMARY KEY, at_s DOUBLE PRECISION NOT NULL DEFAULT extract(epoch FROM clock_timestamp()),
        instance TEXT NOT NULL DEFAULT current_setting('application_name'), partition BIGINT NOT NULL,
        from_offset BIGINT NOT NULL, to_offset BIGINT NOT NULL);
    CREATE FUNCTION campaign.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO campaign.moves (partition, from_offset, to_offset) VALUES (NEW.partition, OLD.last_offset, NEW.last_offset);
        RETURN NULL; END $$;
    CREATE TRIGGER note AFTER UPDATE ON offsets FOR EACH ROW WHEN (OLD.last_offset <> NEW.last_offset) EXECUTE FUNCTION campaign.note()";

/// An owner that lost a partition gets it back by the group, which takes longer than this, seconds.
const SHORTEST_RETURN_S: f64 = 2.0;

/// One change of an offset.
struct Move {
    at_s: f64,
    instance: String,
    partition: i64,
    from_offset: i64,
    to_offset: i64,
}

/// The changes of the offsets.
pub(crate) struct Ledger {
    database: String,
}

impl Ledger {
    /// Begins to note. The tables of the instances are there.
    pub(crate) async fn install(database: String) -> Result<Self> {
        let ledger = Self { database };
        ledger.client().await?.batch_execute(INSTALL).await?;
        Ok(ledger)
    }

    /// A connection to the database, also after a restart of its server.
    pub(crate) async fn client(&self) -> Result<Client> {
        let since = Instant::now();
        loop {
            match connect(&self.database).await {
                Ok(client) => return Ok(client),
                Err(error) if since.elapsed() > CONNECT_TIMEOUT => return Err(error),
                Err(_) => sleep(POLL).await,
            }
        }
    }

    /// The time, seconds since 1970.
    pub(crate) async fn now_s(&self) -> Result<f64> {
        const NOW: &str = "SELECT CAST(extract(epoch FROM clock_timestamp()) AS DOUBLE PRECISION)";
        let row = self.client().await?.query_one(NOW, &[]).await?;
        Ok(row.get(0))
    }

    /// Waits for what is committed from now on.
    pub(crate) async fn watch(&self) -> Result<Watch> {
        const NEWEST: &str = "SELECT coalesce(max(id), 0) FROM campaign.moves";
        let client = self.client().await?;
        let newest = client.query_one(NEWEST, &[]).await?.get(0);
        Ok(Watch { client, newest })
    }

    /// How long the partition stood still that stood still longest since this time.
    pub(crate) async fn pause_since(&self, since_s: f64) -> Result<Duration> {
        const PARTITIONS: &str = "SELECT DISTINCT partition FROM campaign.moves";
        const SINCE: &str =
            "SELECT partition, at_s FROM campaign.moves WHERE at_s > $1 ORDER BY id";
        let (client, end_s) = (self.client().await?, self.now_s().await?);
        let rows = client.query(PARTITIONS, &[]).await?;
        // Of each: its last move, and the longest pause before it.
        let new = |row: &tokio_postgres::Row| (row.get::<_, i64>(0), (since_s, 0.0_f64));
        let mut pauses: BTreeMap<_, _> = rows.iter().map(new).collect();
        for row in client.query(SINCE, &[&since_s]).await? {
            let (last_s, longest_s) = pauses.entry(row.get(0)).or_insert((since_s, 0.0));
            let at_s: f64 = row.get(1);
            *longest_s = longest_s.max(at_s - *last_s);
            *last_s = at_s;
        }
        let pauses = pauses.into_values();
        let pauses = pauses.map(|(last_s, longest_s)| longest_s.max(end_s - last_s));
        Ok(Duration::from_secs_f64(pauses.fold(0.0, f64::max)))
    }

    /// Each commit goes on, and none of a former owner comes between those of the owner.
    pub(crate) async fn check(&self, checks: &Checks) -> Result<()> {
        const ALL: &str = "SELECT at_s, instance, partition, from_offset, to_offset FROM campaign.moves ORDER BY id";
        let rows = self.client().await?.query(ALL, &[]).await;
        let mut partitions = BTreeMap::<i64, Vec<Move>>::new();
        for row in rows.context("reading the moves")? {
            let step = Move {
                at_s: row.get(0),
                instance: row.get(1),
                partition: row.get(2),
                from_offset: row.get(3),
                to_offset: row.get(4),
            };
            partitions.entry(step.partition).or_default().push(step);
        }
        for moves in partitions.values() {
            for step in moves {
                checks.that(
                    "each commit goes on from the stored offset",
                    step.to_offset > step.from_offset,
                    || step.to_string(),
                );
            }
            for step in intruders(moves) {
                checks.that("no former owner commits", false, || step.to_string());
            }
            checks.that("no former owner commits", true, String::new);
        }
        Ok(())
    }
}

/// Waits for the next commit.
pub(crate) struct Watch {
    client: Client,
    newest: i64,
}

impl Watch {
    /// The instance that commits messages first; none if none does within this time.
    pub(crate) async fn first(&self, limit: Duration) -> Result<Option<String>> {
        const NEXT: &str = "SELECT instance FROM campaign.moves WHERE id > $1 ORDER BY id LIMIT 1";
        let since = Instant::now();
        while since.elapsed() < limit {
            if let Some(row) = self.client.query_opt(NEXT, &[&self.newest]).await? {
                return Ok(Some(row.get(0)));
            }
            sleep(POLL).await;
        }
        Ok(None)
    }
}

impl fmt::Display for Move {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            at_s,
            instance,
            partition,
            from_offset,
            to_offset,
        } = self;
        write!(
            to,
            "{instance} at {at_s:.3} in partition {partition}: {from_offset} to {to_offset}"
        )
    }
}

/// The moves of others between two of one owner, sooner after each other than a group gives a partition back.
fn intruders(moves: &[Move]) -> Vec<&Move> {
    let mut runs = Vec::<&[Move]>::new();
    let same = |a: &Move, b: &Move| a.instance == b.instance;
    runs.extend(moves.chunk_by(same));
    let is_between = |runs: &&[&[Move]]| {
        let (before, after) = (&runs[0][runs[0].len() - 1], &runs[2][0]);
        before.instance == after.instance && after.at_s - before.at_s < SHORTEST_RETURN_S
    };
    let between = runs.windows(3).filter(is_between);
    between.map(|runs| &runs[1][0]).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "its errors are those of the client"
)]
async fn connect(database: &str) -> Result<Client> {
    let (client, connection) = tokio_postgres::connect(database, NoTls).await?;
    drop(tokio::spawn(connection));
    Ok(client)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(of: &[(&str, f64)]) -> Vec<Move> {
        let step = |(number, (instance, at_s)): (i64, &(&str, f64))| Move {
            at_s: *at_s,
            instance: (*instance).to_owned(),
            partition: 0,
            from_offset: number,
            to_offset: number + 1,
        };
        (0..).zip(of).map(step).collect()
    }

    #[test]
    fn a_commit_between_two_of_the_owner_is_found() {
        let taken_over = [("a", 1.0), ("b", 11.0), ("b", 12.0), ("a", 14.0)];
        assert!(intruders(&moves(&taken_over)).is_empty());
        let late = [("a", 1.0), ("b", 11.0), ("a", 11.5), ("b", 12.0)];
        let late = moves(&late);
        let found: Vec<_> = intruders(&late).iter().map(|of| of.at_s).collect();
        assert_eq!(found, [11.5]);
    }
}
