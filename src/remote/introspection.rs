//! Latchkey, asked about tokens.

use std::{
    cmp::Ordering,
    hash::{Hash, Hasher},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use ring::digest::{SHA256, digest};
use tonic::{
    Code, Request, Status,
    metadata::{AsciiMetadataValue, MetadataValue},
    transport::Channel,
};

use super::caller::Caller;
use crate::{
    domain::{clock::boot_time, secret::Secret},
    lookups::{Answers, PATIENCE, Source, SourceUnavailable},
    pb::gitpod::v1::{BatchIntrospectTokensRequest, TokenIntrospection, token_service_client::TokenServiceClient},
};

/// A token that somebody presented: told from others by its SHA-256, which is all that is kept of it.
#[derive(Debug, Clone)]
pub(super) struct Presented {
    pub(super) fingerprint: [u8; 32],
    text: Secret,
}

impl Presented {
    pub(super) fn new(text: &str) -> Self {
        let mut fingerprint = [0; 32];
        fingerprint.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        Self { fingerprint, text: Secret::new(text.to_owned()) }
    }
}

impl PartialEq for Presented {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }
}

impl Eq for Presented {}

impl PartialOrd for Presented {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Presented {
    fn cmp(&self, other: &Self) -> Ordering {
        self.fingerprint.cmp(&other.fingerprint)
    }
}

impl Hash for Presented {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.fingerprint.hash(state);
    }
}

/// What Latchkey said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Answer {
    /// Whose token it is, if it is good.
    pub(super) caller: Option<Caller>,
    /// Whether it could not be said if it is.
    pub(super) is_undecided: bool,
    /// This machine's [time since it was started](boot_time) until which that may be kept.
    pub(super) until: Duration,
    /// The same until which it counts for those who asked, however late it comes to them.
    pub(super) counts_until: Duration,
}

impl Answer {
    /// An answer that cannot be read is about no good token.
    pub(super) fn read(said: &TokenIntrospection, sent: Duration) -> Self {
        let caller = if said.active { Caller::of(said) } else { None };
        let fresh_for = said.fresh_for.and_then(|fresh_for| Duration::try_from(fresh_for).ok()).unwrap_or_default();
        // What may not be kept at all is good for the one use that it was asked for, if it is in time for that.
        let counts_for = if fresh_for.is_zero() { PATIENCE } else { fresh_for };
        Self {
            caller,
            is_undecided: said.undecided,
            until: sent.saturating_add(fresh_for),
            counts_until: sent.saturating_add(counts_for),
        }
    }
}

/// The token of the service that asks; it can be replaced while it runs.
#[derive(Debug)]
pub(super) struct OwnToken(RwLock<AsciiMetadataValue>);

impl OwnToken {
    pub(super) fn new(value: AsciiMetadataValue) -> Self {
        Self(RwLock::new(value))
    }

    /// The value of the header; none if that text cannot stand in one.
    pub(super) fn header(text: &str) -> Option<AsciiMetadataValue> {
        let mut value = MetadataValue::try_from(Secret::new(format!("Bearer {}", text.trim())).expose()).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    pub(super) fn replace(&self, value: AsciiMetadataValue) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = value;
    }

    fn get(&self) -> AsciiMetadataValue {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Asks Latchkey.
#[derive(Debug)]
pub(super) struct Introspection {
    pub(super) client: TokenServiceClient<Channel>,
    pub(super) own_token: Arc<OwnToken>,
}

impl Source for Introspection {
    // As many as it answers at once.
    const BATCH: usize = 1000;
    type Key = Presented;
    type Found = Answer;

    async fn find(&self, presented: Vec<Presented>) -> Answers<Presented, Answer> {
        let tokens = presented.iter().map(|one| one.text.expose().to_owned()).collect();
        let mut request = Request::new(BatchIntrospectTokensRequest { tokens });
        request.set_timeout(PATIENCE);
        request.metadata_mut().insert("authorization", self.own_token.get());
        let sent = boot_time();
        let mut client = self.client.clone();
        // The deadline that goes with the request is Latchkey's to keep; a connection that has become silent keeps none.
        let answer = tokio::time::timeout(PATIENCE, client.batch_introspect_tokens(request)).await;
        let said = match answer {
            Ok(Ok(response)) => response.into_inner().introspections,
            Ok(Err(status)) => return Err(unavailable(&status)),
            Err(_) => return Err(unavailable(&Status::deadline_exceeded("it does not answer"))),
        };
        if said.len() != presented.len() {
            return Err(unavailable(&Status::internal("it has answered about another number of tokens")));
        }
        Ok(presented.into_iter().zip(said.iter().map(|one| Answer::read(one, sent))).collect())
    }
}

fn unavailable(status: &Status) -> SourceUnavailable {
    let (code, message) = (status.code(), status.message());
    if matches!(code, Code::Unauthenticated | Code::PermissionDenied) {
        tracing::error!(?code, message, "Latchkey refuses this service's own token: nobody's can be verified");
    } else {
        tracing::warn!(?code, message, "Latchkey cannot be asked about tokens");
    }
    SourceUnavailable
}
