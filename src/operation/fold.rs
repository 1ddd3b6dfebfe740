//! Entries to state, and what comes next.
