//! Whether the database's files are still those that are open: SQLite goes on to write to files that were deleted.
//!
//! Only by metadata: closing a second descriptor of the database would drop SQLite's own locks.

use std::{
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use super::StoreError;

/// The identity of a file: its device and its inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FileId(u64, u64);

/// The files of an open database.
pub(super) struct OpenFiles(Vec<(PathBuf, FileId)>);

impl OpenFiles {
    /// The database at `path`, and its write-ahead log.
    pub(super) fn of(path: &Path) -> Result<Self, StoreError> {
        let known = |path: PathBuf| {
            Ok((
                path.clone(),
                id(&path).map_err(|error| failed(&path, &error))?,
            ))
        };
        let files = [path.to_owned(), wal(path)].map(known);
        Ok(Self(files.into_iter().collect::<Result<_, StoreError>>()?))
    }

    /// [`StoreError::Broken`] if a file is not there any more, or is another one.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        for (path, opened) in &self.0 {
            let event = match id(path) {
                Ok(found) if found == *opened => continue,
                Ok(_) => "replaced",
                Err(error) if error.kind() == io::ErrorKind::NotFound => "deleted",
                Err(error) => return Err(failed(path, &error)),
            };
            let path = path.display();
            return Err(StoreError::Broken(format!(
                "{path} was {event} while the service runs, so what it writes is lost; stop the service before you change its files, then start it again"
            )));
        }
        Ok(())
    }
}

/// The write-ahead log of a database.
pub(super) fn wal(path: &Path) -> PathBuf {
    let mut wal = path.as_os_str().to_owned();
    wal.push("-wal");
    wal.into()
}

fn id(path: &Path) -> io::Result<FileId> {
    let file = path.metadata()?;
    Ok(FileId(file.dev(), file.ino()))
}

fn failed(path: &Path, error: &io::Error) -> StoreError {
    StoreError::Unavailable(format!("cannot look up {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// Changes the files at the path of the database.
    type Change = fn(&Path) -> io::Result<()>;

    #[test]
    fn deleted_and_replaced_files_are_noticed() {
        let copy = |path: &Path| {
            let other = path.with_extension("copy");
            fs::copy(path, &other)?;
            fs::rename(&other, path)
        };
        let changes: [(&str, Change); 4] = [
            ("deleted", |path| fs::remove_file(path)),
            ("deleted", |path| fs::remove_file(wal(path))),
            ("replaced", copy),
            ("replaced", |path| {
                fs::copy(wal(path), path.with_extension("copy"))?;
                fs::rename(path.with_extension("copy"), wal(path))
            }),
        ];
        for (event, change) in changes {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("test.db");
            let (store, _writer) = super::super::Store::open(&path).expect("a new database");
            store.check_files().expect("nothing has changed");
            change(&path).expect("changed");
            let error = store.check_files().expect_err("noticed").to_string();
            assert!(error.contains(&format!("was {event} while")), "{error}");
        }
    }
}
