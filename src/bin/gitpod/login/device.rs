//! By a code that a person types on another machine (RFC 8628).

use std::time::Duration;

use latchkey::domain::{secret::Secret, token::UserCode};
use tokio::time::Instant;

use super::{Wish, host_name};
use crate::{
    error::Failure,
    oauth::{DEVICE_CODE, OAuth, Refused, page},
    printer::Printer,
};

/// How often to ask, where the server does not say (RFC 8628, section 3.5); and how much more seldom when it says so.
const INTERVAL: Duration = Duration::from_secs(5);
/// However seldom a server would have it.
const SELDOM: Duration = Duration::from_secs(60);

/// Shows where to go and what to type, and waits for what comes of it.
pub(super) async fn ask(oauth: &OAuth, wish: &Wish, printer: &Printer) -> Result<Secret, Failure> {
    let (host_name, lifetime) = (host_name(), wish.lifetime());
    let said = oauth.authorize_device(&[("host_name", &host_name), ("lifetime", &lifetime)]).await?;
    let seconds = |name: &str| said[name].as_u64().map(Duration::from_secs);
    let codes = said["device_code"].as_str().zip(said["user_code"].as_str().and_then(UserCode::parse));
    let address = said["verification_uri"].as_str().and_then(page);
    let ((device_code, user_code), address) = codes.zip(address).ok_or_else(|| {
        Failure::Failed("the server gave no code to sign in with; is it as new as this client?".to_owned())
    })?;
    let device_code = Secret::new(device_code.to_owned());
    printer.note(&format!(
        "Open this address in a browser, on whichever machine you are signed in:\n\n  {address}\n\nand type this code:\n\n  {}\n",
        user_code.expose()
    ));
    let ends = Instant::now() + seconds("expires_in").unwrap_or(super::PATIENCE);
    let mut interval = seconds("interval").unwrap_or(INTERVAL).clamp(Duration::from_secs(1), SELDOM);
    let waiting = printer.progress("gitpod login");
    waiting.step("waiting for somebody to say yes");
    let mut pause = interval;
    loop {
        tokio::time::sleep(pause).await;
        pause = interval;
        let fields = [("grant_type", DEVICE_CODE), ("device_code", device_code.expose())];
        match oauth.token(&fields).await {
            Ok(token) => return Ok(token),
            Err(Refused::Error { error, .. }) if error == "authorization_pending" => {}
            Err(Refused::Error { error, .. }) if error == "slow_down" => {
                interval = (interval + INTERVAL).min(SELDOM);
                pause = interval;
            }
            Err(Refused::Error { error, .. }) if error == "expired_token" => return Err(late()),
            Err(refused @ Refused::Error { .. }) => return Err(refused.into()),
            // The server may be away for a moment; whoever says yes meanwhile has said so.
            Err(Refused::Unavailable { failure, .. }) if Instant::now() + interval >= ends => return Err(failure),
            Err(Refused::Unavailable { retry_after, .. }) => {
                pause = retry_after.unwrap_or_default().clamp(interval, SELDOM)
            }
        }
    }
}

fn late() -> Failure {
    Failure::Refused("nobody has typed the code in time; run `gitpod login` again".to_owned())
}
