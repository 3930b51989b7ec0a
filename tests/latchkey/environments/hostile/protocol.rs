//! Git's protocol over HTTP, as far as a server needs it that does not keep to it.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{Request, Response, StatusCode, header},
};

use crate::support::{Api, LocalServer, environments::from_url};

/// One line of Git's protocol.
pub(super) fn line(text: &[u8]) -> Vec<u8> {
    [format!("{:04x}", text.len() + 4).as_bytes(), text].concat()
}

/// What a server says before a pack.
pub(super) fn before_a_pack() -> Vec<u8> {
    line(b"NAK\n")
}

/// A part of a pack.
pub(super) fn part(bytes: &[u8]) -> Vec<u8> {
    line(&[b"\x01", bytes].concat())
}

/// The beginning of a pack of so many objects.
pub(super) fn pack(objects: u32) -> Vec<u8> {
    [b"PACK\0\0\0\x02".as_slice(), &objects.to_be_bytes()].concat()
}

/// The beginning of a pack of one file of 2^52 bytes, up to what zlib makes of it.
pub(super) fn file_without_an_end() -> Vec<u8> {
    [pack(1), vec![0xb0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0x78, 0x01]].concat()
}

/// Bytes as zlib stores them, with more to come.
pub(super) fn stored(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap();
    [&[0][..], &length.to_le_bytes(), &(!length).to_le_bytes(), bytes].concat()
}

/// Words for people, between the parts of a pack.
pub(super) fn words(text: &[u8]) -> Vec<u8> {
    line(&[b"\x02", text].concat())
}

/// What a server says first of a repository with one commit on `main`, and other branches.
pub(super) fn advertisement(others: &[u8]) -> Vec<u8> {
    let commit = "1".repeat(40);
    let head = format!("{commit} HEAD\0side-band-64k ofs-delta symref=HEAD:refs/heads/main\n");
    let main = format!("{commit} refs/heads/main\n");
    [&line(b"# service=git-upload-pack\n"), &b"0000"[..], &line(head.as_bytes()), &line(main.as_bytes()), others]
        .concat()
}

/// Whether a request is a clone's first.
pub(super) fn is_first(request: &Request<Body>) -> bool {
    request.uri().path().ends_with("/info/refs")
}

/// An answer to a clone's first request.
pub(super) fn first(body: impl Into<Body>) -> Response<Body> {
    of_kind("advertisement", body)
}

/// An answer by a status alone, and one header.
pub(super) fn answer(status: StatusCode, (name, value): (&str, &str)) -> Response<Body> {
    Response::builder().status(status).header(name, value).body(Body::from("no\n")).unwrap()
}

/// A server that answers a clone's first request as it should, and the one for the pack by this.
pub(super) fn packing(pack: impl Fn() -> Body) -> impl Fn(&Request<Body>) -> Response<Body> {
    move |request| {
        if is_first(request) {
            first([advertisement(b""), b"0000".to_vec()].concat())
        } else {
            of_kind("result", pack())
        }
    }
}

fn of_kind(kind: &str, body: impl Into<Body>) -> Response<Body> {
    let kind = format!("application/x-git-upload-pack-{kind}");
    Response::builder().header(header::CONTENT_TYPE, kind).body(body.into()).unwrap()
}

/// A beginning, and then the same again and again, so often, without an end.
pub(super) fn endless(begin: Vec<u8>, again: Vec<u8>, every: Duration) -> Body {
    let (begin, again) = (Bytes::from(begin), Bytes::from(again));
    Body::from_stream(futures::stream::unfold(Some(begin), move |begin| {
        let again = again.clone();
        async move {
            let Some(begin) = begin else {
                tokio::time::sleep(every).await;
                return Some((Ok::<_, std::io::Error>(again), None));
            };
            Some((Ok(begin), None))
        }
    }))
}

/// What a person is told of a clone that fails; nothing of it goes on or is left.
pub(super) async fn failure_of(local: &LocalServer, api: &Api, url: &str) -> String {
    let id = api.create(from_url(url)).await.unwrap().id;
    let failure = api.until_failed(&id).await;
    local.is_at_rest(&id);
    let left = std::fs::read_dir(local.directory_of(&id).join("ws")).unwrap().count();
    assert_eq!(left, 0, "files are left of {url}: {failure}");
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
    failure
}
