//! SQLite: metrics in one file, the journal in another.
