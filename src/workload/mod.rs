//! Generators and clients.
