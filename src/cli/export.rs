use std::io::BufWriter;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

use crate::exchange::{Exporter, Format};
use crate::experiment::WorkloadKind;
use crate::report::History;

use super::{CommandResult, Exit, Failure, Streams};

/// Writes a run's history in the form of another tool, to stdout.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The run's folder, such as reports/latest.
    #[arg(value_name = "RUN")]
    folder: PathBuf,
    /// The form.
    #[arg(long, value_enum)]
    format: Form,
    /// Whose ops. A tool wants those of one workload.
    #[arg(long, value_name = "WORKLOAD", default_value = "append")]
    workload: WorkloadKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// EDN, one op-transition a line: `elle-cli --model list-append FILE`, or Jepsen's `history.edn`.
    Edn,
    /// JSON lines: Elle's for append; for register what Porcupine's `Operation` holds, one op a line.
    Json,
}

impl Export {
    pub fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let path = self.folder.join("history.jsonl");
        if !path.is_file() {
            return Err(Failure::new(
                Exit::Usage,
                format!("{}: holds no history.jsonl, expected the folder of a run", self.folder.display()),
            ));
        }
        let format = match self.format {
            Form::Edn => Format::Edn,
            Form::Json => Format::Json,
        };
        let mut exporter = Exporter::new(BufWriter::new(&mut *streams.out), format, self.workload);
        let mut written = Ok(());
        let history = History::read(&path, |op, _| {
            if written.is_ok() {
                written = exporter.op(op);
            }
        })
        .map_err(|error| Failure::unavailable(format!("{}: {error}", path.display())))?;
        written?;
        let exported = exporter.finish()?;
        if let Some(damage) = history.damage {
            return Err(Failure::unavailable(format!("{}: what follows was not written: {damage}", path.display())));
        }
        if exported.transitions == 0 {
            return Err(Failure::new(Exit::Usage, format!("{}: the history has no ops of the {} workload", path.display(), self.workload)));
        }
        Ok(Exit::Pass)
    }
}
