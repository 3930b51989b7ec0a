//! Who has a good token gets through, and the service knows who it is.

use http::Version;
use tonic::Code;

use super::{
    client::{bearer, send, send_message},
    house::House,
};
use crate::support::keys::token_id;

#[tokio::test]
async fn a_service_knows_who_calls_and_does_not_get_the_token_unless_it_is_to() {
    let house = House::start().await;
    let token = house.latchkey.user(&house.database, "dev@example.com").await;
    let envoy = house.envoy.address();
    let answer =
        send(envoy, "GET", "/page?x=1", &[&bearer(&token), "cookie: a=b", "x-http-method-override: PUT"]).await;
    assert_eq!((answer.status, answer.body.contains("served")), (200, true), "{answer:?}");
    let reached = house.web.take_one();
    assert_eq!((reached.method.as_str(), reached.path.as_str()), ("GET", "/page?x=1"));
    assert_eq!(reached.version, Version::HTTP_11);
    assert_eq!(reached.headers.get("authorization"), None);
    assert_eq!(reached.headers["x-latchkey-principal-kind"], "user");
    assert_eq!(reached.headers["x-latchkey-token-id"], token_id(&token).as_str());
    assert_eq!(reached.headers["cookie"], "a=b", "what is the client's own stays");
    assert_eq!(reached.headers["x-http-method-override"], "PUT");

    let answer = send(envoy, "POST", "/reports/1", &[&bearer(&token)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let reached = house.reports.take_one();
    assert_eq!(reached.version, Version::HTTP_2);
    assert_eq!(reached.headers["authorization"], format!("Bearer {token}").as_str());
    assert_eq!(reached.headers["x-latchkey-token-id"], token_id(&token).as_str());

    let grpc = house.envoy.grpc().await;
    grpc.call_with_token("/shop.v1.Orders/DeleteOrder", &token).await.unwrap();
    let reached = house.orders.take_one();
    assert_eq!((reached.version, reached.path.as_str()), (Version::HTTP_2, "/shop.v1.Orders/DeleteOrder"));
    assert_eq!(reached.headers.get("authorization"), None);
    assert_eq!(reached.headers["x-latchkey-token-id"], token_id(&token).as_str());

    // A service account is told from a user; and a service may call another with the token that it asks with.
    let answer = send(envoy, "GET", "/page", &[&bearer(&house.asking)]).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(house.web.take_one().headers["x-latchkey-principal-kind"], "service_account");

    // Where Latchkey is not asked nobody is known, and no token gets out.
    for headers in [&[][..], &[bearer(&token).as_str()], &["authorization: Bearer nonsense"]] {
        assert_eq!(send(envoy, "GET", "/public/page", headers).await.status, 200);
        let reached = house.web.take_one();
        assert_eq!((reached.headers.get("authorization"), reached.of_latchkey()), (None, Vec::new()));
    }
}

#[tokio::test]
async fn a_read_only_token_reads_and_does_nothing_else() {
    let house = House::start().await;
    house.latchkey.user(&house.database, "dev@example.com").await;
    let token = house.latchkey.token(&house.database, "dev@example.com", &["--read-only"]).await;
    let (envoy, authorization) = (house.envoy.address(), bearer(&token));
    for method in ["GET", "HEAD", "OPTIONS"] {
        let overriding = [
            "x-http-method-override: DELETE",
            "X-HTTP-Method: DELETE",
            "x-method-override: DELETE",
            "x-method-override: PUT",
        ];
        let answer = send(envoy, method, "/page", &[&[authorization.as_str()], &overriding[..]].concat()).await;
        assert_eq!(answer.status, 200, "{method}: {answer:?}");
        let reached = house.web.take_one();
        assert_eq!(reached.method, method);
        let others = reached.headers.keys().filter(|name| name.as_str().contains("method")).count();
        assert_eq!(others, 0, "it is what it was judged as: {reached:?}");
    }
    for (method, path) in [
        ("POST", "/page"),
        ("PUT", "/page"),
        ("PATCH", "/page"),
        ("DELETE", "/reports/1"),
        ("PROPFIND", "/page"),
        // Its RPCs read, but not through another route.
        ("POST", "/reports/shop.v1.Orders/GetOrder"),
        ("POST", "/shop.v1.Orders/GetOrder/../DeleteOrder"),
        ("POST", "/shop.v1.Orders/GetOrder;x"),
    ] {
        let answer = send(envoy, method, path, &[&authorization]).await;
        assert_eq!(answer.status, 403, "{method} {path}: {answer:?}");
        assert_eq!(
            answer.header("www-authenticate"),
            Some(
                "Bearer realm=\"latchkey\", error=\"insufficient_scope\", \
                 error_description=\"this token is read-only; use one that may write\""
            )
        );
        let body: serde_json::Value = serde_json::from_str(&answer.body).unwrap();
        assert_eq!(body["code"], "permission_denied", "{body}");
    }
    house.assert_nothing_reached();

    // Connect is posted, and judged by its path.
    let json = "content-type: application/json";
    assert_eq!(send(envoy, "POST", "/shop.v1.Stock/GetLevel", &[&authorization, json]).await.status, 200);
    assert_eq!(house.orders.take_one().path, "/shop.v1.Stock/GetLevel");
    let grpc = house.envoy.grpc().await;
    grpc.call_with_token("/shop.v1.Orders/GetOrder", &token).await.unwrap();
    assert_eq!(house.orders.take_one().path, "/shop.v1.Orders/GetOrder");
    for path in ["/shop.v1.Orders/DeleteOrder", "/shop.v1.Orders/GetOrders"] {
        let refused = grpc.call_with_token(path, &token).await.unwrap_err();
        assert_eq!(refused.code(), Code::PermissionDenied, "{refused}");
        assert_eq!(refused.message(), "this token is read-only; use one that may write");
    }
    let answer =
        send(envoy, "GET", "/shop.v1.Orders/DeleteOrder", &[&authorization, "content-type: application/grpc"]).await;
    assert_eq!(answer.header("grpc-status"), Some("7"), "a method of HTTP does not make an RPC read: {answer:?}");
    house.assert_nothing_reached();
}

/// Servers of gRPC carry out what the path names, and look at neither.
#[tokio::test]
async fn no_method_of_http_and_no_content_type_makes_an_rpc_read() {
    let house = House::start().await;
    house.latchkey.user(&house.database, "dev@example.com").await;
    let token = house.latchkey.token(&house.database, "dev@example.com", &["--read-only"]).await;
    let kinds: [&[&str]; 7] = [
        &[],
        &["application/json"],
        &["application/grpc"],
        &["application/grpc-web"],
        &["application/json", "application/grpc"],
        &["application/grpc", "application/json"],
        &["application/json,application/grpc"],
    ];
    let envoy = house.envoy.address();
    for (method, kinds) in
        ["GET", "HEAD", "OPTIONS", "POST"].iter().flat_map(|method| kinds.map(|kinds| (method, kinds)))
    {
        let answer = send_message(envoy, method, "/shop.v1.Stock/SetLevel", &token, kinds).await;
        assert!(answer.status == 403 || answer.header("grpc-status") == Some("7"), "{method} {kinds:?}: {answer:?}");
        // What is called gRPC alone gets to where nothing else is spoken, whether or not it is let through here.
        let answer = send_message(envoy, method, "/shop.v1.Orders/DeleteOrder", &token, kinds).await;
        let is_grpc = kinds == ["application/grpc"];
        assert_eq!(answer.header("grpc-status"), is_grpc.then_some("7"), "{method} {kinds:?}: {answer:?}");
        assert!(is_grpc || matches!(answer.status, 403 | 415), "{method} {kinds:?}: {answer:?}");
        house.assert_nothing_reached();
    }
    // Nor by a token that may write.
    let writer = house.latchkey.token(&house.database, "dev@example.com", &[]).await;
    let answer = send_message(envoy, "POST", "/shop.v1.Orders/DeleteOrder", &writer, &["application/json"]).await;
    assert_eq!(answer.status, 415, "{answer:?}");
    house.assert_nothing_reached();
    // The same gets to where more is spoken, of an RPC that reads, and of a token that may write.
    for (method, path, token) in
        [("GET", "/shop.v1.Stock/GetLevel", &token), ("GET", "/shop.v1.Stock/SetLevel", &writer)]
    {
        assert_eq!(send_message(envoy, method, path, token, &[]).await.status, 200, "{method} {path}");
        let reached = house.orders.take_one();
        assert_eq!((reached.method.as_str(), reached.path.as_str(), reached.version), (method, path, Version::HTTP_2));
        assert_eq!(reached.body, &[0; 5][..]);
    }
}
