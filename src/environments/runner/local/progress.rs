//! How far a clone has come: told by its sandbox through a pipe, believed no further than its form, kept for who asks.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::unix::pipe};

use crate::{domain::environment::Progress, environments::supervisor::task::PROGRESS_LIMIT};

/// Between two looks at what is told. Whoever tells more than is looked at waits: nothing here grows with what is told.
const PAUSE: Duration = Duration::from_millis(250);

/// Where the clone of one environment is, if there is one under way.
#[derive(Debug, Clone, Default)]
pub(super) struct Position(Arc<Mutex<Option<Progress>>>);

impl Position {
    pub(super) fn get(&self) -> Option<Progress> {
        *self.lock()
    }

    /// Keeps up with what a clone tells, for as long as this is not dropped; there is nothing to be said after that.
    pub(super) async fn follow(&self, mut told: pipe::Receiver) -> Infallible {
        let _following = Following(self);
        let mut buffer = [0; PROGRESS_LIMIT];
        while let Ok(length @ 1..) = told.read(&mut buffer).await {
            if let Some(progress) = last(&buffer[..length]) {
                *self.lock() = Some(progress);
            }
            tokio::time::sleep(PAUSE).await;
        }
        std::future::pending().await
    }

    fn lock(&self) -> MutexGuard<'_, Option<Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a clone has told is of no interest when it is over.
struct Following<'a>(&'a Position);

impl Drop for Following<'_> {
    fn drop(&mut self) {
        *self.0.lock() = None;
    }
}

/// The last whole line that is a report. What is none, is no news.
fn last(told: &[u8]) -> Option<Progress> {
    let whole = &told[..=told.iter().rposition(|byte| *byte == b'\n')?];
    whole.split(|byte| *byte == b'\n').rev().find_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;
    use crate::domain::environment::ProgressStep;

    const LINE: &str = "{\"step\":\"receiving\",\"done\":1,\"total\":2,\"bytes\":3}\n";
    const PROGRESS: Progress = Progress { step: ProgressStep::Receiving, done: 1, total: 2, bytes: 3 };

    #[test]
    fn what_is_told_is_believed_no_further_than_its_form() {
        assert_eq!(last(LINE.as_bytes()), Some(PROGRESS));
        assert_eq!(last(format!("{LINE}nonsense\n{{\"step\":").as_bytes()), Some(PROGRESS));
        for told in [
            "",
            "\n",
            LINE.trim_end(),
            &LINE.replace("receiving", "\u{1b}[2J"),
            &LINE.replace(":1,", ":-1,"),
            &LINE.replace(":1,", ":1e400,"),
            &LINE.replace(":1,", ":1,\"text\":\"x\","),
            &LINE.replace(",\"bytes\":3", ""),
        ] {
            assert_eq!(last(told.as_bytes()), None, "{told:?}");
        }
    }

    #[tokio::test]
    async fn what_was_told_is_known_until_nobody_follows_any_more() {
        let position = Position::default();
        let (mut sender, receiver) = pipe::pipe().unwrap();
        let following = tokio::spawn({
            let position = position.clone();
            async move { match position.follow(receiver).await {} }
        });
        sender.write_all(LINE.as_bytes()).await.unwrap();
        // The other end of the pipe may go before the clone does.
        drop(sender);
        while position.get().is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(position.get(), Some(PROGRESS));
        following.abort();
        assert!(following.await.unwrap_err().is_cancelled());
        assert_eq!(position.get(), None);
    }
}
