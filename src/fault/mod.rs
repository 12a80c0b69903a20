//! The fault contract, the journal, one file a fault.
