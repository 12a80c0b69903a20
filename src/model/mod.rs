//! Op, history, event, verdict, ids and units; no I/O.
