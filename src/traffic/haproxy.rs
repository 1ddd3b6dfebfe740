//! HAProxy through its runtime API on a UNIX socket.
