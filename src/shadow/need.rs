//! When a VM needs a shadow, and when a shadow is no longer needed.
