use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::process::ExitCode;

use crate::cluster::sandbox_process;
use crate::target::stand_in;

/// Runs a program that this binary also is, when the command line asks for one: the sandbox and its shim, or the stand-in engine, which is
/// also what the binary is when it goes by the engine's name. They come before the command line proper, since every container start goes
/// through here and what follows is not ours to parse.
///
/// The exit code is the program's own; `None` means that the command line is for `chaos` itself.
pub fn embedded(arguments: &[OsString]) -> Option<ExitCode> {
    let word = |index: usize| arguments.get(index).map(OsString::as_os_str).and_then(OsStr::to_str);
    let after = |index: usize| arguments.iter().skip(index).cloned();
    if word(0).is_some_and(|program| Path::new(program).file_name() == Some(OsStr::new("tds-sqlite"))) {
        return Some(stand_in::process::run(after(1)));
    }
    match (word(1), word(2)) {
        (Some("sandbox"), Some("serve" | "shim")) => Some(ExitCode::from(sandbox_process::run(after(2)))),
        (Some("engine"), Some("tds-sqlite")) => Some(stand_in::process::run(after(3))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_chaos_itself_is_left_alone() {
        for line in
            [&[][..], &["chaos"], &["chaos", "run", "x.yaml"], &["chaos", "sandbox"], &["chaos", "list", "serve"], &["chaos", "engine"]]
        {
            let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
            assert!(embedded(&arguments).is_none(), "{line:?}");
        }
    }
}
