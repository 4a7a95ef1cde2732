//! Writes the files of `sample_data/`: `cargo run -p demo --bin generate-sample-data`. It overwrites the files without asking; never edit them.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Parser;
use demo::sample::{SEED, SampleData, daily, flat};
use flate2::{Compression, write::GzEncoder};

/// Write both sets of sample transactions, and the incidents in them.
#[derive(Parser)]
struct Options {
    /// Directory of the flat set; the daily set goes to `daily/` in it.
    #[arg(long, default_value = "sample_data")]
    out: PathBuf,
    /// Seed; the same seed always generates the same data.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
}

fn main() -> Result<()> {
    let Options { out, seed } = Options::parse();
    let (flat, daily, daily_out) = (
        flat::generate(seed),
        daily::generate(seed),
        out.join("daily"),
    );
    write(&out, "transactions.csv", flat.transactions_csv.as_bytes())?;
    write(&out, "incidents.csv", flat.incidents_csv.as_bytes())?;
    write(
        &daily_out,
        "transactions.csv.gz",
        &gzip(&daily.transactions_csv)?,
    )?;
    write(&daily_out, "incidents.csv", daily.incidents_csv.as_bytes())?;
    report(&flat, seed, &out)?;
    report(&daily, seed, &daily_out)
}

fn write(folder: &Path, name: &str, content: &[u8]) -> Result<()> {
    fs::create_dir_all(folder)
        .with_context(|| format!("creating the directory {}", folder.display()))?;
    let path = folder.join(name);
    fs::write(&path, content).with_context(|| format!("writing {}", path.display()))
}

/// The header has no file name and no time, so the same text always gives the same bytes.
fn gzip(text: &str) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(text.as_bytes())?;
    Ok(encoder.finish()?)
}

fn report(data: &SampleData, seed: u64, folder: &Path) -> Result<()> {
    let rows = |csv: &str| csv.lines().count() - 1;
    let (transactions, labels) = (rows(&data.transactions_csv), rows(&data.incidents_csv));
    writeln!(
        io::stdout(),
        "{transactions} transaction rows and {labels} labels of seed {seed} in {}",
        folder.display()
    )?;
    Ok(())
}
