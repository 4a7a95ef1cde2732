//! Which engine the tests use: PostgreSQL if `TEST_DATABASE_URL` names a server (`scripts/with-postgres`), else SQLite. The integration tests
//! include this file.

use std::path::Path;

use tokio_postgres::{NoTls, SimpleQueryMessage};

/// The server that the tests use, if they use PostgreSQL.
#[expect(clippy::disallowed_methods, reason = "a test asks which engine to use")]
pub(crate) fn server() -> Option<String> {
    std::env::var("TEST_DATABASE_URL").ok()
}

/// The address of the schema for this path, which is created; none with SQLite.
pub(crate) fn address(path: &Path) -> Option<String> {
    let server = server()?;
    let schema = path.to_string_lossy().to_lowercase();
    let schema = schema.replace(|letter: char| !letter.is_ascii_alphanumeric(), "_");
    run(&server, &format!("CREATE SCHEMA IF NOT EXISTS {schema}"));
    Some(format!("{server}?options=-csearch_path%3D{schema}"))
}

/// Runs statements as another program would.
pub(crate) fn run(url: &str, statements: &str) {
    query(url, statements).expect("done");
}

/// The rows of a query as texts; none if it fails.
pub(crate) fn query(url: &str, query: &str) -> Option<Vec<Vec<Option<String>>>> {
    let (url, query) = (url.to_owned(), query.to_owned());
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        runtime.expect("a runtime").block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, NoTls)
                .await
                .expect("connected");
            tokio::select! {
                rows = client.simple_query(&query) => rows.ok(),
                ended = connection => panic!("{ended:?}"),
            }
        })
    };
    // A runtime within a runtime is not allowed.
    let messages = std::thread::spawn(run).join().expect("no panic")?;
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some(
            (0..row.len())
                .map(|at| row.get(at).map(str::to_owned))
                .collect(),
        ),
        _ => None,
    };
    Some(messages.into_iter().filter_map(row).collect())
}
