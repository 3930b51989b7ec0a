//! Load by verifications: GetAuthenticatedIdentity with random tokens, by the generated client.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use latchkey::pb::gitpod::v1::{GetAuthenticatedIdentityRequest, identity_service_client::IdentityServiceClient};
use tokio::task::JoinSet;
use tonic::{
    metadata::{Ascii, MetadataValue},
    transport::Channel,
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use super::{Server, figures::Times, server::with_token, tokens::Dice};

/// Some connections to a server, and the tokens that are used on them.
pub struct Load {
    connections: Vec<Channel>,
    tokens: Arc<[MetadataValue<Ascii>]>,
}

/// What came of a load.
pub struct Outcome {
    /// Answers.
    pub count: f64,
    /// Answers a second.
    pub rate: f64,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// GetAuthenticatedIdentity, with a random token.
    Identity,
    /// `grpc.health.v1.Health/Check`, which nobody verifies: the price of the protocol alone.
    Health,
}

impl Load {
    /// Connects so many times.
    pub async fn connect(server: &Server, connections: usize, tokens: &[MetadataValue<Ascii>]) -> Self {
        let mut channels = Vec::new();
        for _ in 0..connections {
            channels.push(server.connect().await);
        }
        Self { connections: channels, tokens: tokens.into() }
    }

    /// Keeps `in_flight` requests under way on each connection, for a while.
    pub async fn saturate(&self, question: Question, in_flight: usize, duration: Duration) -> Outcome {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for (seed, channel) in (0..).zip(self.connections.iter().flat_map(|one| std::iter::repeat_n(one, in_flight))) {
            let mut asker = Asker::new(channel, &self.tokens, seed);
            tasks.spawn(async move {
                let mut count = 0_u32;
                while began.elapsed() < duration {
                    asker.ask(question).await;
                    count += 1;
                }
                count
            });
        }
        let count = tasks.join_all().await.into_iter().map(f64::from).sum::<f64>();
        Outcome { count, rate: count / began.elapsed().as_secs_f64() }
    }

    /// Asks so often a second, whether the ones before were answered or not: a slow answer holds up no question.
    pub async fn at_rate(&self, per_second: u32, duration: Duration) -> Times {
        let began = Instant::now();
        let interval = Duration::from_secs(1) / per_second;
        let mut tasks = JoinSet::new();
        let mut due = began;
        for (seed, channel) in (1 << 32..).zip(self.connections.iter().cycle()) {
            if began.elapsed() >= duration {
                break;
            }
            let mut asker = Asker::new(channel, &self.tokens, seed);
            tasks.spawn(async move {
                let sent = Instant::now();
                asker.ask(Question::Identity).await;
                sent.elapsed()
            });
            due += interval;
            tokio::time::sleep_until(due.into()).await;
        }
        let mut times = Times::default();
        tasks.join_all().await.into_iter().for_each(|time| times.push(time));
        times
    }
}

struct Asker {
    identity: IdentityServiceClient<Channel>,
    health: HealthClient<Channel>,
    tokens: Arc<[MetadataValue<Ascii>]>,
    dice: Dice,
}

impl Asker {
    fn new(channel: &Channel, tokens: &Arc<[MetadataValue<Ascii>]>, seed: u64) -> Self {
        Self {
            identity: IdentityServiceClient::new(channel.clone()),
            health: HealthClient::new(channel.clone()),
            tokens: Arc::clone(tokens),
            dice: Dice(seed << 20),
        }
    }

    async fn ask(&mut self, question: Question) {
        match question {
            Question::Identity => {
                let request = with_token(self.dice.choose(&self.tokens), GetAuthenticatedIdentityRequest {});
                self.identity.get_authenticated_identity(request).await.expect("the token is good");
            }
            Question::Health => {
                self.health.check(HealthCheckRequest::default()).await.expect("the server is healthy");
            }
        }
    }
}
