//! What the verifier remembers, and how soon it hears that it is true no more.

mod bound;
mod pgbouncer;
mod pooler;
mod replicas;
mod triggers;
