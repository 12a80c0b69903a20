//! Open-loop clock, HDR recorders, episodes and phases.
