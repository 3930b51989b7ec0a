//! Places for codes that are under way at a provider: so many in all, and a few of each peer and of each wider network, so that nobody takes
//! all of them.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::principal::{network, wider_network};

/// In all.
const ALL: usize = 32;
/// Of one peer: people behind one address sign in one after the other, mostly.
const OF_PEER: usize = 4;
/// Of all peers of one wider network.
const OF_NETWORK: usize = 8;

/// Who has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Places(Arc<Mutex<HashMap<Option<IpAddr>, usize>>>);

/// One of them, as long as it is kept.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    peer: Option<IpAddr>,
}

impl Places {
    /// A place for a peer, if there is one left.
    pub(super) fn take(&self, peer: Option<IpAddr>) -> Option<Place> {
        let peer = peer.map(network);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_neighbour = |other: &Option<IpAddr>| other.map(wider_network) == peer.map(wider_network);
        let of_network: usize = taken.iter().filter(|(other, _)| is_neighbour(other)).map(|(_, of_peer)| of_peer).sum();
        let is_much = of_network >= OF_NETWORK || taken.get(&peer).is_some_and(|of_peer| *of_peer >= OF_PEER);
        if is_much || taken.values().sum::<usize>() >= ALL {
            return None;
        }
        *taken.entry(peer).or_default() += 1;
        Some(Place { places: self.clone(), peer })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(of_peer) = taken.get_mut(&self.peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_takes_all_places_and_each_is_given_back() {
        let places = Places::default();
        let peer = |number: u8| Some(IpAddr::from([192, 0, 2, number]));
        let of_one: Vec<_> = (0..10).map_while(|_| places.take(peer(1))).collect();
        assert_eq!(of_one.len(), OF_PEER);
        let others: Vec<_> =
            (2..=20).flat_map(|number| (0..OF_PEER).map(move |_| number)).map_while(|n| places.take(peer(n))).collect();
        assert_eq!(of_one.len() + others.len(), ALL);
        assert!(places.take(peer(100)).is_none());
        drop(of_one);
        assert!(places.take(peer(100)).is_some() && places.take(peer(1)).is_some());
        drop(others);
        assert!(places.0.lock().unwrap().is_empty());
    }

    #[test]
    fn whoever_has_many_networks_of_their_own_takes_a_few_places() {
        let places = Places::default();
        let peer = |network, number| Some(IpAddr::from([0x2001, 0xdb8, network, number, 0, 0, 0, 1]));
        let of_one: Vec<_> = (0..100).filter_map(|number| places.take(peer(1, number))).collect();
        assert_eq!(of_one.len(), OF_NETWORK);
        assert!(places.take(peer(2, 0)).is_some());
    }
}
