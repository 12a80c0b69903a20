//! `kube-sandbox`: a small Kubernetes to point `kubectl` at, and the shim that its containers are started through.

mod echo;

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1).peekable();
    if arguments.next_if(|mode| mode == "echo").is_some() {
        return match echo::run(arguments.map(|argument| argument.to_string_lossy().into_owned())) {
            Ok(code) => ExitCode::from(code),
            Err(message) => {
                // Without standard error there is nobody to tell.
                let _unheard = writeln!(io::stderr(), "{message}");
                ExitCode::from(64)
            }
        };
    }
    ExitCode::from(kube_sandbox::program::run(arguments, &[]))
}
