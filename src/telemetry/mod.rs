//! History from elsewhere.
