//! A database that fails while the service runs: no message is skipped, and ingest resumes at the stored offset.

use std::{path::Path, time::Duration};

use monitoring_service::alerts::Alert;
use rusqlite::Connection;

use crate::harness::{
    Setup, TestApp, broker, database, folder, printed, program, sample, send, substance, until,
};
use crate::place;

const MINUTES: usize = 300;

/// The alerts of a service without faults.
async fn undisturbed() -> Vec<Alert> {
    let (broker, folder) = (broker().await, folder());
    send(&broker, sample(MINUTES));
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(MINUTES as u64).await;
    let alerts = substance(&app.alerts().await);
    app.stop().await.expect("a clean stop");
    alerts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_database_costs_no_message_and_no_alert() {
    if place::server().is_some() {
        return; // It is about a file.
    }
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    let (before, during) = sample(MINUTES)
        .into_iter()
        .enumerate()
        .partition::<Vec<_>, _>(|(at, _)| *at < 200);
    send(&broker, before.into_iter().map(|(_, message)| message));
    app.until_consumed(200).await;
    // Another program locks the file: the writer gives up its transaction after five seconds.
    let other = Connection::open(database(folder.path())).expect("a second connection");
    other.execute_batch("BEGIN IMMEDIATE").expect("locked");
    send(&broker, during.into_iter().map(|(_, message)| message));
    let failed = [("operation", "ingest")];
    until("a commit fails", async || {
        app.counted("monitoring_store_errors_total", &failed) > 0
    })
    .await;
    assert_eq!(
        app.consumed(),
        200,
        "only stored messages count as consumed"
    );
    until("it says so", async || {
        app.get("/health").await["status"] == "degraded"
    })
    .await;
    other.execute_batch("ROLLBACK").expect("unlocked");
    app.until_consumed(MINUTES as u64).await;
    assert_eq!(
        app.get("/transactions/summary").await["minutes_observed"],
        MINUTES
    );
    assert_eq!(substance(&app.alerts().await), undisturbed().await);
    until("health is back", async || {
        app.get("/health").await["status"] == "ok"
    })
    .await;
    app.stop().await.expect("a clean stop");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_batch_ends_the_service() {
    if place::server().is_some() {
        return; // It is about a file.
    }
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    send(&broker, sample(100));
    app.until_consumed(100).await;
    // The trigger rolls back the whole transaction, as a full disk can. Without care, later statements would commit alone.
    let other = Connection::open(database(folder.path())).expect("a second connection");
    let refuse = "CREATE TRIGGER refuse BEFORE INSERT ON minute_counts BEGIN SELECT RAISE(ROLLBACK, 'on purpose'); END";
    other.execute_batch(refuse).expect("refusing");
    send(&broker, sample(MINUTES).split_off(100));
    let error = app.ended().await.expect_err("it cannot go on");
    assert!(format!("{error:#}").contains("on purpose"), "{error:#}");
    other.execute_batch("DROP TRIGGER refuse").expect("dropped");
    drop(other);
    let app = TestApp::with_defaults(&broker, &folder).await;
    app.until_consumed(MINUTES as u64 - 100).await;
    assert_eq!(substance(&app.alerts().await), undisturbed().await);
    app.stop().await.expect("a clean stop");
}

/// Changes the file of the database.
type Change = fn(&Path) -> std::io::Result<()>;

#[tokio::test(flavor = "multi_thread")]
async fn deleted_or_replaced_files_end_the_service() {
    if place::server().is_some() {
        return; // It is about a file.
    }
    let replace = |path: &Path| {
        let copy = path.with_extension("copy");
        std::fs::copy(path, &copy)?;
        std::fs::rename(&copy, path)
    };
    let changes: [(&str, Change); 2] = [
        ("deleted", |path| std::fs::remove_file(path)),
        ("replaced", replace),
    ];
    for (event, change) in changes {
        let (broker, folder) = (broker().await, folder());
        let setup = Setup {
            change: |config| config.alert_check_interval = Duration::from_secs(1),
            ..Setup::default()
        };
        let app = TestApp::start(&broker.bootstrap_servers(), folder.path(), setup).await;
        send(&broker, sample(10));
        app.until_consumed(10).await;
        change(&database(folder.path())).expect("changed");
        let error = app.ended().await.expect_err("it cannot go on");
        let expected = format!("was {event} while the service runs");
        assert!(format!("{error:#}").contains(&expected), "{error:#}");
    }
}

/// Puts an index back that misses a change made meanwhile. It has as many entries as before, so `quick_check` does not see it.
fn break_index(path: &Path) {
    const REMOVE: &str = "INSERT INTO silences (id, created_at_ms, from_ms, until_ms, reason) VALUES ('x', 0, 0, 1, '');
        PRAGMA writable_schema=ON;
        CREATE TABLE kept AS SELECT * FROM sqlite_schema WHERE name = 'silences_by_end';
        DELETE FROM sqlite_schema WHERE name = 'silences_by_end';";
    const WRITE: &str = "UPDATE silences SET until_ms = 2";
    const RESTORE: &str = "PRAGMA writable_schema=ON;
        INSERT INTO sqlite_schema SELECT * FROM kept;
        DROP TABLE kept;";
    for step in [REMOVE, WRITE, RESTORE] {
        let sql = Connection::open(path).expect("opened");
        sql.execute_batch(step).expect("broken");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_that_is_found_later_ends_the_service() {
    if place::server().is_some() {
        return; // It is about a file.
    }
    let (broker, folder) = (broker().await, folder());
    let app = TestApp::with_defaults(&broker, &folder).await;
    let check = || {
        let mut command = program(folder.path());
        let output = command.arg("check").output().expect("started");
        (output.status.code(), printed(&output))
    };
    until("all of the database is checked", async || {
        app.get("/health").await["parts"]["database"]["checked_at"].is_string()
    })
    .await;
    let (code, text) = check();
    assert!(
        code == Some(0) && text.contains("no damage found"),
        "{text}"
    );
    app.stop().await.expect("a clean stop");
    break_index(&database(folder.path()));
    let app = TestApp::with_defaults(&broker, &folder).await;
    let error = app.ended().await.expect_err("it cannot go on");
    let (code, text) = check();
    for found in [format!("{error:#}"), text] {
        assert!(
            found.contains("missing from index silences_by_end"),
            "{found}"
        );
        assert!(found.contains("restore the file from a backup"), "{found}");
    }
    assert_eq!(code, Some(1));
}
