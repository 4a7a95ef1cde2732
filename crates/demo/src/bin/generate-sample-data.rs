//! Writes the files of `sample_data/` anew: `cargo run -p demo --bin generate-sample-data`. It overwrites without asking: the files are its own.

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use demo::sample::{SEED, generate};

/// Write the sample transactions and the incidents in them.
#[derive(Parser)]
struct Options {
    /// Directory to write `transactions.csv` and `incidents.csv` to.
    #[arg(long, default_value = "sample_data")]
    out: PathBuf,
    /// Seed of the data; the same seed always gives the same files.
    #[arg(long, default_value_t = SEED)]
    seed: u64,
}

fn main() -> Result<()> {
    let Options { out, seed } = Options::parse();
    let data = generate(seed);
    fs::create_dir_all(&out)
        .with_context(|| format!("creating the directory {}", out.display()))?;
    for (name, text) in [
        ("transactions.csv", &data.transactions_csv),
        ("incidents.csv", &data.incidents_csv),
    ] {
        let path = out.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
    }
    let rows = |csv: &str| csv.lines().count() - 1;
    let (transactions, incidents) = (rows(&data.transactions_csv), rows(&data.incidents_csv));
    writeln!(
        io::stdout(),
        "{transactions} transaction rows and {incidents} incidents of seed {seed} in {}",
        out.display()
    )?;
    Ok(())
}
