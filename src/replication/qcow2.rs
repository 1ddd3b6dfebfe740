//! The qcow2 header: enough to give a frozen layer another backing file while it is in flight.
