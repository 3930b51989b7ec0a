//! Repositories and Git servers that mean harm: each made for real, cloned by the real server, and judged by what a person
//! sees of it.

mod connecting;
mod progress;
mod protocol;
mod redirects;
mod repositories;
mod servers;
mod sizes;

/// Bytes that do not get smaller when they are packed.
fn noise(length: usize) -> Vec<u8> {
    let mut state: u64 = 1;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}
