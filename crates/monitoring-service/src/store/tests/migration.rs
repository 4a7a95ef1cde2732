//! A database of an older version: what was stored in it is there after the update.

use uuid::Uuid;

use super::*;
use crate::store::schema::{APPLICATION_ID, MIGRATIONS};

/// A database as the first version left it, with one page on its way.
fn of_step_1(path: &Path) {
    let sql = Connection::open(path).expect("a new file");
    sql.execute_batch(MIGRATIONS[0]).expect("made");
    sql.pragma_update(None, "user_version", 1).expect("marked");
    sql.pragma_update(None, "application_id", APPLICATION_ID)
        .expect("marked");
    let alert = "INSERT INTO alerts (id, type, origin, recorded_at_ms, severity, message, silenced, suppressed_before, trace_id)
         VALUES ('00000000-0000-0000-0000-000000000007', 'alert.test', 'monitor', 1, 5, 'a test', 0, 0, 'abc');
         INSERT INTO deliveries (alert_seq, state, attempts, created_at_ms, next_attempt_at_ms) VALUES (1, 'pending', 0, 1, 1)";
    sql.execute_batch(alert).expect("recorded");
}

#[tokio::test]
async fn a_database_of_step_1_keeps_its_alerts_and_takes_new_ones_with_their_span() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("test.db");
    of_step_1(&path);
    let (store, writer) = Store::open(&path).expect("a database of an older version");
    std::thread::spawn(move || writer.run());
    let due = store
        .due_deliveries(1, 4)
        .await
        .expect("readable")
        .remove(0);
    assert_eq!(
        (due.alert.id, due.alert.trace_id.as_deref()),
        (Uuid::from_u128(7), Some("abc"))
    );
    assert_eq!(due.alert.span_id, None);
    let (id, span_id) = (Uuid::from_u128(8), Some("00f067aa0ba902b7".to_owned()));
    let new = AlertRecord {
        id,
        span_id: span_id.clone(),
        ..due.alert
    };
    store.record_alert(new.clone()).await.expect("recorded");
    let (stored, _) = store.alert(id).await.expect("readable").expect("recorded");
    assert_eq!(stored, new);
    let version: usize = raw(&store)
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .expect("readable");
    assert_eq!(version, MIGRATIONS.len());
}
