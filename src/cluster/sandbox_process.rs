//! The sandbox as a process of this very binary: what the sandbox provider starts. Nothing else in the harness names `kube_sandbox`.

use std::ffi::OsString;

/// Runs `chaos sandbox serve|shim …` with the arguments after `sandbox`, and returns the exit code of the process.
pub fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    kube_sandbox::program::run(arguments, &["sandbox"])
}
