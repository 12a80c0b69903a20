//! The stand-in engine as a process of this very binary: what the sandbox starts in a container. Nothing else in the harness names `tds_sqlite`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

/// Runs the engine with the arguments after its name, to the end of the process.
pub fn run(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    match tds_sqlite::Args::try_parse_from(std::iter::once(OsString::from("tds-sqlite")).chain(arguments)) {
        Ok(args) => tds_sqlite::main_with(args),
        Err(error) => {
            // Help and version go to stdout, mistakes to stderr; where nobody reads there is nobody to tell.
            let _unheard = error.print();
            ExitCode::from(if error.use_stderr() { 64 } else { 0 })
        }
    }
}
