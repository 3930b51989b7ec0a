//! Other services, protected by the layer that this crate has for them.

mod greeter;
mod tree;
mod verifier;
