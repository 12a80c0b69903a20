//! TDS sessions, deadlines, and the classification of every error into ok, fail or info.
