//! A TDS 7.4 server over SQLite.
