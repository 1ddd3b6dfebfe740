//! Two real libvirt hosts, guests, HAProxy and load on this machine.
