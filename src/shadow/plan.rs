//! From a need to the exact steps and their digest.
