//! The gate: what a share must not do to error rate and response time, and when it is breached.
