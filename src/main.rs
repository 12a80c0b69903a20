//! The `chaos` program.

fn main() {}
