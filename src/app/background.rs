//! What works beside the requests. It ends in two steps: first whatever makes work, then the recorder that writes down what that did.

use std::{future::Future, time::Duration};

use tokio::task::{JoinError, JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;

use super::AppError;
use crate::service::QueuedRecorder;

/// Tasks that run as long as the server does.
pub(super) struct Background {
    stop: CancellationToken,
    tasks: JoinSet<()>,
    recorder: JoinHandle<()>,
    stop_recorder: CancellationToken,
}

impl Background {
    /// With the recorder, which ends last.
    pub(super) fn start(recorder: QueuedRecorder) -> Self {
        let stop_recorder = CancellationToken::new();
        let recorder = tokio::spawn({
            let stop = stop_recorder.clone();
            async move { recorder.run(stop).await }
        });
        Self { stop: CancellationToken::new(), tasks: JoinSet::new(), recorder, stop_recorder }
    }

    /// By which tasks are told to end.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Another one, which is not to end before it is told to.
    pub(super) fn spawn(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    /// Waits until one ends, which none does before it is told to: without one of them the server would be half a server.
    pub(super) async fn broken_off(&mut self) -> AppError {
        let ended: Result<(), JoinError> = tokio::select! {
            Some(ended) = self.tasks.join_next() => ended,
            ended = &mut self.recorder => ended,
        };
        tracing::error!(?ended, "a background task broke off");
        AppError::Task
    }

    /// Ends it all, and breaks off what takes longer than this, for each of the steps.
    pub(super) async fn end(mut self, patience: Duration) {
        self.stop.cancel();
        let ending = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(patience, ending).await.is_err() {
            tracing::warn!("some background tasks did not end in time and are broken off");
            self.tasks.shutdown().await;
        }
        self.stop_recorder.cancel();
        if !self.recorder.is_finished() && tokio::time::timeout(patience, &mut self.recorder).await.is_err() {
            tracing::warn!("what was seen last could not be written in time");
            self.recorder.abort();
        }
    }
}
