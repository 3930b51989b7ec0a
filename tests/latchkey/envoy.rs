//! The real Envoy in front of services, with `deploy/envoy` as it is: who gets through to them, as whom, and what all others are told.

mod asking;
mod client;
mod forging;
mod house;
mod outages;
mod refusals;
mod upstream;
mod witnesses;
