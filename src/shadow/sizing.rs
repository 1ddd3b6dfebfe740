//! The least share and the smallest shadow that keep the primary under its limit.
