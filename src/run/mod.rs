//! The orchestration: phases of a run, scheduling of faults, cancellation.
