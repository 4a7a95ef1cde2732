//! A small disk of its own for the database, so that it can be full. Only a privileged user can mount it.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

/// More than the database and its write-ahead log need.
const SIZE: &str = "size=96m";

pub(crate) struct Disk(PathBuf);

impl Disk {
    /// Mounts a tmpfs; `None` without the right to.
    pub(crate) fn mount(folder: &Path) -> Option<Self> {
        let mut command = Command::new("mount");
        command
            .args(["-t", "tmpfs", "-o", SIZE, "faults"])
            .arg(folder);
        let output = command.output().ok()?;
        output.status.success().then(|| Self(folder.to_owned()))
    }

    /// Takes all of the space.
    pub(crate) fn fill(&self) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        for size in [1 << 20, 1 << 12] {
            let zeros = vec![0; size];
            while ballast.write_all(&zeros).is_ok() {}
        }
        Ok(())
    }

    pub(crate) fn free(&self) -> Result<()> {
        Ok(fs::remove_file(self.ballast())?)
    }

    fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazy: a killed process may still have the file open.
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
