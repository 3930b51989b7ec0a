//! What is remembered by ID, and how it is forgotten in spite of whoever is about to remember it.
//!
//! A lookup takes a mark of its ID before it is sent, and remembers what was found only while nothing that the ID stands for was
//! forgotten since: its snapshot may be older than that. Marks are of one counter in many, chosen by the ID. To forget is to count
//! first and to remove then; to remember is to compare and to put while the counter cannot move. So once something is forgotten,
//! nobody finds it until it is looked up again.

use uuid::Uuid;

use super::sync::{Mutex, MutexGuard};

/// Counters. Of two IDs that share one, each keeps lookups of the other that are under way from being remembered, and no more.
const STRIPES: usize = 1024;

/// Where entries are. Each call is by itself: nothing is asked of two calls together.
pub(super) trait Map<V> {
    fn get(&self, id: Uuid) -> Option<V>;
    fn put(&self, id: Uuid, value: V);
    fn remove(&self, id: Uuid);
    fn remove_where(&self, is_meant: impl Fn(&V) -> bool);
    fn clear(&self);
}

/// What the counter of an ID was.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark(u64);

/// Entries of one kind.
pub(super) struct Entries<M> {
    map: M,
    counters: Box<[Mutex<u64>]>,
}

impl<M> Entries<M> {
    pub(super) fn new(map: M) -> Self {
        Self::with_stripes(map, STRIPES)
    }

    pub(super) fn with_stripes(map: M, stripes: usize) -> Self {
        Self { map, counters: (0..stripes).map(|_| Mutex::new(0)).collect() }
    }

    pub(super) const fn map(&self) -> &M {
        &self.map
    }

    fn counter(&self, id: Uuid) -> MutexGuard<'_, u64> {
        // The lowest bits of an ID are random, in UUIDs of version 7 as well.
        let stripe = usize::try_from(id.as_u64_pair().1 % self.counters.len() as u64).unwrap_or_default();
        lock(&self.counters[stripe])
    }

    /// To be taken before a lookup is sent.
    pub(super) fn mark(&self, id: Uuid) -> Mark {
        Mark(*self.counter(id))
    }

    pub(super) fn get<V>(&self, id: Uuid) -> Option<V>
    where
        M: Map<V>,
    {
        self.map.get(id)
    }

    /// Remembers what a lookup found that took this mark, if that is still sure to be so.
    pub(super) fn put<V>(&self, id: Uuid, mark: Mark, value: V)
    where
        M: Map<V>,
    {
        let counter = self.counter(id);
        if *counter == mark.0 {
            self.map.put(id, value);
        }
    }

    /// Forgets one.
    pub(super) fn forget<V>(&self, id: Uuid)
    where
        M: Map<V>,
    {
        *self.counter(id) += 1;
        self.map.remove(id);
    }

    /// Forgets all that are meant, whatever their IDs are.
    pub(super) fn forget_where<V>(&self, is_meant: impl Fn(&V) -> bool)
    where
        M: Map<V>,
    {
        self.count_all();
        self.map.remove_where(is_meant);
    }

    /// Forgets everything.
    pub(super) fn clear<V>(&self)
    where
        M: Map<V>,
    {
        self.count_all();
        self.map.clear();
    }

    fn count_all(&self) {
        for counter in &self.counters {
            *lock(counter) += 1;
        }
    }
}

/// A number is whole whoever panicked.
fn lock(counter: &Mutex<u64>) -> MutexGuard<'_, u64> {
    counter.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
