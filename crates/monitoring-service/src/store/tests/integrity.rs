//! Damaged database files: refused at the start, found by the full check, or not damaged at all.

use std::{fs, path::Path};

use rusqlite::Connection;

use super::{fill, open_file, raw, wait};
use crate::store::{Store, StoreError, check_database};

/// Damaged copies of one database.
const COPIES: u64 = 24;

/// A small generator of numbers that look random (splitmix64), so that each run damages the same bytes.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut number = self.0;
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((number ^ (number >> 31)) % limit as u64).expect("below a usize")
    }
}

/// A database with some hundred pages, closed and without a write-ahead log.
fn sample() -> Vec<u8> {
    let (store, folder) = open_file();
    fill(&store, 5000);
    let path = super::path(&store).to_owned();
    raw(&store)
        .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        .expect("checkpointed");
    let bytes = fs::read(&path).expect("readable");
    drop((store, folder));
    bytes
}

/// Cuts, zeroes or garbles the file, and says which.
fn damage(bytes: &mut Vec<u8>, seed: u64) -> &'static str {
    let mut numbers = Numbers(seed);
    let from = numbers.below(bytes.len());
    let to = bytes.len().min(from + 1 + numbers.below(20_000));
    match seed % 3 {
        0 => {
            bytes.truncate(from);
            "cut"
        }
        1 => {
            bytes[from..to].fill(0);
            "zeroed"
        }
        _ => {
            let garbled = bytes[from..to].iter_mut();
            garbled.for_each(|byte| *byte = numbers.below(256).to_le_bytes()[0]);
            "garbled"
        }
    }
}

/// What SQLite itself finds.
fn is_damaged(path: &Path) -> bool {
    let check = |sql: Connection| sql.query_row("PRAGMA integrity_check", [], |row| row.get(0));
    let found: rusqlite::Result<String> = Connection::open(path).and_then(check);
    !found.is_ok_and(|found| found == "ok")
}

#[test]
fn a_damaged_file_is_refused_or_found() {
    let whole = sample();
    let (mut refused, mut found, mut unharmed) = (0, 0, 0);
    for seed in 0..COPIES {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("copy.db");
        let mut bytes = whole.clone();
        let kind = damage(&mut bytes, seed);
        fs::write(&path, &bytes).expect("written");
        match Store::open(&path) {
            Err(StoreError::Broken(reason)) => {
                refused += 1;
                assert!(
                    reason.contains(" restore ") || bytes.len() < 100,
                    "{reason}"
                );
                assert!(
                    fs::read(&path).expect("readable") == bytes,
                    "{kind}: changed"
                );
            }
            Err(other) => panic!("{kind} {seed}: {other}"),
            Ok((store, writer)) => {
                assert!(
                    kind != "cut" || bytes.is_empty(),
                    "{seed}: a cut file is refused"
                );
                std::thread::spawn(move || writer.run());
                let checked = tokio::runtime::Builder::new_current_thread()
                    .build()
                    .expect("a runtime")
                    .block_on(store.check_integrity());
                drop(store);
                match checked {
                    Ok(_) => unharmed += 1,
                    Err(_) => found += 1,
                }
                assert_eq!(is_damaged(&path), checked_failed(&path), "{kind} {seed}");
            }
        }
    }
    assert!(
        refused > COPIES / 3,
        "{refused} refused, {found} found, {unharmed} run on"
    );
}

fn checked_failed(path: &Path) -> bool {
    check_database(path).is_err()
}

#[test]
fn a_whole_database_passes_while_it_is_used() {
    let (store, _folder) = open_file();
    fill(&store, 500);
    assert!(wait(store.check_integrity()));
    assert!(check_database(super::path(&store)).expect("whole") > 10);
}
