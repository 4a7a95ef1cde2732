//! What the policies remember of each stream, written with the minutes that it was folded from. Folds nothing.

use detection::{
    DetectorState, Minute, PolicyName,
    detector::adaptive::{AdaptiveState, MAX_LEARNED_MINUTES},
};
use rusqlite::{Connection, OptionalExtension, params};

use super::{findings::policy_code, names::stream_id};

pub(super) fn write(sql: &Connection, state: &DetectorState) -> rusqlite::Result<()> {
    let stream_id = stream_id(sql, state.stream.as_str())?;
    sql.prepare_cached("INSERT OR REPLACE INTO detector_states VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            stream_id,
            policy_code(state.policy),
            state.minute.epoch_minutes(),
            state.bytes
        ])?;
    Ok(())
}

/// The stored state of the policy `adaptive`. The default where the minutes before `newest` must be folded again: none is stored, it is too
/// old, or another version wrote it.
pub(super) fn adaptive(
    sql: &Connection,
    stream_id: i64,
    newest: Minute,
) -> rusqlite::Result<AdaptiveState> {
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
