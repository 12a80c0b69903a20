//! The sandbox as a process of this very binary: what the sandbox provider starts. Nothing else in the harness names `kube_sandbox`.

use std::ffi::OsString;

/// Runs `chaos sandbox serve|shim …` with the arguments after `sandbox`, and returns the exit code of the process.
pub fn run(arguments: impl Iterator<Item = OsString>) -> u8 {
    kube_sandbox::program::run(arguments, &["sandbox"])
}

#[cfg(test)]
mod tests {
    use crate::experiment::{Named, SandboxSabotage};

    #[test]
    fn the_experiment_knows_every_defect_of_the_sandbox() {
        let known: Vec<&str> = SandboxSabotage::ALL.iter().map(|defect| defect.id()).collect();
        assert_eq!(kube_sandbox::Sabotage::ALL.map(kube_sandbox::Sabotage::name).to_vec(), known);
    }
}
