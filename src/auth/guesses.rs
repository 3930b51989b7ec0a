//! Tries with what is no token, counted for each peer. Whoever goes on trying is told to wait.
//!
//! It is asked only after a text was found to be no token: callers with good tokens never notice, whoever else comes from their
//! address, and whoever proves to hold a token that is good no more has not guessed.

use std::{
    net::{IpAddr, Ipv4Addr},
    num::NonZeroU32,
    sync::Mutex,
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock, MonotonicClock},
    middleware::NoOpMiddleware,
    state::keyed::HashMapStateStore,
};

use crate::domain::principal::{network, wider_network};

/// Tries that a peer has at once; each second gives one back.
const TRIES: NonZeroU32 = NonZeroU32::new(100).expect("it is more than nothing");
/// Peers that are told apart; beyond them, all others count as one.
const PEERS: usize = 100_000;
/// How often those are looked for who have all their tries again.
const SWEEP: Duration = Duration::from_secs(1);

type Limiter<C> = RateLimiter<IpAddr, HashMapStateStore<IpAddr>, C, NoOpMiddleware<<C as Clock>::Instant>>;

/// How often each peer has tried, whichever door it came to.
pub struct Guesses<C: Clock = MonotonicClock> {
    limiter: Limiter<C>,
    clock: C,
    peers: usize,
    swept_at: Mutex<Instant>,
}

impl Default for Guesses {
    fn default() -> Self {
        Self::with_clock(of_peer(), MonotonicClock, PEERS)
    }
}

impl<C: Clock + Clone> Guesses<C> {
    fn with_clock(quota: Quota, clock: C, peers: usize) -> Self {
        let limiter = RateLimiter::new(quota, HashMapStateStore::default(), clock.clone());
        Self { limiter, clock, peers, swept_at: Mutex::new(Instant::now()) }
    }

    /// A peer has tried once more: how long it has to wait now, if it has tried too often.
    pub fn count(&self, peer: IpAddr) -> Option<Duration> {
        let known =
            if self.limiter.len() < self.peers || self.sweep() { network(peer) } else { Ipv4Addr::UNSPECIFIED.into() };
        let wait = self.limiter.check_key(&known).err()?.wait_time_from(self.clock.now());
        Some(wait)
    }

    /// Forgets those who have all their tries again, if it is time. Whether there is room for another then.
    fn sweep(&self) -> bool {
        if let Ok(mut swept_at) = self.swept_at.try_lock()
            && swept_at.elapsed() >= SWEEP
        {
            *swept_at = Instant::now();
            self.limiter.retain_recent();
        }
        self.limiter.len() < self.peers
    }
}

fn of_peer() -> Quota {
    Quota::per_second(NonZeroU32::MIN).allow_burst(TRIES)
}

/// How often something was begun that anybody may begin, and that costs something each time: by each peer, and by each wider network, since
/// somebody may have thousands of peers' addresses for themselves.
pub struct Begun<C: Clock = MonotonicClock> {
    by_peer: Guesses<C>,
    by_network: Guesses<C>,
}

impl Begun {
    /// A wider network may begin as much as so many of its peers.
    #[must_use]
    pub fn new(peers_of_network: NonZeroU32) -> Self {
        Self::with_clock(peers_of_network, MonotonicClock)
    }
}

impl<C: Clock + Clone> Begun<C> {
    fn with_clock(peers_of_network: NonZeroU32, clock: C) -> Self {
        let of_network = Quota::per_second(peers_of_network).allow_burst(peers_of_network.saturating_mul(TRIES));
        Self {
            by_peer: Guesses::with_clock(of_peer(), clock.clone(), PEERS),
            by_network: Guesses::with_clock(of_network, clock, PEERS),
        }
    }

    /// A peer begins once more: how long it has to wait now, if too much was begun. What is refused to it takes nothing from its network.
    pub fn count(&self, peer: IpAddr) -> Option<Duration> {
        self.by_peer.count(peer).or_else(|| self.by_network.count(wider_network(peer)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use governor::clock::FakeRelativeClock;

    use super::*;

    fn spent(guesses: &Guesses<FakeRelativeClock>, peer: IpAddr) {
        for _ in 0..TRIES.get() {
            assert_eq!(guesses.count(peer), None);
        }
        assert!(guesses.count(peer).is_some());
    }

    #[test]
    fn each_peer_has_tries_of_its_own_and_gets_them_back() {
        let clock = FakeRelativeClock::default();
        let guesses = Guesses::with_clock(of_peer(), clock.clone(), 10);
        let peer = IpAddr::from([192, 0, 2, 1]);
        spent(&guesses, peer);
        let wait = guesses.count(peer).unwrap();
        assert!(wait > Duration::ZERO && wait <= Duration::from_secs(1), "{wait:?}");
        assert_eq!(guesses.count(IpAddr::from([192, 0, 2, 2])), None);
        clock.advance(wait);
        assert_eq!(guesses.count(peer), None);
        assert!(guesses.count(peer).is_some(), "one more, and no more");
    }

    #[test]
    fn a_network_of_ipv6_is_one_peer() {
        let guesses = Guesses::with_clock(of_peer(), FakeRelativeClock::default(), 10);
        spent(&guesses, IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0, 0, 0, 1)));
        assert!(guesses.count(IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 1, 0xffff, 0, 0, 2))).is_some());
        assert_eq!(guesses.count(IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, 0, 2, 0, 0, 0, 1))), None);
    }

    #[test]
    fn peers_beyond_those_that_are_told_apart_are_one() {
        let guesses = Guesses::with_clock(of_peer(), FakeRelativeClock::default(), 2);
        let peer = |number| IpAddr::from([192, 0, 2, number]);
        for number in 0..2 {
            assert_eq!(guesses.count(peer(number)), None);
        }
        for number in 2..=101 {
            assert_eq!(guesses.count(peer(number)), None);
        }
        assert!(guesses.count(peer(200)).is_some());
        assert!(guesses.limiter.len() <= 3);
    }

    #[test]
    fn many_peers_of_one_network_begin_no_more_than_it_may() {
        let clock = FakeRelativeClock::default();
        let ten = NonZeroU32::new(10).unwrap();
        let begun = Begun::with_clock(ten, clock.clone());
        let peer = |network, number| IpAddr::from(Ipv6Addr::new(0x2001, 0xdb8, network, number, 0, 0, 0, 1));
        for _ in 0..TRIES.get() {
            assert_eq!(begun.count(peer(1, 0)), None);
        }
        for _ in 0..10_000 {
            assert!(begun.count(peer(1, 0)).is_some(), "one alone");
        }
        let others = (1..5000).filter(|number| begun.count(peer(1, *number)).is_none()).count();
        assert_eq!(others, 9 * TRIES.get() as usize, "what it was refused took nothing from them");
        assert_eq!(begun.count(peer(2, 0)), None, "another network");
        clock.advance(Duration::from_secs(1));
        let others = (1..5000).filter(|number| begun.count(peer(1, *number)).is_none()).count();
        assert_eq!(others, 10);
    }
}
