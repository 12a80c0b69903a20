//! The stand-in engine as a program of its own.

use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    tds_sqlite::main_with(tds_sqlite::Args::parse())
}
