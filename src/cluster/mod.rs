//! Where the cluster comes from, and what its nodes let us do.
