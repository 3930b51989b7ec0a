//! What waits to be written.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    net::IpAddr,
    time::Duration,
};

use foldhash::quality::RandomState;
use time::OffsetDateTime;
use tokio::time::Instant;
use uuid::Uuid;

use super::Backlog;
use crate::domain::{
    audit::{Action, Observation, Outcome},
    ids::{PrincipalId, SessionId, TokenId},
    principal::{Credential, Origin, network},
};
use crate::store::{SessionUse, TokenUse};

/// Tallies of one token, or session, that are told apart until the next write: nobody takes the others' room by calling from many addresses.
const OF_ONE_TOKEN: usize = 256;
/// Tallies of callers that are worth writing at once.
pub(super) const MUCH: usize = 5_000;
/// Tokens whose last use may wait, or be written: as many as are remembered.
const USES: usize = 100_000;
/// Sessions whose last use may wait.
const SESSION_USES: usize = 10_000;
/// Peers of strangers that are told apart in a minute: each is a row.
const STRANGERS: usize = 5_000;
const MINUTE: Duration = Duration::from_secs(60);
/// Refusals that are kept one by one until they are written.
const SINGLE: usize = 1_000;

/// What makes two observations one, but for how often.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Key {
    /// The token's ID, or the session's.
    credential: Option<Uuid>,
    principal_id: Option<PrincipalId>,
    action: Action,
    rpc: &'static str,
    outcome: Outcome,
    reason: &'static str,
    peer: Option<IpAddr>,
}

pub(super) type Tallies = HashMap<Key, (Observation, i64), RandomState>;

pub(super) type Uses = HashMap<TokenId, TokenUse, RandomState>;

/// Both by kind, and what has come in since when.
#[derive(Default)]
pub(super) struct Waiting {
    callers: Tallies,
    /// How many of these are of one token, or session.
    of_credential: HashMap<Uuid, usize>,
    strangers: Tallies,
    /// Peers of strangers that are told apart in this minute, and since when.
    known_strangers: HashSet<Option<IpAddr>>,
    strangers_since: Option<Instant>,
    single: Vec<Observation>,
    uses: Uses,
    /// Of sessions there are as many as people who sit at browsers, and one that is lost comes again.
    session_uses: HashMap<SessionId, SessionUse>,
    /// When the first of these came in, and of those that are being written.
    uses_since: Option<Instant>,
    uses_written_since: Option<Instant>,
    in_flight: InFlight,
}

/// How much is being written, and may come back.
#[derive(Default)]
struct InFlight {
    callers: usize,
    strangers: usize,
    single: usize,
    uses: usize,
}

/// What is left to be written of what was taken: callers' tallies first.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) tallies: Vec<(Observation, i64)>,
    pub(super) single: Vec<Observation>,
    callers: usize,
}

impl From<([Tallies; 2], Vec<Observation>)> for Taken {
    fn from((tallies, single): ([Tallies; 2], Vec<Observation>)) -> Self {
        let callers = tallies[0].len();
        Self { tallies: tallies.into_iter().flat_map(HashMap::into_values).collect(), single, callers }
    }
}

impl Taken {
    /// Rows.
    pub(super) fn len(&self) -> usize {
        self.tallies.len() + self.single.len()
    }
}

impl Waiting {
    /// How many tallies of callers wait, or are being written.
    pub(super) fn callers(&self) -> usize {
        self.callers.len() + self.in_flight.callers
    }

    /// Whether much has come in since it was last taken.
    pub(super) fn is_much(&self) -> bool {
        self.callers.len() >= MUCH
    }

    pub(super) fn backlog(&self) -> Backlog {
        let oldest_use = self.uses_written_since.or(self.uses_since);
        Backlog {
            callers: self.callers(),
            strangers: self.strangers.len() + self.in_flight.strangers,
            refusals: self.single.len() + self.in_flight.single,
            last_used_lag: oldest_use.map(|since| since.elapsed()).unwrap_or_default(),
        }
    }

    /// The last use of each token, to be written now.
    pub(super) fn take_uses(&mut self) -> Uses {
        self.uses_written_since = self.uses_since.take();
        self.in_flight.uses = self.uses.len();
        take(&mut self.uses)
    }

    /// The last use of each session, to be written now.
    pub(super) fn take_session_uses(&mut self) -> Vec<SessionUse> {
        self.session_uses.drain().map(|(_, one)| one).collect()
    }

    /// They are written but for these.
    pub(super) fn uses_written(&mut self, but: Vec<TokenUse>) {
        self.in_flight.uses = 0;
        let written_since = self.uses_written_since.take();
        if !but.is_empty() {
            self.uses_since = written_since.or(self.uses_since);
        }
        but.into_iter().for_each(|one| self.take_back(one));
    }

    /// Tallies of callers and of strangers, and what is kept one by one, to be written now.
    pub(super) fn take_seen(&mut self) -> ([Tallies; 2], Vec<Observation>) {
        let (callers, strangers) = (take(&mut self.callers), take(&mut self.strangers));
        self.of_credential.clear();
        self.in_flight = InFlight {
            callers: callers.len(),
            strangers: strangers.len(),
            single: self.single.len(),
            uses: self.in_flight.uses,
        };
        ([callers, strangers], std::mem::take(&mut self.single))
    }

    /// What was taken is written but for this.
    pub(super) fn left(&mut self, taken: &Taken) {
        self.in_flight.callers = taken.tallies.len().min(taken.callers);
        self.in_flight.strangers = taken.tallies.len() - self.in_flight.callers;
        self.in_flight.single = taken.single.len();
    }

    /// The same, and what is left waits again.
    pub(super) fn take_back_seen(&mut self, mut taken: Taken) {
        self.left(&Taken::default());
        for (seen, count) in taken.tallies {
            self.tally(seen, count);
        }
        taken.single.append(&mut self.single);
        self.single = taken.single;
    }

    /// Whether it is by this that there is [much](Self::is_much).
    pub(super) fn observe(&mut self, seen: Observation) -> bool {
        let is_refusal = seen.action != Action::Read && seen.principal.is_some();
        if is_refusal && self.single.len() + self.in_flight.single < SINGLE {
            self.single.push(seen);
            return false;
        }
        let was_much = self.is_much();
        self.tally(seen, 1);
        self.is_much() && !was_much
    }

    pub(super) fn used(&mut self, credential: Credential, at: OffsetDateTime, origin: &Origin) {
        match (credential.token_id(), credential.session_id()) {
            (Some(token), _) => self.token_used(token, at, origin),
            (None, Some(session)) => self.session_used(session, at, origin),
            (None, None) => {}
        }
    }

    fn session_used(&mut self, session: SessionId, at: OffsetDateTime, origin: &Origin) {
        if self.session_uses.len() < SESSION_USES || self.session_uses.contains_key(&session) {
            self.session_uses.insert(session, SessionUse { session_id: session, at, origin: origin.clone() });
        }
    }

    fn token_used(&mut self, token: TokenId, at: OffsetDateTime, origin: &Origin) {
        if let Some(known) = self.uses.get_mut(&token) {
            if known.at < at {
                known.at = at;
                known.peer = origin.peer;
                known.user_agent.clone_from(&origin.user_agent);
            }
        } else if self.has_room_for_use() {
            let one = TokenUse { token_id: token, at, peer: origin.peer, user_agent: origin.user_agent.clone() };
            self.uses.insert(token, one);
            self.uses_since.get_or_insert_with(Instant::now);
        }
    }

    fn has_room_for_use(&self) -> bool {
        let has_room = self.uses.len() + self.in_flight.uses < USES;
        if !has_room {
            metrics::counter!("latchkey_last_used_dropped_total").increment(1);
        }
        has_room
    }

    /// Whether a stranger's peer is told apart from others: only so many are, in one minute.
    fn knows_stranger(&mut self, peer: Option<IpAddr>) -> bool {
        let now = Instant::now();
        if self.strangers_since.is_none_or(|since| now.duration_since(since) >= MINUTE) {
            self.strangers_since = Some(now);
            self.known_strangers.clear();
        }
        if self.known_strangers.len() < STRANGERS {
            self.known_strangers.insert(peer);
        }
        self.known_strangers.contains(&peer)
    }

    /// Takes a use back that could not be written. Of two of a token the later one counts, whichever came first.
    fn take_back(&mut self, one: TokenUse) {
        match self.uses.entry(one.token_id) {
            Entry::Occupied(mut known) if known.get().at < one.at => {
                known.insert(one);
            }
            Entry::Occupied(_) => {}
            Entry::Vacant(place) => {
                place.insert(one);
            }
        }
    }

    fn tally(&mut self, mut seen: Observation, count: i64) {
        let is_stranger = seen.principal.is_none();
        if is_stranger {
            // Whoever has one address of a network of their own has all of it.
            seen.peer = seen.peer.map(network);
            if !self.knows_stranger(seen.peer) {
                metrics::counter!("latchkey_observations_dropped_total").increment(1);
                // How often, though not from where.
                seen.peer = None;
            }
        }
        let is_of_many = |id: &Uuid| self.of_credential.get(id).is_some_and(|many| *many >= OF_ONE_TOKEN);
        let mut key = Key {
            credential: seen.token_id.map(TokenId::uuid).or(seen.session_id.map(SessionId::uuid)),
            principal_id: seen.principal.map(|(id, _)| id),
            action: seen.action,
            rpc: seen.rpc,
            outcome: seen.outcome,
            reason: seen.reason,
            peer: seen.peer,
        };
        let tallies = if is_stranger { &mut self.strangers } else { &mut self.callers };
        if let Some((_, known)) = tallies.get_mut(&key) {
            *known += count;
            return;
        }
        if key.credential.as_ref().is_some_and(is_of_many) {
            metrics::counter!("latchkey_observations_dropped_total").increment(1);
            (key.peer, seen.peer) = (None, None);
        }
        if let Some(id) = key.credential {
            *self.of_credential.entry(id).or_default() += 1;
        }
        tallies.entry(key).or_insert((seen, 0)).1 += count;
    }
}

/// All of it, in exchange for the room that so much takes: it will be as much again, and whoever calls is not to wait while it grows.
fn take<K, V>(from: &mut HashMap<K, V, RandomState>) -> HashMap<K, V, RandomState> {
    let room = HashMap::with_capacity_and_hasher(from.len(), RandomState::default());
    std::mem::replace(from, room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ids::RequestId;

    fn seen(principal: Option<PrincipalId>, number: usize) -> Observation {
        let action = if principal.is_some() { Action::Read } else { Action::CredentialRefuse };
        Observation {
            organization_id: None,
            principal: principal.map(|id| (id, crate::domain::principal::PrincipalKind::User)),
            token_id: None,
            session_id: None,
            action,
            rpc: "test",
            outcome: Outcome::Succeeded,
            reason: "",
            peer: Some(IpAddr::from(u32::try_from(number).unwrap().to_be_bytes())),
            user_agent: None,
            request_id: RequestId::generate(),
        }
    }

    #[test]
    fn there_is_much_by_one_caller_and_by_no_stranger_nor_by_what_is_being_written() {
        let mut waiting = Waiting::default();
        let caller = Some(PrincipalId::generate());
        let mut number = 0;
        let mut rung = |waiting: &mut Waiting, principal, many| {
            number += many;
            (number - many..number).filter(|number| waiting.observe(seen(principal, *number))).count()
        };
        assert_eq!(rung(&mut waiting, None, MUCH * 2), 0, "by strangers");
        assert_eq!(rung(&mut waiting, caller, MUCH - 1), 0, "by less");
        assert_eq!(rung(&mut waiting, caller, MUCH), 1, "once");
        let mut taken = Taken::from(waiting.take_seen());
        let strangers = taken.len() - (MUCH * 2 - 1);
        assert_eq!((waiting.callers(), waiting.backlog().strangers), (MUCH * 2 - 1, strangers));
        assert_eq!((rung(&mut waiting, None, 10), rung(&mut waiting, caller, 10)), (0, 0), "while that is written");
        taken.tallies.truncate(MUCH * 2 - 1 + 5);
        waiting.left(&taken);
        // Beyond so many, strangers are one.
        assert_eq!((waiting.callers(), waiting.backlog().strangers), (MUCH * 2 - 1 + 10, 5 + 1));
        taken.tallies.truncate(MUCH);
        waiting.left(&taken);
        assert_eq!(waiting.callers(), MUCH + 10, "strangers' are written first");
        waiting.take_back_seen(taken);
        assert_eq!((waiting.callers(), waiting.is_much()), (MUCH + 10, true), "the same ones");
    }
}
