//! The table of settings in README.md has every flag, variable and default of `--help`, and no other.

use std::collections::BTreeSet;

use clap::CommandFactory;
use stream_processor::Cli;

const README: &str = include_str!("../../README.md");

#[test]
fn the_readme_lists_every_flag() {
    let cells = |row: &str| {
        row.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect::<Vec<_>>()
    };
    let table: BTreeSet<_> = README
        .lines()
        .filter(|line| line.starts_with("| `--"))
        .map(|row| cells(row)[..3].to_vec())
        .collect();
    let command = Cli::command();
    let row = |arg: &clap::Arg| {
        let flag = format!("--{}", arg.get_long().expect("every argument is a flag"));
        let variable = arg
            .get_env()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default();
        let default = arg
            .get_default_values()
            .iter()
            .map(|value| value.to_string_lossy().into_owned())
            .collect();
        let takes_value = arg.get_action().takes_values();
        vec![
            flag,
            variable,
            if takes_value { default } else { String::new() },
        ]
    };
    let help: BTreeSet<_> = command.get_arguments().map(row).collect();
    assert_eq!(table, help);
}
