//! Pure checkers: history in, verdict and evidence out.
