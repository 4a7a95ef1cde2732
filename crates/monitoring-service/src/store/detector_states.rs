//! What the policies remember of each stream, written with the minutes that it was folded from. Folds nothing.

use detection::{
    DetectorState, Minute, PolicyName,
    detector::adaptive::{AdaptiveState, MAX_LEARNED_MINUTES},
};

use super::engine::{self, OptionalExtension as _, Sql, Value, params};
use super::{findings::policy_code, writer::Transaction};

/// Stores states of streams that were written in this transaction.
pub(super) fn write(transaction: &Transaction<'_>, states: &[DetectorState]) -> engine::Result<()> {
    let mut write = transaction.sql.prepare_cached(
        "INSERT INTO detector_states (stream_id, policy, minute, state) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (stream_id, policy) DO UPDATE SET minute = excluded.minute, state = excluded.state",
    )?;
    let rows = states.iter().map(|state| {
        let stream_id = transaction.ids.stream(transaction.sql, &state.stream)?;
        Ok([
            Value::from(stream_id),
            policy_code(state.policy).into(),
            state.minute.epoch_minutes().into(),
            state.bytes.clone().into(),
        ])
    });
    write.execute_each(&rows.collect::<engine::Result<Vec<_>>>()?)?;
    Ok(())
}

/// The stored state of the policy `adaptive`. The default where the minutes before `newest` must be folded again: none is stored, it is too
/// old, or another version wrote it.
pub(super) fn adaptive(
    sql: Sql<'_>,
    stream_id: i64,
    newest: Minute,
) -> engine::Result<AdaptiveState> {
    let bytes: Option<Vec<u8>> = sql
        .prepare_cached(
            "SELECT state FROM detector_states WHERE stream_id = ?1 AND policy = ?2 AND minute > ?3",
        )?
        .query_row(
            params![
                stream_id,
                policy_code(PolicyName::Adaptive),
                newest.plus(-MAX_LEARNED_MINUTES).epoch_minutes()
            ],
            |row| row.get(0),
        )
        .optional()?;
    let Some(bytes) = bytes else {
        return Ok(AdaptiveState::default());
    };
    Ok(
        AdaptiveState::try_from_bytes(&bytes).unwrap_or_else(|error| {
            tracing::warn!(%error, stream_id, "detector state not used");
            AdaptiveState::default()
        }),
    )
}
