use std::ffi::{OsStr, OsString};

use crate::cluster::sandbox_process;

/// Runs a program that this binary also is, when the command line asks for one: the sandbox and its shim. They come before the command
/// line proper, since every container start goes through here and what follows is not ours to parse.
///
/// The exit code is the program's own; `None` means that the command line is for `chaos` itself.
pub fn embedded(arguments: &[OsString]) -> Option<u8> {
    let word = |index: usize| arguments.get(index).map(OsString::as_os_str).and_then(OsStr::to_str);
    match (word(1), word(2)) {
        (Some("sandbox"), Some("serve" | "shim")) => Some(sandbox_process::run(arguments[2..].iter().cloned())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_chaos_itself_is_left_alone() {
        for line in [&["chaos"][..], &["chaos", "run", "x.yaml"], &["chaos", "sandbox"], &["chaos", "list", "serve"]] {
            let arguments: Vec<OsString> = line.iter().map(OsString::from).collect();
            assert_eq!(embedded(&arguments), None, "{line:?}");
        }
    }

    #[test]
    fn the_shim_keeps_its_own_exit_code() {
        let arguments: Vec<OsString> = ["chaos", "sandbox", "shim", "nonsense"].iter().map(OsString::from).collect();
        assert_eq!(embedded(&arguments), Some(127));
    }
}
