//! What was recorded last, by any instance.

use super::{Store, StoreError, engine::params};

/// The numbers and the time of what was recorded last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Newest {
    /// The number of an alert.
    pub(crate) alert: Option<i64>,
    /// The number of an event of an incident.
    pub(crate) incident: Option<i64>,
    /// When a minute arrived, milliseconds since 1970.
    pub(crate) arrival_ms: Option<i64>,
}

impl Store {
    /// What was recorded last.
    pub(crate) async fn newest(&self) -> Result<Newest, StoreError> {
        const NEWEST: &str = "SELECT (SELECT max(seq) FROM alerts), (SELECT max(id) FROM incident_events), (SELECT max(arrived_at_ms) FROM streams)";
        self.read(|sql| {
            let mut newest = sql.prepare_cached(NEWEST)?;
            Ok(newest.query_row(params![], |row| {
                Ok(Newest {
                    alert: row.get(0)?,
                    incident: row.get(1)?,
                    arrival_ms: row.get(2)?,
                })
            })?)
        })
        .await
    }
}
