//! Loads the file, and logs what was not read as it stands. It sends nothing.

use tracing::{info, warn};
use transaction_csv::{Loaded, load_file, with_advice};

use crate::cli::InputArgs;

/// The minutes of the file.
///
/// # Errors
/// The file cannot be used; the text names the flags that may read it.
pub(crate) fn load(args: &InputArgs) -> anyhow::Result<Loaded> {
    let loaded = load_file(&args.file, &args.load_options()?).map_err(with_advice)?;
    let file = args.file.display();
    if !loaded.ignored_columns.is_empty() {
        let columns = loaded.ignored_columns.join(",");
        warn!(%file, columns, "columns of the file are not read");
    }
    for fault in loaded.faults.iter() {
        warn!(%file, rows = fault.rows, first = %fault.first, "skipped bad rows");
    }
    if loaded.left_out > 0 {
        let minutes = loaded.left_out;
        warn!(%file, minutes, "left out minutes that may miss the count of a skipped row");
    }
    if loaded.occurs_twice > 0 {
        let rows = loaded.occurs_twice;
        warn!(%file, rows, "local times occur twice; the earlier is taken");
    }
    if loaded.repeated > 0 {
        info!(%file, rows = loaded.repeated, "rows repeat an earlier one");
    }
    Ok(loaded)
}
