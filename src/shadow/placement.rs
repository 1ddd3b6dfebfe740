//! The pool of least disruption.
