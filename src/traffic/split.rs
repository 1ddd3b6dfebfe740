//! Shares to weights and back.
