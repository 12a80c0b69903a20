//! What is deployed: engine profiles, manifests, readiness, the watcher.
