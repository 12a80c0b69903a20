//! The stand-in engine as the sandbox and the node images name it. Nothing else in the harness knows it.

use std::path::Path;

mod elf;
pub mod image;
pub mod process;

/// The image reference under which the sandbox runs the stand-in engine.
pub const SANDBOX_IMAGE: &str = "sqledge-chaos/tds-sqlite:embedded";

/// The sandbox' image option: the reference, and the command of this machine that it stands for.
pub fn sandbox_image(program: &Path) -> String {
    format!("{SANDBOX_IMAGE}={} engine tds-sqlite", program.display())
}
