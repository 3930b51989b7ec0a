//! By the browser of this machine, which brings the code (RFC 8252, RFC 7636).

use latchkey::domain::{
    login::{CLIENT_ID, CodeVerifier},
    secret::Secret,
};

use super::{
    Wish,
    browser::Browser,
    host_name,
    loopback::{Came, Loopback},
};
use crate::{
    error::Failure,
    oauth::{Metadata, OAuth},
    printer::Printer,
};

/// Sends the person's browser to the server, and waits for it to come back with the code.
pub(super) async fn ask(
    oauth: &OAuth,
    metadata: &Metadata,
    browser: &Browser,
    wish: &Wish,
    printer: &Printer,
) -> Result<Secret, Failure> {
    let random = || CodeVerifier::generate().map_err(|_| Failure::Failed("the system gives no randomness".to_owned()));
    let (verifier, state) = (random()?, random()?);
    let loopback = Loopback::bind(&state, &metadata.issuer).await?;
    let mut address = metadata.authorization_endpoint.clone();
    address.query_pairs_mut().extend_pairs([
        ("response_type", "code"),
        ("client_id", CLIENT_ID),
        ("redirect_uri", loopback.address()),
        ("state", state.expose()),
        ("code_challenge", &verifier.challenge().text()),
        ("code_challenge_method", "S256"),
        ("host_name", &host_name()),
        ("lifetime", &wish.lifetime()),
    ]);
    printer.note(&format!(
        "A browser opens, where you say whether this machine may sign in. If it does not, open this address on this machine:\n\n  \
         {address}\n\nWithout a browser here: gitpod login --no-browser\n"
    ));
    browser.open(address.as_str());
    let waiting = printer.progress("gitpod login");
    waiting.step("waiting for the browser");
    match loopback.wait().await? {
        Came::Code(code) => {
            let fields = [
                ("grant_type", "authorization_code"),
                ("code", code.expose()),
                ("redirect_uri", loopback.address()),
                ("code_verifier", verifier.expose()),
            ];
            Ok(oauth.token(&fields).await?)
        }
        Came::Denied => Err(Failure::Refused("the login was denied in the browser".to_owned())),
    }
}
