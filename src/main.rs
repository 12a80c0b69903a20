//! The binary: command line in, exit code out.

use std::io;
use std::process::ExitCode;

use chaos::cli::{self, Cli, CommandResult, Failure, Job, Streams};

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().collect();
    if let Some(code) = cli::embedded(&arguments) {
        return code;
    }
    let cli = match Cli::read(arguments) {
        Ok(cli) => cli,
        Err(error) => return cli::usage(&error).into(),
    };
    cli::guarded(|| {
        let (mut out, mut err) = (io::stdout(), io::stderr());
        let result = cli.start_logging().and_then(|_| finish(cli.start(&mut Streams { out: &mut out, err: &mut err })));
        cli::settle(result, &mut err)
    })
    .into()
}

fn finish(job: Job<'_>) -> CommandResult {
    match job {
        Job::Done(result) => result,
        Job::Later(future) => tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build()
            .map_err(|error| Failure::unavailable(format!("cannot start the runtime: {error}")))?
            .block_on(future),
    }
}
