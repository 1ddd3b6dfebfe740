//! Probes over the network.
