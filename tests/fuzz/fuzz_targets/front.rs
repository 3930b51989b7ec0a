//! See `../front.rs`; the corpus is also an ordinary test, `tests/fuzz.rs`.

#![no_main]

#[path = "../front.rs"]
mod front;

use std::cell::LazyCell;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static FRONT: LazyCell<front::Front> = const { LazyCell::new(front::Front::new) };
}

fuzz_target!(|input: &[u8]| {
    FRONT.with(|front| front.take(input));
});
