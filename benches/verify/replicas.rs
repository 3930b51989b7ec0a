//! How soon another server refuses what was revoked.

use std::{path::Path, time::Instant};

use http::HeaderValue;
use latchkey::pb::gitpod::v1::DeletePersonalAccessTokenRequest;

use super::{
    Options,
    client::{Call, Client},
    ground::{Postgres, Server, figures::Times, server::LATCHKEY, tokens},
    pin,
    remembered::{headers, identity},
    table::{Bar, Table},
};

const TOKENS: u32 = 1000;

const UNAUTHENTICATED: u8 = 16;

pub(super) async fn measure(options: &Options, table: &mut Table) {
    if !options.wants("replicas") {
        return;
    }
    let postgres = Postgres::start().await;
    let first = pin::starting(Server::start(Path::new(LATCHKEY), &postgres, &[])).await;
    let second = pin::starting(Server::start(Path::new(LATCHKEY), &postgres, &[])).await;
    let tokens = tokens::fill(&postgres, 10_000, TOKENS).await;
    pin::postgres(&postgres);
    let (revoking, asking) = (Client::connect(first.address(), 1).await, Client::connect(second.address(), 1).await);
    let identity = identity();
    let mut times = Times::default();
    for (token, id) in headers(&tokens).iter().zip(&tokens.ids) {
        // Twice: looked up, and remembered.
        for _ in 0..2 {
            assert_eq!(asking.ask(&identity, token).await.0, 0);
        }
        times.push(refused_after(&revoking, &asking, &identity, token, &id.to_string()).await);
    }
    let details = format!("from the answer to the revocation to the first refusal: {}", times.summary());
    let what = "revocation to refusal on another replica, p99";
    table.row(what, Bar::Below(20.0), times.quantile(0.99), " ms", &details);
    first.stop().await;
    second.stop().await;
}

async fn refused_after(
    revoking: &Client,
    asking: &Client,
    identity: &Call,
    token: &HeaderValue,
    id: &str,
) -> std::time::Duration {
    let revoke = Call::new(
        "/gitpod.v1.TokenService/DeletePersonalAccessToken",
        &DeletePersonalAccessTokenRequest { personal_access_token_id: id.to_owned() },
    );
    assert_eq!(revoking.ask(&revoke, token).await.0, 0);
    let revoked = Instant::now();
    loop {
        let status = asking.ask(identity, token).await.0;
        let time = revoked.elapsed();
        if status != 0 {
            assert_eq!(status, UNAUTHENTICATED, "not being able to answer is no refusal");
            return time;
        }
    }
}
