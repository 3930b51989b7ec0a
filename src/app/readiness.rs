//! Whether this server can do its work, for balancers and people.

use std::{
    collections::BTreeSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tonic_health::{
    ServingStatus,
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
};

use super::background::Background;
use crate::{
    auth::policy::{POLICIES, Who},
    domain::token::{Generation, SigningKeys},
    service::{CredentialChanges, KeyCheckError, check_signing_keys},
    store::Store,
};

/// How often it is looked at.
const EVERY: Duration = Duration::from_secs(2);

/// What `grpc.health.v1.Health/Check` calls the ability to verify tokens, apart from the rest.
const VERIFICATION: &str = "latchkey.Verification";

/// What is served by verification alone.
const VERIFYING: [&str; 2] = [VERIFICATION, "envoy.service.auth.v3.Authorization"];

/// What is wrong.
#[derive(Debug, Clone)]
struct Problem {
    text: String,
    /// Credentials that are remembered are good all the same.
    verifies: bool,
}

impl Problem {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), verifies: false }
    }
}

/// The last look.
#[derive(Debug)]
pub(super) struct Readiness {
    problem: Mutex<Option<Problem>>,
    is_ending: AtomicBool,
}

impl Readiness {
    /// What is wrong, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        self.look().map(|problem| problem.text)
    }

    fn look(&self) -> Option<Problem> {
        if self.is_ending.load(Ordering::Relaxed) {
            return Some(Problem::new("the server is ending"));
        }
        self.problem.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set(&self, problem: Option<Problem>) {
        *self.problem.lock().unwrap_or_else(PoisonError::into_inner) = problem;
    }
}

/// Says that the server is about to end.
pub(super) struct Draining {
    readiness: Arc<Readiness>,
    reporter: HealthReporter,
}

impl Draining {
    /// From now on, and whatever is seen afterwards: so that balancers send nothing new while what is under way ends. Who
    /// watches is told, and let go.
    pub(super) async fn drain(mut self) {
        self.readiness.is_ending.store(true, Ordering::Relaxed);
        report(&self.reporter, &self.readiness).await;
        for name in names() {
            self.reporter.clear_service_status(name).await;
        }
    }
}

/// Looks now and then. Returns what it last saw, the health service that tells it, and how to say that it is over.
pub(super) async fn watch(
    store: Store,
    keys: Arc<SigningKeys>,
    missing: Vec<Generation>,
    changes: CredentialChanges,
    background: &mut Background,
) -> (Arc<Readiness>, HealthServer<impl Health>, Draining) {
    let readiness = Arc::new(Readiness { problem: Mutex::new(without(&missing)), is_ending: AtomicBool::new(false) });
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, &readiness).await;
    let draining = Draining { readiness: Arc::clone(&readiness), reporter: reporter.clone() };
    let (watched, stop) = (Arc::clone(&readiness), background.stop());
    background.spawn(async move {
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            let problem = match check_signing_keys(&store, &keys).await {
                Ok(missing) => without(&missing).or_else(|| apart(changes.clock_ahead())),
                Err(KeyCheckError::Differs(generation)) => {
                    Some(Problem::new(format!("the signing key of generation {generation} is not the database's")))
                }
                Err(KeyCheckError::Store(error)) => {
                    tracing::warn!(%error, "not ready");
                    let text = "the database does not answer as it should".to_owned();
                    Some(Problem { text, verifies: changes.is_heard() })
                }
            };
            watched.set(problem);
            if watched.is_ending.load(Ordering::Relaxed) {
                return;
            }
            report(&reporter, &watched).await;
        }
    });
    (readiness, health, draining)
}

/// Seconds that the clocks may differ. Expiry is judged by PostgreSQL's time; logs, and whatever else this machine does, are not.
const APART: f64 = 30.0;

fn apart(ahead: f64) -> Option<Problem> {
    let (seconds, which) = (ahead.abs(), if ahead < 0.0 { "ahead of" } else { "behind" });
    (seconds > APART)
        .then(|| Problem::new(format!("this machine's clock is {seconds:.0} s {which} PostgreSQL's; set it right")))
}

fn without(missing: &[Generation]) -> Option<Problem> {
    let missing: Vec<String> = missing.iter().map(ToString::to_string).collect();
    (!missing.is_empty())
        .then(|| Problem::new(format!("this server lacks the signing keys of generation {}", missing.join(", "))))
}

/// The server as a whole (no name), verification, and each service of the contract.
fn names() -> BTreeSet<&'static str> {
    let services =
        POLICIES.iter().filter(|policy| policy.who != Who::Public).filter_map(|policy| policy.rpc.split('/').next());
    services.chain(["", VERIFICATION]).collect()
}

async fn report(reporter: &HealthReporter, readiness: &Readiness) {
    let problem = readiness.look();
    for name in names() {
        let serves = problem.as_ref().is_none_or(|problem| problem.verifies && VERIFYING.contains(&name));
        let status = if serves { ServingStatus::Serving } else { ServingStatus::NotServing };
        reporter.set_service_status(name, status).await;
    }
}
