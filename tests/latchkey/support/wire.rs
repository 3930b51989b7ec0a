//! What lies between a server and PostgreSQL: counted, and made to swallow what is sent.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixStream},
    sync::watch,
};
use tokio_postgres::config::Host;

use super::TestDatabase;

/// A statement is to be executed, prepared or not.
const EXECUTE: u8 = b'E';
const QUERY: u8 = b'Q';

/// Ends with the test.
pub struct Wire {
    address: String,
    user: String,
    database: String,
    held: watch::Sender<Held>,
    connections: Arc<AtomicUsize>,
    queries: Arc<AtomicUsize>,
}

/// Which connections swallow what is sent, in both directions, until they are let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    None,
    /// The one on which the next query is sent.
    Next,
    /// The one of this number.
    One(usize),
    All,
}

impl Wire {
    /// For the serving role of a database.
    pub async fn start(database: &TestDatabase) -> Self {
        let config: tokio_postgres::Config = database.serving_url().parse().unwrap();
        let Some(Host::Unix(directory)) = config.get_hosts().first() else { panic!("it listens on a socket") };
        let socket = directory.join(format!(".s.PGSQL.{}", config.get_ports().first().copied().unwrap_or(5432)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wire = Self {
            address: listener.local_addr().unwrap().to_string(),
            user: config.get_user().unwrap().to_owned(),
            database: config.get_dbname().unwrap().to_owned(),
            held: watch::Sender::new(Held::None),
            connections: Arc::default(),
            queries: Arc::default(),
        };
        tokio::spawn(serve(
            listener,
            socket,
            wire.held.clone(),
            Arc::clone(&wire.connections),
            Arc::clone(&wire.queries),
        ));
        wire
    }

    /// How the serving role connects.
    pub fn url(&self) -> String {
        format!("postgresql://{}@{}/{}", self.user, self.address, self.database)
    }

    /// From now on all that is sent is swallowed.
    pub fn hold_all(&self) {
        self.held.send_replace(Held::All);
    }

    /// The same for one connection: the one on which a query is sent next.
    pub fn hold_next(&self) {
        self.held.send_replace(Held::Next);
    }

    /// Waits until there is such a one.
    pub async fn holds_one(&self) {
        self.held.subscribe().wait_for(|held| matches!(held, Held::One(_))).await.unwrap();
    }

    /// What was swallowed arrives, and all goes on.
    pub fn let_go(&self) {
        self.held.send_replace(Held::None);
    }

    /// Connections and queries that PostgreSQL has seen, so far.
    pub fn seen(&self) -> (usize, usize) {
        (self.connections.load(Ordering::SeqCst), self.queries.load(Ordering::SeqCst))
    }
}

async fn serve(
    listener: TcpListener,
    socket: PathBuf,
    held: watch::Sender<Held>,
    connections: Arc<AtomicUsize>,
    queries: Arc<AtomicUsize>,
) {
    while let Ok((client, _)) = listener.accept().await {
        let number = connections.fetch_add(1, Ordering::SeqCst);
        let (socket, held, queries) = (socket.clone(), held.clone(), Arc::clone(&queries));
        tokio::spawn(async move {
            let Ok(postgres) = UnixStream::connect(&socket).await else { return };
            let ((mut asks, mut told), (mut answers, mut asked)) = (client.into_split(), postgres.into_split());
            let passes = {
                let held = held.clone();
                move || {
                    let mut held = held.subscribe();
                    async move {
                        let passes = |held: &Held| *held != Held::All && *held != Held::One(number);
                        held.wait_for(passes).await.map(|_| ())
                    }
                }
            };
            tokio::spawn({
                let passes = passes.clone();
                async move {
                    let mut some = [0; 4096];
                    while let Ok(length @ 1..) = answers.read(&mut some).await {
                        if passes().await.is_err() || told.write_all(&some[..length]).await.is_err() {
                            return;
                        }
                    }
                }
            });
            // The first message has no type.
            let mut first = vec![0; 4];
            if asks.read_exact(&mut first).await.is_err() || rest(&mut asks, &mut first, 0).await.is_none() {
                return;
            }
            let mut message = first;
            loop {
                if message[0] == EXECUTE || message[0] == QUERY {
                    queries.fetch_add(1, Ordering::SeqCst);
                    held.send_if_modified(|held| {
                        let is_next = *held == Held::Next;
                        if is_next {
                            *held = Held::One(number);
                        }
                        is_next
                    });
                }
                if passes().await.is_err() || asked.write_all(&message).await.is_err() {
                    return;
                }
                message = vec![0; 5];
                if asks.read_exact(&mut message).await.is_err() || rest(&mut asks, &mut message, 1).await.is_none() {
                    return;
                }
            }
        });
    }
}

/// The rest of a message whose length is at this place.
async fn rest(asks: &mut (impl AsyncRead + Unpin), message: &mut Vec<u8>, at: usize) -> Option<()> {
    let length = u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
    message.resize(at + usize::try_from(length).unwrap(), 0);
    asks.read_exact(&mut message[at + 4..]).await.ok().map(|_| ())
}
