//! Providers by TLS, which is all that there is beyond this machine.

use std::{fs, process::Command};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::json;

use super::{Browser, Configuration, Provider, assert_in, assert_out, begin};
use crate::support::{TestDatabase, TestServer};

/// An authority, and a key and a certificate of its for `localhost`.
const CERTIFICATES: &str = "
    ec='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'
    openssl req -x509 $ec -days 2 -subj /CN=authority -keyout authority.key -out authority.pem
    openssl req $ec -subj /CN=localhost -keyout key.pem -out request.pem
    echo subjectAltName=DNS:localhost > extensions
    openssl x509 -req -in request.pem -CA authority.pem -CAkey authority.key -CAcreateserial -days 2 -extfile extensions -out certificate.pem";

#[tokio::test]
async fn a_provider_by_tls_is_believed_if_its_certificate_is_trusted() {
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new("sh").args(["-euc", CERTIFICATES]).current_dir(directory.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    let acme = Provider::crooked_by_tls(&read("key.pem"), &read("certificate.pem")).await;
    assert!(acme.issuer().starts_with("https://localhost:"), "{}", acme.issuer());
    let configuration = Configuration::of(&[("acme", &acme, json!({ "allowed_domains": ["acme.example"] }))]);
    let database = TestDatabase::create().await;
    // Whom the server is, it may read what it is to trust.
    let authority = tempfile::Builder::new().prefix("latchkey-authority-").suffix(".pem").tempfile().unwrap();
    fs::write(authority.path(), read("authority.pem")).unwrap();
    fs::set_permissions(authority.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();

    let stranger = TestServer::start_with(&database, configuration.options()).await;
    let browser = Browser::new();
    let page = begin(&browser, &stranger, "acme", "/settings/sessions").await.unwrap_err();
    assert_out(&page, &browser, 503, "cannot be reached right now");
    assert!(stranger.log().contains("invalid peer certificate: UnknownIssuer"), "{}", stranger.log());

    let mut options = configuration.options();
    options.signing_keys = Some(stranger.keys());
    options.env.push(("SSL_CERT_FILE".to_owned(), authority.path().to_str().unwrap().to_owned()));
    let server = TestServer::start_with(&database, options).await;
    let url = begin(&browser, &server, "acme", "/settings/sessions")
        .await
        .unwrap_or_else(|page| panic!("{}: {}", page.words(), server.log()));
    // As the provider would send the browser back, which has no TLS here.
    let sent = |name: &str| url.query_pairs().find(|(key, _)| key == name).unwrap().1.into_owned();
    let code = json!({ "nonce": sent("nonce"), "challenge": sent("code_challenge"), "client": sent("client_id") });
    let code = URL_SAFE_NO_PAD.encode(code.to_string());
    let page = browser.open(&format!("{}?code={code}&state={}", sent("redirect_uri"), sent("state"))).await;
    assert_in(&page, &browser);
}
