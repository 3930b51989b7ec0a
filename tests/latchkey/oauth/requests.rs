//! Requests that are none: each is told what is wrong with it, and nothing is done.

use std::convert::Infallible;

use bytes::Bytes;
use futures::stream;
use http::Request;
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, sync::oneshot};

use super::asking::{FORM, INTROSPECT, REVOKE, bearer, send, service};
use crate::support::{TestDatabase, TestServer, http1};

#[tokio::test]
async fn only_a_form_in_a_body_is_taken() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &[]).await;
    let token = server.user(&database, "dev@example.com").await;
    let authorization = format!("authorization: {}", bearer(&asking));
    let form = format!("token={token}");
    let json = format!("{{\"token\":\"{token}\"}}");
    let twice = format!("{form}&{form}");
    let also = format!("{form}&client_secret={token}");
    let hinted = format!("{form}&token_type_hint=a&token_type_hint=a");
    let long = format!("token={}", "x".repeat(70_000));
    for path in [INTROSPECT, REVOKE] {
        let post = format!("POST {path}");
        let in_query = format!("POST {path}?token={token}");
        let beside = format!("POST {path}?a=b");
        for (line, headers, body, status, words) in [
            (&in_query, &[FORM][..], "", 400, "parameters are taken from the body alone"),
            (&in_query, &[FORM], &*form, 400, "revoke it, since URLs are in logs"),
            (&beside, &[FORM], &form, 400, "parameters are taken from the body alone"),
            (&post, &["content-type: application/json"], &json, 415, "send a form"),
            (&post, &["content-type: multipart/form-data; boundary=x"], &form, 415, "send a form"),
            (&post, &["content-type: application/x-www-form-urlencodedx"], &form, 415, "send a form"),
            (&post, &["content-type: application/grpc"], &form, 415, "send a form"),
            (&post, &[], &form, 415, "send a form"),
            (&post, &[FORM, FORM], &form, 415, "send a form"),
            (&post, &[FORM, "content-encoding: gzip"], &form, 415, "not packed"),
            (&post, &[FORM], "", 400, "'token' is missing"),
            (&post, &[FORM], "token=", 400, "'token' is missing"),
            (&post, &[FORM], "tokens=x", 400, "'token' is missing"),
            (&post, &[FORM], &twice, 400, "more than once"),
            (&post, &[FORM], &hinted, 400, "more than once"),
            (&post, &[FORM], &also, 400, "authenticate by the header"),
            (&post, &[FORM], &long, 413, "too long"),
        ] {
            let headers = [&[authorization.as_str()], headers].concat();
            send(&server, line, &headers, body).await.assert_error(status, "invalid_request", words);
        }
        for method in ["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "QUERY"] {
            for headers in [&[authorization.as_str()][..], &[&authorization, FORM]] {
                let answer = send(&server, &format!("{method} {path}"), headers, &form).await;
                answer.assert_error(405, "invalid_request", "another method");
                assert_eq!(answer.all("allow"), ["POST"], "{method}: {answer:?}");
            }
        }
        // A token in the query is the worse mistake, by whatever method.
        for method in ["GET", "HEAD", "DELETE", "OPTIONS"] {
            let answer = send(&server, &format!("{method} {path}?token={token}"), &[&authorization], "").await;
            assert_eq!(answer.status, 400, "{method}: {answer:?}");
            if method != "HEAD" {
                answer.assert_error(400, "invalid_request", "parameters are taken from the body alone");
            }
        }
        for other in [format!("{path}/"), path.to_uppercase(), format!("{path}%20"), format!("{path}/x")] {
            let answer = send(&server, &format!("POST {other}"), &[&authorization, FORM], &form).await;
            assert_eq!(answer.status, 404, "{other}: {answer:?}");
        }
        // Nor at an environment's URL.
        let elsewhere = format!("POST /environments/01932c07-209e-7000-8000-000000000000/ops{path}");
        send(&server, &elsewhere, &[&authorization, FORM], &form).await.assert_error(404, "invalid_request", "no such");
    }
    let mut api = server.api(&token).await;
    api.whoami().await.unwrap();
}

#[tokio::test]
async fn a_form_whose_length_nobody_said_is_read_as_far_as_it_may_be() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &[]).await;
    let chunked = async |body: &str| {
        let address = server.address();
        let head = format!(
            "POST {INTROSPECT} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\nauthorization: {}\r\n{FORM}\r\ntransfer-encoding: chunked\r\n\r\n",
            bearer(&asking)
        );
        let chunks: String = body
            .as_bytes()
            .chunks(1000)
            .map(|chunk| format!("{:x}\r\n{}\r\n", chunk.len(), String::from_utf8_lossy(chunk)))
            .collect();
        http1::send(address, format!("{head}{chunks}0\r\n\r\n").as_bytes()).await
    };
    let good = chunked(&format!("x={}&token={asking}", "x".repeat(5000))).await;
    assert!(good.starts_with("HTTP/1.1 200") && good.contains(r#""active":true"#), "{good}");
    let long = chunked(&format!("token={asking}&x={}", "x".repeat(70_000))).await;
    assert!(long.starts_with("HTTP/1.1 413") && long.contains("invalid_request"), "{long}");
}

#[tokio::test]
async fn a_form_comes_over_http_2_as_well() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &[]).await;
    let curl = async |password: &str| {
        let mut command = tokio::process::Command::new("curl");
        command.args([
            "-sS",
            "--noproxy",
            "*",
            "--http2-prior-knowledge",
            "-w",
            "\n%{http_code} %{http_version}",
            "--data-urlencode",
        ]);
        command.arg(format!("token={asking}")).arg("-u").arg(password).arg(format!("{}{INTROSPECT}", server.url()));
        let output = command.kill_on_drop(true).output().await.unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let good = curl(&format!("{}:{asking}", crate::support::keys::token_id(&asking))).await;
    assert!(good.contains(r#""active":true"#) && good.ends_with("\n200 2"), "{good}");
    let bad = curl("nobody:nothing").await;
    assert!(bad.contains(r#""error":"invalid_client""#) && bad.ends_with("\n401 2"), "{bad}");
}

/// Over HTTP/2 as well: it could be reset with the answer, which some clients take for a failure.
#[tokio::test]
async fn who_is_refused_before_the_form_may_send_it_all_the_same() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let form = Bytes::from(format!("token={token}"));
    let stream = TokioIo::new(TcpStream::connect(server.address()).await.unwrap());
    let (mut connection, driver) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
    tokio::spawn(driver);
    let (send_form, formed) = oneshot::channel::<Result<Frame<Bytes>, Infallible>>();
    let body = StreamBody::new(stream::once(async { formed.await.expect("it is sent") }));
    let request = |authorization: &str| {
        let request = Request::post(format!("{}{REVOKE}", server.url())).header("authorization", authorization);
        request.header("content-type", "application/x-www-form-urlencoded").header("content-length", form.len())
    };
    let refused = connection.send_request(request("nonsense").body(body.boxed()).unwrap()).await.unwrap();
    assert_eq!(refused.status(), 401);
    assert!(refused.into_body().collect().await.is_ok());
    // Whatever was said of the first stream has come by the time that the second one is answered.
    let whole = BodyExt::boxed(Full::new(form.clone()));
    let revoked = connection.send_request(request(&bearer(&token)).body(whole).unwrap()).await.unwrap();
    assert_eq!(revoked.status(), 200);
    assert!(!send_form.is_closed(), "nobody takes the form any more");
    send_form.send(Ok(Frame::data(form.clone()))).unwrap();
    let refused = connection.send_request(request(&bearer(&token)).body(BodyExt::boxed(Full::new(form))).unwrap());
    assert_eq!(refused.await.unwrap().status(), 401, "the connection goes on, and the token is revoked");
}

#[tokio::test]
async fn a_form_that_stands_still_is_given_up() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let asking = service(&server, &database, "gateway", &[]).await;
    let head = format!(
        "POST {REVOKE} HTTP/1.1\r\nhost: x\r\nauthorization: {}\r\n{FORM}\r\ncontent-length: 100000\r\n\r\n",
        bearer(&asking)
    );
    let nobody = head.replace(&asking, "nonsense");
    let nobody = http1::send(server.address(), nobody.as_bytes()).await;
    assert!(nobody.starts_with("HTTP/1.1 401"), "before any of it has come: {nobody}");
    let too_long = http1::send(server.address(), head.as_bytes()).await;
    assert!(too_long.starts_with("HTTP/1.1 413"), "before any of it has come: {too_long}");
    let head = head.replace("100000", "100");
    let late = http1::send(server.address(), format!("{head}token={asking}").as_bytes()).await;
    assert!(late.starts_with("HTTP/1.1 408") && late.contains("did not come in time"), "{late}");
    server.api(&asking).await.whoami().await.unwrap();
}
