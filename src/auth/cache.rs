//! Credentials that were looked up, remembered as long as this server is sure to hear of what ends them.
//!
//! PostgreSQL tells of every change that verification would read. Whether it is heard is known by heartbeats, which come back the same
//! way: an entry counts only if the last one that came back was sent less than the bound ago, by a clock that also runs while the
//! process is stopped. Nothing else is needed: a connection that is lost, silent or cut, a process that stands still, a machine that sleeps,
//! all end in entries that do not count. (A virtual machine whose clocks its host stops does not notice it.)

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use quick_cache::sync::Cache as QuickCache;
use time::OffsetDateTime;
use uuid::Uuid;

use super::entries::{Entries, Map, Mark};
use crate::domain::{
    clock::boot_time,
    credential::StoredCredential,
    ids::{EnvironmentId, PrincipalId, SessionId},
    principal::Credential,
    token::CredentialKind,
};

/// Environment tokens that are remembered: they live for an hour at the most.
const ENVIRONMENT_TOKENS: usize = 10_000;
/// Sessions that are remembered: of as many people at once.
const SESSIONS: usize = 10_000;

/// How long it counts that there is nothing of an ID: rows that are added, such as those that an operator restores, are not told of.
const NOTHING: Duration = Duration::from_secs(5);

/// A credential as it is stored; none of this ID where there is none.
type Found = Option<StoredCredential>;
type Memory = QuickCache<Uuid, Remembered>;

/// What a lookup found.
#[derive(Debug, Clone)]
enum Remembered {
    Stored(StoredCredential),
    /// Nothing, when it was remembered.
    Nothing(Duration),
}

impl Remembered {
    const fn stored(&self) -> Option<&StoredCredential> {
        match self {
            Self::Stored(stored) => Some(stored),
            Self::Nothing(_) => None,
        }
    }
}

/// Remembers credentials. Everybody in this process who ends one tells it to [forget](Self::forget_token), and so does whoever
/// hears of it from PostgreSQL.
pub struct Cache {
    bound: Duration,
    personal_access_tokens: Entries<Memory>,
    environment_tokens: Entries<Memory>,
    sessions: Entries<Memory>,
    heard: Heard,
}

/// What is known by the last heartbeat that came back, in nanoseconds.
#[derive(Debug, Default)]
struct Heard {
    /// When it was sent, since the machine was started; 0 for never.
    sent: AtomicU64,
    /// PostgreSQL's time at the start of the machine, since 1970.
    epoch: AtomicU64,
}

impl Cache {
    /// Remembers that many personal access tokens, each use of which is at most `bound` later than what it was looked up for; with a
    /// bound of 0, none.
    #[must_use]
    pub fn new(bound: Duration, personal_access_tokens: usize) -> Self {
        Self {
            bound,
            personal_access_tokens: Entries::new(QuickCache::new(personal_access_tokens)),
            environment_tokens: Entries::new(QuickCache::new(ENVIRONMENT_TOKENS)),
            sessions: Entries::new(QuickCache::new(SESSIONS)),
            heard: Heard::default(),
        }
    }

    /// The longest that a credential may be of use after it has ended.
    #[must_use]
    pub const fn bound(&self) -> Duration {
        self.bound
    }

    /// Credentials that are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.personal_access_tokens.map().len() + self.environment_tokens.map().len() + self.sessions.map().len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How long ago the last heartbeat was sent that came back; none if none ever did.
    #[must_use]
    pub fn silence(&self) -> Option<Duration> {
        let sent = Some(self.heard.sent.load(Ordering::Acquire)).filter(|sent| *sent > 0)?;
        Some(boot_time().saturating_sub(Duration::from_nanos(sent)))
    }

    /// A heartbeat has come back that was sent at this time [since the machine was started](boot_time), when PostgreSQL's clock
    /// showed about the other.
    pub fn heard(&self, sent: Duration, postgres: OffsetDateTime) {
        let epoch = postgres.unix_timestamp_nanos() - i128::try_from(sent.as_nanos()).unwrap_or_default();
        self.heard.epoch.store(u64::try_from(epoch).unwrap_or_default(), Ordering::Release);
        self.heard.sent.store(nanoseconds(sent), Ordering::Release);
    }

    /// PostgreSQL's time, if what was in memory after a heartbeat had come back that was sent at this time counts now; and now.
    fn trusted_at(&self, sent: Duration) -> Option<(Duration, OffsetDateTime)> {
        let now = boot_time();
        if sent.is_zero() || now.saturating_sub(sent) >= self.bound {
            return None;
        }
        let epoch = i128::from(self.heard.epoch.load(Ordering::Acquire));
        let postgres = epoch + i128::try_from(now.as_nanos()).ok()?;
        Some((now, OffsetDateTime::from_unix_timestamp_nanos(postgres).ok()?))
    }

    /// What is remembered of an ID, as if it were read now; none if nothing is, or if it does not count now.
    pub(super) fn get(&self, kind: CredentialKind, id: Uuid) -> Option<Found> {
        self.get_while(kind, id, || {})
    }

    /// The same; `meanwhile` is what happens while this stands still in the middle.
    fn get_while(&self, kind: CredentialKind, id: Uuid, meanwhile: impl FnOnce()) -> Option<Found> {
        // Before: of a heartbeat that comes back later, what is read now may know less.
        let sent = Duration::from_nanos(self.heard.sent.load(Ordering::Acquire));
        let found = self.of(kind).get::<Remembered>(id)?;
        meanwhile();
        // Afterwards: the process may have stood still in between.
        let (now, read_at) = self.trusted_at(sent)?;
        match found {
            Remembered::Stored(stored) => {
                let known_at = stored.known_at.max(sent);
                Some(Some(StoredCredential { read_at, known_at, ..stored }))
            }
            Remembered::Nothing(since) => (now.saturating_sub(since) < NOTHING).then_some(None),
        }
    }

    /// To be taken before an ID is looked up.
    pub(super) fn mark(&self, kind: CredentialKind, id: Uuid) -> Mark {
        self.of(kind).mark(id)
    }

    /// Remembers what a lookup found that took this mark.
    pub(super) fn put(&self, kind: CredentialKind, id: Uuid, mark: Mark, found: Found) {
        self.put_at(kind, id, mark, found, boot_time());
    }

    fn put_at(&self, kind: CredentialKind, id: Uuid, mark: Mark, found: Found, now: Duration) {
        if !self.bound.is_zero() {
            let remembered = found.map_or(Remembered::Nothing(now), Remembered::Stored);
            self.of(kind).put(id, mark, remembered);
        }
    }

    const fn of(&self, kind: CredentialKind) -> &Entries<Memory> {
        match kind {
            CredentialKind::PersonalAccessToken => &self.personal_access_tokens,
            CredentialKind::EnvironmentToken => &self.environment_tokens,
            // The last two are never looked up here, but that there is nothing of one.
            CredentialKind::Session | CredentialKind::SignInLink | CredentialKind::LoginCode => &self.sessions,
        }
    }

    /// Forgets a token of either kind, and what was made from it.
    pub fn forget_token(&self, id: Uuid) {
        self.personal_access_tokens.forget::<Remembered>(id);
        self.environment_tokens.forget::<Remembered>(id);
        self.environment_tokens.forget_where(|found: &Remembered| {
            found.stored().and_then(|stored| stored.credential.token_id()).is_some_and(|token| token.uuid() == id)
        });
    }

    /// Forgets a session.
    pub fn forget_session(&self, id: SessionId) {
        self.sessions.forget::<Remembered>(id.uuid());
    }

    /// Forgets every token and session of a principal.
    pub fn forget_principal(&self, id: PrincipalId) {
        let is_theirs = |found: &Remembered| found.stored().is_some_and(|stored| stored.principal_id == id);
        self.personal_access_tokens.forget_where(is_theirs);
        self.environment_tokens.forget_where(is_theirs);
        self.sessions.forget_where(is_theirs);
    }

    /// Forgets the tokens of an environment.
    pub fn forget_environment(&self, id: EnvironmentId) {
        self.environment_tokens.forget_where(|found: &Remembered| {
            found.stored().is_some_and(|stored| match stored.credential {
                Credential::EnvironmentToken { environment_id, .. } => environment_id == id,
                Credential::PersonalAccessToken { .. } | Credential::Session { .. } => false,
            })
        });
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.personal_access_tokens.clear::<Remembered>();
        self.environment_tokens.clear::<Remembered>();
        self.sessions.clear::<Remembered>();
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Cache").field("bound", &self.bound).field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Map<Remembered> for Memory {
    fn get(&self, id: Uuid) -> Option<Remembered> {
        Self::get(self, &id)
    }

    fn put(&self, id: Uuid, value: Remembered) {
        self.insert(id, value);
    }

    fn remove(&self, id: Uuid) {
        Self::remove(self, &id);
    }

    fn remove_where(&self, is_meant: impl Fn(&Remembered) -> bool) {
        // As environment tokens mostly are: told of a thousand tokens, nobody looks through nothing a thousand times.
        if !self.is_empty() {
            self.retain(|_, found| !is_meant(found));
        }
    }

    fn clear(&self) {
        Self::clear(self);
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;
    use crate::domain::{
        ids::{EnvironmentTokenId, OrganizationId, TokenId},
        principal::{PrincipalKind, PrincipalStatus, Role},
        token::Digest,
    };

    const NOW: OffsetDateTime = datetime!(2026-01-01 00:00:00 UTC);
    const PERSONAL: CredentialKind = CredentialKind::PersonalAccessToken;
    const ENVIRONMENT: CredentialKind = CredentialKind::EnvironmentToken;

    fn stored(credential: Credential, principal_id: PrincipalId) -> StoredCredential {
        StoredCredential {
            credential,
            digest: Digest::from_bytes([0; 32]),
            expires_at: NOW,
            revoked_at: None,
            organization_id: OrganizationId::generate(),
            principal_id,
            kind: PrincipalKind::User,
            role: Role::Member,
            status: PrincipalStatus::Active,
            read_at: NOW,
            known_at: Duration::ZERO,
        }
    }

    /// One that has heard from PostgreSQL this moment, and what it remembers: a token, and one for an environment made from it.
    struct Known {
        cache: Cache,
        principal: PrincipalId,
        token: TokenId,
        environment: EnvironmentId,
        environment_token: EnvironmentTokenId,
    }

    impl Known {
        fn new(bound: Duration) -> Self {
            let known = Self {
                cache: Cache::new(bound, 100),
                principal: PrincipalId::generate(),
                token: TokenId::generate(),
                environment: EnvironmentId::generate(),
                environment_token: EnvironmentTokenId::generate(),
            };
            known.cache.heard(boot_time(), NOW);
            known.put();
            known
        }

        fn put(&self) {
            let (cache, parent) = (&self.cache, self.token);
            let token = Credential::PersonalAccessToken { id: parent, read_only: false };
            let of_environment =
                Credential::EnvironmentToken { id: self.environment_token, environment_id: self.environment, parent };
            for (kind, id, credential) in
                [(PERSONAL, parent.uuid(), token), (ENVIRONMENT, self.environment_token.uuid(), of_environment)]
            {
                let mark = cache.mark(kind, id);
                cache.put(kind, id, mark, Some(stored(credential, self.principal)));
            }
        }

        /// Whether it still knows the token, and the one for the environment.
        fn knows(&self) -> (bool, bool) {
            let token = self.cache.get(PERSONAL, self.token.uuid());
            let of_environment = self.cache.get(ENVIRONMENT, self.environment_token.uuid());
            (token.is_some(), of_environment.is_some())
        }
    }

    const LONG: Duration = Duration::from_secs(3600);

    #[test]
    fn what_is_forgotten_is_what_was_named_and_what_depends_on_it() {
        type Forget = fn(&Known);
        let cases: [(&str, Forget, (bool, bool)); 7] = [
            ("nothing", |_| {}, (true, true)),
            ("another token", |known| known.cache.forget_token(TokenId::generate().uuid()), (true, true)),
            ("the token", |known| known.cache.forget_token(known.token.uuid()), (false, false)),
            (
                "the environment's token",
                |known| known.cache.forget_token(known.environment_token.uuid()),
                (true, false),
            ),
            ("the environment", |known| known.cache.forget_environment(known.environment), (true, false)),
            ("the principal", |known| known.cache.forget_principal(known.principal), (false, false)),
            ("everything", |known| known.cache.clear(), (false, false)),
        ];
        for (what, forget, left) in cases {
            let known = Known::new(LONG);
            forget(&known);
            assert_eq!(known.knows(), left, "{what}");
            known.put();
            assert_eq!(known.knows(), (true, true), "{what} is looked up again");
        }
    }

    #[test]
    fn what_was_looked_up_before_it_was_forgotten_is_not_remembered_after_it() {
        let known = Known::new(LONG);
        let (id, environment_token) = (known.token.uuid(), known.environment_token.uuid());
        type Forget<'a> = &'a dyn Fn();
        let each: [Forget<'_>; 3] =
            [&|| known.cache.forget_token(id), &|| known.cache.forget_principal(known.principal), &|| {
                known.cache.clear()
            }];
        for forget in each {
            let marks = (known.cache.mark(PERSONAL, id), known.cache.mark(ENVIRONMENT, environment_token));
            forget();
            let found =
                Some(stored(Credential::PersonalAccessToken { id: known.token, read_only: false }, known.principal));
            known.cache.put(PERSONAL, id, marks.0, found.clone());
            known.cache.put(ENVIRONMENT, environment_token, marks.1, found);
            assert_eq!(known.knows(), (false, false));
        }
    }

    #[test]
    fn nothing_counts_longer_than_the_bound_after_a_heartbeat() {
        let a_while_ago = boot_time().checked_sub(Duration::from_secs(2)).unwrap();
        for (bound, counts) in [(Duration::from_secs(1), false), (LONG, true)] {
            let known = Known::new(bound);
            known.cache.heard(a_while_ago, NOW);
            assert_eq!(known.knows(), (counts, counts), "{bound:?}");
        }
        // A heartbeat that was never heard, and a bound of nothing.
        let unheard = Cache::new(LONG, 100);
        unheard.put(PERSONAL, Uuid::nil(), unheard.mark(PERSONAL, Uuid::nil()), None);
        assert!(unheard.get(PERSONAL, Uuid::nil()).is_none());
        let none = Known::new(Duration::ZERO);
        assert_eq!(none.knows(), (false, false));
        assert!(none.cache.is_empty());
    }

    #[test]
    fn what_was_read_before_a_heartbeat_came_back_does_not_count_by_it() {
        let known = Known::new(Duration::from_secs(1));
        let id = known.token.uuid();
        known.cache.heard(boot_time().checked_sub(Duration::from_secs(2)).unwrap(), NOW);
        // Whoever reads stands still; meanwhile, it is heard that the token was revoked long ago, and then a heartbeat.
        let read = known.cache.get_while(PERSONAL, id, || {
            known.cache.forget_token(id);
            known.cache.heard(boot_time(), NOW);
        });
        assert!(read.is_none(), "{read:?}");
    }

    #[test]
    fn that_there_is_nothing_counts_for_a_while() {
        let known = Known::new(LONG);
        for (seconds, counts) in [(1, true), (6, false)] {
            let id = Uuid::from_u128(7);
            let since = boot_time().checked_sub(Duration::from_secs(seconds)).unwrap();
            known.cache.put_at(PERSONAL, id, known.cache.mark(PERSONAL, id), None, since);
            assert_eq!(known.cache.get(PERSONAL, id).is_some(), counts, "{seconds} s");
        }
    }

    #[test]
    fn what_is_remembered_is_as_of_now_by_the_clock_of_postgresql() {
        let known = Known::new(LONG);
        let sent = boot_time().checked_sub(Duration::from_secs(2)).unwrap();
        known.cache.heard(sent, NOW);
        let read_at = known.cache.get(PERSONAL, known.token.uuid()).unwrap().unwrap().read_at;
        let passed = read_at - NOW;
        assert!(passed >= time::Duration::seconds(2) && passed < time::Duration::seconds(1000), "{passed}");
    }
}
