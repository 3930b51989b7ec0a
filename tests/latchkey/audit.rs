//! The audit log: what is written, when, and who may read it.
