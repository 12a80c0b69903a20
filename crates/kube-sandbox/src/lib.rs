//! A small stateful Kubernetes in one process.
