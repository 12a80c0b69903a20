use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::target::stand_in::image;

use super::{CommandResult, Exit, Failure, Output, Streams, write_json};

/// Writes a container image without Docker.
#[derive(Debug, Args)]
pub(super) struct Image {
    #[command(subcommand)]
    engine: EngineImage,
}

#[derive(Debug, Subcommand)]
enum EngineImage {
    /// The stand-in engine, as an archive for `kind load image-archive`, `ctr images import` or `docker load`.
    TdsSqlite {
        /// The archive that is written.
        #[arg(short, long, value_name = "FILE")]
        out: PathBuf,
        /// The statically linked binary that goes in [default: built from this workspace by cargo].
        #[arg(long, value_name = "PATH")]
        binary: Option<PathBuf>,
        /// The form of the output.
        #[arg(long, value_enum, default_value_t)]
        output: Output,
    },
}

impl Image {
    pub async fn run(self, streams: &mut Streams<'_>) -> CommandResult {
        let EngineImage::TdsSqlite { out, binary, output } = self.engine;
        let binary = match binary {
            Some(binary) => binary,
            None => image::build_static_binary().await.map_err(Failure::unavailable)?,
        };
        let info = image::build(&binary, &out).map_err(Failure::unavailable)?;
        match output {
            Output::Text => {
                writeln!(streams.out, "{}", info.reference)?;
                writeln!(
                    streams.err,
                    "{} written, {} KiB, also tagged {}; next: kind load image-archive {0} --name CLUSTER",
                    info.archive.display(),
                    info.bytes / 1024,
                    info.alias
                )?;
            }
            Output::Json => write_json(streams, &info)?,
        }
        Ok(Exit::Pass)
    }
}
