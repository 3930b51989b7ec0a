//! The ways in which a server ends without a warning.

use std::panic::AssertUnwindSafe;

use futures::{FutureExt, future::join_all};

use crate::support::{LocalServer, Starter};

/// Which process is killed of a server, and who started it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Death {
    /// The one that was started. Where root did, it has kept root's rights, and serves nobody itself.
    Started,
    /// The one that serves, which root's server has beside it.
    Serving,
    /// The only one that there is where an ordinary account starts the server.
    Ordinary,
}

impl Death {
    /// Those that differ for whoever runs the tests.
    fn all() -> Vec<Self> {
        if Starter::all().len() == 1 {
            return vec![Self::Started];
        }
        vec![Self::Started, Self::Serving, Self::Ordinary]
    }

    /// Tries each of them, all at once.
    pub(super) async fn each(test: impl AsyncFn(Self)) {
        let tried = join_all(Self::all().into_iter().map(async |death| {
            // What went wrong was said by then.
            AssertUnwindSafe(test(death)).catch_unwind().await.is_err().then_some(death)
        }));
        let failed: Vec<Self> = tried.await.into_iter().flatten().collect();
        assert!(failed.is_empty(), "it went wrong for {failed:?}");
    }

    /// A server that will end like this.
    pub(super) async fn awaits(self) -> LocalServer {
        LocalServer::start_of(match self {
            Self::Started | Self::Serving => Starter::Oneself,
            Self::Ordinary => Starter::OrdinaryAccount,
        })
        .await
    }

    /// The server ends.
    pub(super) async fn comes_to(self, local: &mut LocalServer) {
        match self {
            Self::Started | Self::Ordinary => local.kill().await,
            Self::Serving => local.kill_server().await,
        }
    }
}
