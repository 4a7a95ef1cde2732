//! Checks the boundaries inside the service: which files may use SQLite, rdkafka, HTTP clients, the environment and the clock.

use std::{fs, path::Path};

/// A name, and the files and folders of `src` that may use it.
const DOORS: [(&str, &[&str]); 6] = [
    ("rusqlite", &["store/"]),
    ("rdkafka", &["ingest.rs", "ingest/"]),
    ("reqwest", &["notify/"]),
    ("std::env", &["config.rs", "config/"]),
    ("Timestamp::now", &["clock.rs"]),
    ("Instant::now", &["clock.rs"]),
];

fn visit(folder: &Path, root: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder)
        .expect("a folder")
        .map(|entry| entry.expect("readable").path())
    {
        if entry.is_dir() {
            visit(&entry, root, found);
            continue;
        }
        let name = entry
            .strip_prefix(root)
            .expect("below")
            .to_string_lossy()
            .into_owned();
        let text = fs::read_to_string(&entry).expect("text");
        let code = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        for line in code.take_while(|line| !line.starts_with("mod tests {")) {
            for (what, allowed) in DOORS {
                let in_tests = name.contains("tests");
                if line.contains(what)
                    && !in_tests
                    && !allowed.iter().any(|door| name.starts_with(door))
                {
                    found.push(format!("{name} uses {what}: {line}"));
                }
            }
        }
    }
}

#[test]
fn only_the_named_files_use_each_dependency() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    visit(&root, &root, &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

/// The store only stores and finds; settings and metrics are the callers'.
#[test]
fn the_store_uses_no_settings_and_no_metrics() {
    let store = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut found = Vec::new();
    let modules = ["crate::config", "crate::metrics", "config::", "metrics::"];
    uses(&modules, &store, &mut found);
    assert!(found.is_empty(), "{found:#?}");
}

fn uses(modules: &[&str], folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            // The client of PostgreSQL has a module `config`, too.
            if !path.ends_with("postgres") {
                uses(modules, &path, found);
            }
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        for module in modules.iter().filter(|module| text.contains(**module)) {
            found.push(format!("{} uses {module}", path.display()));
        }
    }
}
