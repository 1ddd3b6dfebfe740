//! One suite of behaviours for every platform: what the engine relies on holds on the simulated one and on real ones.

#[path = "contract/simulated.rs"]
mod simulated;
#[path = "contract/suite.rs"]
mod suite;
