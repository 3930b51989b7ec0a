//! What the verifier remembers, and how soon it hears that it is true no more.

mod bound;
mod clocks;
mod pgbouncer;
mod pooler;
mod promotion;
mod replicas;
mod triggers;
