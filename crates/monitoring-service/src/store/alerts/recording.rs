//! Records alerts. Of what must not be said twice, the earlier one is read in the same transaction.

use detection::AlertKey;

use super::row::{COLUMNS, insert, read, uuid};
use crate::alerts::{Alert, Subject, submission::PriorSubmission};
use crate::store::{
    Store, StoreError,
    engine::{OptionalExtension as _, Sql, params},
    findings::{direction_code, policy_code, severity_code},
};

impl Store {
    /// Records an alert, with its deliveries if it is notified.
    pub(crate) async fn record_alert(&self, alert: Alert) -> Result<(), StoreError> {
        self.writer
            .call(move |transaction| insert(transaction, &alert))
            .await
    }

    /// Records the alert of a submission after `decide` has seen the last submission of its key that was not muted. One
    /// transaction, so that only one of two concurrent submissions is notified. An alert that is not muted gets the number of
    /// submissions suppressed since. Returns the recorded alert.
    pub(crate) async fn record_submission<F>(
        &self,
        alert: Alert,
        decide: F,
    ) -> Result<Alert, StoreError>
    where
        F: Fn(&mut Alert, Option<PriorSubmission>) + Send + 'static,
    {
        self.writer
            .call(move |transaction| {
                let (sql, mut alert) = (transaction.sql, alert.clone());
                let key = alert.anomaly().map(|anomaly| anomaly.key.clone());
                let prior = match &key {
                    Some(key) => prior_submission(sql, key)?,
                    None => None,
                };
                decide(&mut alert, prior.map(|(_, prior)| prior));
                // Counting them for each muted submission would take longer with every one.
                if let (Some(key), Some((seq, _)), false) = (&key, prior, alert.is_muted()) {
                    alert.suppressed_before = submissions_after(sql, key, seq)?;
                }
                insert(transaction, &alert)?;
                Ok(alert)
            })
            .await
    }

    /// Passes the newest alert about the begin or the end of a condition (`subjects`) to `decide`, and records and returns the new
    /// alert, if any.
    pub(crate) async fn record_condition<F>(
        &self,
        subjects: [Subject; 2],
        decide: F,
    ) -> Result<Option<Alert>, StoreError>
    where
        F: Fn(Option<&Alert>) -> Option<Alert> + Send + 'static,
    {
        // Usually there is nothing to record, and no need to wait for the writer.
        let newest = {
            let subjects = subjects.clone();
            self.read(move |sql| newest_of(sql, &subjects)).await?
        };
        if decide(newest.as_ref()).is_none() {
            return Ok(None);
        }
        self.writer
            .call(move |transaction| {
                let alert = decide(newest_of(transaction.sql, &subjects)?.as_ref());
                if let Some(alert) = &alert {
                    insert(transaction, alert)?;
                }
                Ok(alert)
            })
            .await
    }
}

fn newest_of(sql: Sql<'_>, subjects: &[Subject; 2]) -> Result<Option<Alert>, StoreError> {
    let text = format!(
        "SELECT {COLUMNS} FROM alerts WHERE stream IS NULL AND type IN (?1, ?2) ORDER BY seq DESC LIMIT 1"
    );
    let [begin, end] = subjects.each_ref().map(Subject::kind);
    Ok(sql
        .prepare_cached(&text)?
        .query_row(params![begin, end], read)
        .optional()?)
}

pub(in crate::store) const PRIOR_SUBMISSION: &str =
    "SELECT seq, id, recorded_at_ms FROM alerts WHERE origin = 'evaluate' AND stream = ?1 AND policy = ?2 AND status_id = ?3
     AND direction = ?4 AND severity = ?5 AND suppressed_by IS NULL ORDER BY seq DESC LIMIT 1";

/// The last submission of a key that was not muted, with its sequence number.
fn prior_submission(
    sql: Sql<'_>,
    key: &AlertKey,
) -> Result<Option<(i64, PriorSubmission)>, StoreError> {
    let mut statement = sql.prepare_cached(PRIOR_SUBMISSION)?;
    let prior = statement.query_row(
        params![
            key.stream.as_str(),
            policy_code(key.policy),
            key.status.index(),
            direction_code(key.direction),
            severity_code(key.severity)
        ],
        |row| {
            let (id, recorded_at_ms) = (uuid(row, "id")?, row.get(2)?);
            Ok((row.get(0)?, PriorSubmission { id, recorded_at_ms }))
        },
    );
    Ok(prior.optional()?)
}

/// The number of submissions of a key after this sequence number.
fn submissions_after(sql: Sql<'_>, key: &AlertKey, seq: i64) -> Result<u32, StoreError> {
    let mut statement = sql.prepare_cached(
        "SELECT count(*) FROM alerts WHERE origin = 'evaluate' AND stream = ?1 AND policy = ?2 AND status_id = ?3
         AND direction = ?4 AND severity = ?5 AND seq > ?6",
    )?;
    let values = params![
        key.stream.as_str(),
        policy_code(key.policy),
        key.status.index(),
        direction_code(key.direction),
        severity_code(key.severity),
        seq
    ];
    Ok(statement.query_row(values, |row| row.get(0))?)
}
