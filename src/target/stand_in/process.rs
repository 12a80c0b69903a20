//! The stand-in engine as a process of this very binary: what the sandbox starts in a container. Nothing else in the harness names `tds_sqlite`.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

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

/// The defects that the engine can be told to have, each with what it does.
pub fn sabotage_modes() -> Vec<(String, String)> {
    let value = |mode: &tds_sqlite::Sabotage| {
        let value = mode.to_possible_value()?;
        let about = value.get_help().map(ToString::to_string).unwrap_or_default();
        Some((value.get_name().to_owned(), about))
    };
    tds_sqlite::Sabotage::value_variants().iter().filter_map(value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::experiment::{Named, Sabotage};

    #[test]
    fn an_experiment_can_ask_for_every_defect_that_the_engine_can_have() {
        let known = Sabotage::ALL.iter().map(|mode| (mode.id().to_owned(), mode.meaning().trim_end_matches('.').to_owned()));
        assert_eq!(sabotage_modes(), known.collect::<Vec<_>>());
    }
}
