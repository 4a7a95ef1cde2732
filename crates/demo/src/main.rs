//! The demo as a program: `cargo run --release --bin demo`. The code is in the library.

use std::process::ExitCode;

use clap::Parser as _;
use demo::cli::Cli;

fn main() -> ExitCode {
    demo::execute(&Cli::parse())
}
