//! The experiment file: raw form, validation into a plan, JSON Schema.
