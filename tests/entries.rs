//! What the verifier remembers, in every order in which a lookup and a revocation can meet.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by breaking off")]

#[path = "../src/auth/entries.rs"]
#[expect(dead_code, reason = "of interest here is what happens to one entry")]
mod entries;

/// What `entries` is made of, as the model has it.
mod sync {
    pub(crate) use loom::sync::{Mutex, MutexGuard};
}

use std::collections::HashMap;

use loom::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};
use uuid::Uuid;

use entries::{Entries, Map};

/// Whether a credential was good when it was looked up.
type Found = bool;

#[derive(Default)]
struct Memory(Mutex<HashMap<Uuid, Found>>);

impl Map<Found> for Memory {
    fn get(&self, id: Uuid) -> Option<Found> {
        self.0.lock().unwrap().get(&id).copied()
    }

    fn put(&self, id: Uuid, value: Found) {
        self.0.lock().unwrap().insert(id, value);
    }

    fn remove(&self, id: Uuid) {
        self.0.lock().unwrap().remove(&id);
    }

    fn remove_where(&self, is_meant: impl Fn(&Found) -> bool) {
        self.0.lock().unwrap().retain(|_, found| !is_meant(found));
    }

    fn clear(&self) {
        self.0.lock().unwrap().clear();
    }
}

const ID: Uuid = Uuid::from_u128(7);

/// Some lookups beside a revocation, which `forget` tells of; nobody who asks afterwards is told what was before.
fn whoever_asks_after_a_revocation_is_told_of_it(lookups: usize, forget: fn(&Entries<Memory>)) {
    let mut every_order = loom::model::Builder::new();
    // Switched to another thread in the middle of something, at the most so often: more would take minutes and show no more.
    every_order.preemption_bound = Some(3);
    every_order.check(move || {
        let entries = Arc::new(Entries::with_stripes(Memory::default(), 2));
        let is_good = Arc::new(AtomicBool::new(true));
        let under_way: Vec<_> = (0..lookups)
            .map(|_| {
                let (entries, is_good) = (Arc::clone(&entries), Arc::clone(&is_good));
                thread::spawn(move || {
                    let mark = entries.mark(ID);
                    let found = is_good.load(Ordering::SeqCst);
                    entries.put(ID, mark, found);
                })
            })
            .collect();
        is_good.store(false, Ordering::SeqCst);
        forget(&entries);
        // The revocation is acknowledged: whatever the lookups do from now on.
        assert_ne!(entries.get(ID), Some(true));
        for lookup in under_way {
            lookup.join().unwrap();
        }
        assert_ne!(entries.get(ID), Some(true));
    });
}

#[test]
fn one_that_is_forgotten_by_its_id_stays_so() {
    whoever_asks_after_a_revocation_is_told_of_it(2, |entries| entries.forget::<Found>(ID));
}

#[test]
fn one_that_is_forgotten_by_what_it_is_stays_so() {
    whoever_asks_after_a_revocation_is_told_of_it(2, |entries| entries.forget_where(|_: &Found| true));
}

#[test]
fn one_that_is_forgotten_with_all_stays_so() {
    whoever_asks_after_a_revocation_is_told_of_it(2, Entries::clear::<Found>);
}

#[test]
fn what_is_looked_up_undisturbed_is_remembered() {
    loom::model(|| {
        let entries = Entries::with_stripes(Memory::default(), 2);
        entries.put(ID, entries.mark(ID), true);
        entries.forget::<Found>(Uuid::from_u128(8));
        assert_eq!(entries.get(ID), Some(true));
    });
}
