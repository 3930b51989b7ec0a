//! Signing in without a token: a person says yes in a browser, on this machine or on another one.

mod browser;
mod device;
mod loopback;
mod redirect;

use std::time::Duration;

use latchkey::domain::secret::Secret;

use crate::{error::Failure, host::Host, interrupt::Interrupts, oauth::OAuth, printer::Printer};

/// How long somebody has to say yes.
const PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What is asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wish {
    /// For how many seconds the token is to be good.
    pub(crate) lifetime: Duration,
    /// Whether a browser on this machine is not to be used.
    pub(crate) no_browser: bool,
}

impl Wish {
    fn lifetime(&self) -> String {
        self.lifetime.as_secs().to_string()
    }
}

/// Gets a token from the server, once somebody has said yes. None if the server does not give any out this way.
///
/// # Errors
/// [`Failure`]: refused if somebody says no, interrupted by Ctrl-C.
pub(crate) async fn ask(host: &Host, wish: &Wish, printer: &Printer) -> Result<Option<Secret>, Failure> {
    let oauth = OAuth::new(host.clone())?;
    let mut interrupts = Interrupts::listen()?;
    let asking = async {
        let Some(metadata) = oauth.metadata().await? else { return Ok(None) };
        let browser = if wish.no_browser { None } else { browser::find() };
        let asking = async {
            match browser {
                Some(browser) => redirect::ask(&oauth, &metadata, &browser, wish, printer).await,
                None => device::ask(&oauth, wish, printer).await,
            }
        };
        let late = |_| Failure::Refused("nobody has said yes in time; run `gitpod login` again".to_owned());
        tokio::time::timeout(PATIENCE, asking).await.map_err(late)?.map(Some)
    };
    tokio::select! {
        outcome = asking => outcome,
        by = interrupts.next() => Err(Failure::Interrupted {
            by,
            text: "broken off; nobody is signed in, and nothing was stored".to_owned(),
        }),
    }
}

/// What this machine calls itself.
fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}
