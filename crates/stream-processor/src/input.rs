//! Loads the file: adds the flags that would read it to its errors, and logs what was not read as it
//! stands. It sends nothing.

use anyhow::anyhow;
use tracing::{info, warn};
use transaction_csv::{FileError, LoadError, Loaded, Remedy, load_file};

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

fn with_advice(error: FileError) -> anyhow::Error {
    let mut advice: Vec<String> = error.source.remedies().iter().map(flag).collect();
    if matches!(error.source, LoadError::Rows(_)) {
        advice.push(
            "--on-error skip, to leave out bad rows and the minutes that may miss them".into(),
        );
    }
    let error = anyhow::Error::from(error);
    if advice.is_empty() {
        return error;
    }
    anyhow!("{error:#}\ntry {}", advice.join("\nor  "))
}

fn flag(remedy: &Remedy) -> String {
    match remedy {
        Remedy::Columns(names) if names.contains("=NAME") => {
            format!("--columns {names}, with the names in the file for NAME")
        }
        Remedy::Columns(names) => format!("--columns {names}"),
        Remedy::Wide => "--wide, if there is a column for each status".into(),
        Remedy::Date => "--date 2026-11-26, with the date of these times".into(),
        Remedy::OnDuplicate => {
            "--on-duplicate sum, if rows are parts of a minute; --on-duplicate last, if the later row is right".into()
        }
    }
}
