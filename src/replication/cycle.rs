//! Names of a cycle, when the next is due, lag, retention and garbage: pure decisions over a manifest.
