//! The stand-in engine as the sandbox and the node images name it. Nothing else in the harness knows it.

mod elf;
pub mod image;
pub mod process;

/// The image reference under which the sandbox runs the stand-in engine.
pub const SANDBOX_IMAGE: &str = "sqledge-chaos/tds-sqlite:embedded";

/// The sandbox' image option: the reference, and the command that it stands for. `@` is the program that serves the sandbox, which is this one.
pub fn sandbox_image() -> String {
    format!("{SANDBOX_IMAGE}=@ engine tds-sqlite")
}
