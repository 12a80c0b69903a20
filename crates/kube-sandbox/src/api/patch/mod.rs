//! The kinds of patch that change an object in place.

mod json_patch;
mod lists;
mod merge;
mod strategic;

pub(super) use json_patch::apply as json_patch;
pub(super) use lists::{Shape, is_atomic, shape};
pub(super) use merge::apply as merge;
pub(super) use strategic::apply as strategic;
