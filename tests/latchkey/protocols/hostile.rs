//! What is sent to do harm, in every protocol: each is answered in its own words, and the same connection goes on.

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
};

use super::{
    connection::Connection,
    spoken::{BY_POST, Spoken, framed},
    streams::WATCH,
};
use crate::support::{TestDatabase, TestServer};

const LOGS: &str = "/gitpod.v1.EventService/ListAuditLogs";
const CREATE: &str = "/gitpod.v1.TokenService/CreatePersonalAccessToken";
/// Bytes of a message, at the most.
const LIMIT: usize = 256 * 1024;
/// More than a server may take for any request, and far less than any bomb here unpacks to.
const MODEST: u64 = 64 * 1024 * 1024;

#[tokio::test]
async fn json_that_is_no_message_is_refused_wherever_it_comes() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let deep = |name: &str| {
        let arrays = format!(r#"{{"{name}":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000));
        [arrays, format!("{}1{}", format!(r#"{{"{name}":"#).repeat(10_000), "}".repeat(10_000))]
    };
    let [arrays, _] = deep("pagination");
    for spoken in [Spoken::ConnectJson, Spoken::GrpcWebJson, Spoken::GrpcJson] {
        let mut connection = Connection::open(server.address(), &token, spoken).await;
        for json in [
            arrays.as_str(),
            &"[".repeat(LIMIT - 10),
            // Which of the two counts would be anybody's guess.
            r#"{"pagination":{"pageSize":1},"pagination":{"pageSize":2}}"#,
            r#"{"pagination":{"pageSize":1,"page_size":2}}"#,
            r#"{"pagination":{"token":"\ud800"}}"#,
            r#"{"pagination":{"token":"\udc00\ud800"}}"#,
            r#"{"pagination":{"pageSize":2147483648}}"#,
            r#"{"pagination":{"pageSize":1e400}}"#,
            r#"{"pagination":{"pageSize":0.5}}"#,
            r#"{"pagination":{"pageSize":"NaN"}}"#,
            r#"{"pagination":{"pageSize":NaN}}"#,
            r#"{"filter":{"from":"10000-01-01T00:00:00Z"}}"#,
            r#"{"filter":{"subjectTypes":["RESOURCE_TYPE_NO_SUCH"]}}"#,
            "{\"pagination\":{\"token\":\"\u{0}\"}}",
            "{}\u{0}",
            "\u{feff}{}",
        ] {
            let body = if spoken.is_connect() { json.to_owned().into() } else { framed(json.as_bytes()) };
            let refused = connection.call(LOGS, &[], &body).await.expect_err(&format!("{spoken:?} {json:.60}"));
            assert_eq!(refused.code, "invalid_argument", "{spoken:?} {json:.60}: {refused:?}");
            connection.assert_goes_on(&format!("{json:.60}")).await;
        }
        // What nobody knows is passed over, however deep it is.
        for json in deep("new") {
            let body = if spoken.is_connect() { json.into() } else { framed(json.as_bytes()) };
            connection.call(LOGS, &[], &body).await.unwrap();
        }
        // No text at all.
        let bytes = [b"{\"pagination\":{\"token\":\"".as_slice(), &[0xff, 0xfe], b"\"}}"].concat();
        let body = if spoken.is_connect() { bytes.into() } else { framed(&bytes) };
        assert_eq!(connection.call(LOGS, &[], &body).await.unwrap_err().code, "invalid_argument", "{spoken:?}");
        connection.assert_goes_on("bytes that are no text").await;
    }
}

#[tokio::test]
async fn what_was_sent_comes_back_in_an_error_neither_whole_nor_as_a_line_of_its_own() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    for spoken in [Spoken::ConnectJson, Spoken::GrpcWebJson, Spoken::GrpcJson] {
        let mut connection = Connection::open(server.address(), &token, spoken).await;
        // A value that ends a trailer and begins others; and one that no header holds.
        for name in ["a\\r\\ngrpc-status: 0\\r\\nx-own: 1".to_owned(), "\u{e4}".repeat(60_000)] {
            let json = format!(r#"{{"filter":{{"subjectTypes":["{name}"]}}}}"#);
            let body = if spoken.is_connect() { json.into() } else { framed(json.as_bytes()) };
            let refused = connection.call(LOGS, &[], &body).await.unwrap_err();
            assert_eq!(refused.code, "invalid_argument", "{spoken:?} {name:.20}: {refused:?}");
            assert!(!refused.headers.contains_key("x-own"), "{spoken:?}: {refused:?}");
            let expected: String = name.chars().take(100).collect();
            assert!(refused.message.contains(&expected), "{spoken:?}: {}", refused.message);
            assert!(refused.message.len() < 2000, "{spoken:?}: {} bytes", refused.message.len());
            connection.assert_goes_on(&format!("{name:.20}")).await;
        }
    }
}

#[tokio::test]
async fn protobuf_that_is_no_message_is_refused_wherever_it_comes() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    for spoken in [Spoken::ConnectProto, Spoken::GrpcWeb, Spoken::Grpc] {
        let mut connection = Connection::open(server.address(), &token, spoken).await;
        for message in [
            // Half a field; a length beyond the end; a number without an end; a field without a number; a wire type that
            // there is none of; groups in groups in groups.
            &[0x0a][..],
            &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f],
            &[0xff; 12],
            &[0x00, 0x00],
            &[0x0f, 0x00],
            &[0x0b; 10_000],
        ] {
            let body = if spoken.is_connect() { message.to_vec().into() } else { framed(message) };
            let refused = connection.call(CREATE, &[], &body).await.unwrap_err();
            assert!(
                ["internal", "invalid_argument"].contains(&&*refused.code),
                "{spoken:?} {message:.9?}: {refused:?}"
            );
            connection.assert_goes_on(&format!("{message:.9?}")).await;
        }
    }
}

#[tokio::test]
async fn envelopes_that_are_cut_off_or_claim_too_much_are_refused_and_the_connection_goes_on() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let over = u32::try_from(LIMIT + 1).unwrap().to_be_bytes();
    let over = [&[0], over.as_slice(), b"{}"].concat();
    let claims = Claims::begin(&server);
    for spoken in BY_POST.into_iter().filter(|spoken| !spoken.is_connect()) {
        let mut connection = Connection::open(server.address(), &token, spoken).await;
        for (body, codes) in [
            (&[0, 0, 0][..], &["invalid_argument", "unimplemented"][..]),
            (&[0, 0, 0, 0, 7, 1, 2], &["invalid_argument", "internal"]),
            (&[0, 255, 255, 255, 255, 1], &["resource_exhausted"]),
            (&over, &["resource_exhausted"]),
            // Flags that there are none of.
            (&[0x40, 0, 0, 0, 0], &["invalid_argument", "internal", "unimplemented"]),
        ] {
            let refused = connection.call(CREATE, &[], body).await.unwrap_err();
            assert!(codes.contains(&&*refused.code), "{spoken:?} {body:.9?}: {refused:?}");
            connection.assert_goes_on(&format!("{body:.9?}")).await;
        }
    }
    // Streams of Connect's have envelopes too.
    let mut connection = Connection::open(server.address(), &token, Spoken::ConnectJson).await;
    for content_type in ["application/connect+json", "application/connect+proto"] {
        let headers = [("content-type", content_type)];
        for (body, codes) in [
            (&[][..], &["invalid_argument", "unimplemented"][..]),
            (&[0, 0, 0], &["invalid_argument", "unimplemented"]),
            (&[0, 0, 0, 0, 7, 1, 2], &["invalid_argument"]),
            (&[0, 255, 255, 255, 255, 1], &["resource_exhausted"]),
            (&over, &["resource_exhausted"]),
        ] {
            let code = connection.stream(&format!("/{WATCH}"), &headers, body).await;
            assert!(codes.contains(&&*code), "{content_type} {body:.9?}: {code}");
            connection.assert_goes_on(&format!("{content_type} {body:.9?}")).await;
        }
    }
    claims.assert_were_not_believed();
}

#[tokio::test]
async fn what_unpacks_to_a_gigabyte_is_refused_before_it_has_taken_that() {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let before = most_memory(server.pid());
    let zstd = zstd(1024 * 1024 * 1024 / BLOCK);
    let gzip = gzip(128 * 1024 * 1024);
    assert!(zstd.len() < LIMIT && gzip.len() < LIMIT, "sent whole: {} {}", zstd.len(), gzip.len());
    let packed = |packed: &[u8]| {
        let length = u32::try_from(packed.len()).unwrap().to_be_bytes();
        [&[1], length.as_slice(), packed].concat()
    };
    for spoken in BY_POST {
        let mut connection = Connection::open(server.address(), &token, spoken).await;
        for (encoding, bomb) in [("gzip", &gzip), ("zstd", &zstd)] {
            let name = if spoken.is_connect() { "content-encoding" } else { "grpc-encoding" };
            let body = if spoken.is_connect() { bomb.clone() } else { packed(bomb) };
            let refused = connection.call(CREATE, &[(name, encoding)], &body).await.unwrap_err();
            assert_eq!(refused.code, "resource_exhausted", "{spoken:?} {encoding}: {refused:?}");
            connection.assert_goes_on(encoding).await;
        }
    }
    let mut connection = Connection::open(server.address(), &token, Spoken::ConnectJson).await;
    for (encoding, bomb) in [("gzip", &gzip), ("zstd", &zstd)] {
        let headers = [("content-type", "application/connect+json"), ("connect-content-encoding", encoding)];
        let code = connection.stream(&format!("/{WATCH}"), &headers, &packed(bomb)).await;
        assert_eq!(code, "resource_exhausted", "{encoding}");
        connection.assert_goes_on(encoding).await;
    }
    let grown = most_memory(server.pid()).saturating_sub(before);
    assert!(grown < MODEST, "{grown} bytes more");
}

/// Zeros, packed by gzip.
fn gzip(length: usize) -> Vec<u8> {
    let mut gzip = Command::new("gzip").arg("-9c").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut input = gzip.stdin.take().unwrap();
    let writing = std::thread::spawn(move || {
        let zeros = vec![0; 1024 * 1024];
        (0..length / zeros.len()).for_each(|_| input.write_all(&zeros).unwrap());
    });
    let output = gzip.wait_with_output().unwrap();
    writing.join().unwrap();
    output.stdout
}

/// Bytes that one block of zstd stands for, at the most.
const BLOCK: usize = 128 * 1024;

/// Zeros, as zstd would pack them at its best (RFC 8878): blocks that are one byte again and again.
fn zstd(blocks: usize) -> Vec<u8> {
    // The magic number; no length, no checksum; a window of one block.
    let mut packed = vec![0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38];
    for number in 1..=blocks {
        let header = u32::try_from(BLOCK << 3 | 1 << 1 | usize::from(number == blocks)).unwrap().to_le_bytes();
        packed.extend_from_slice(&header[..3]);
        packed.push(0);
    }
    packed
}

/// The most memory that a server has had so far, with the processes that it has started.
fn most_memory(pid: u32) -> u64 {
    most("VmHWM:", pid)
}

/// The same, with what it has asked for and not written to.
fn most_asked_for(pid: u32) -> u64 {
    most("VmPeak:", pid)
}

fn most(what: &str, pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap_or("0 kB");
    let own: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    own * 1024 + children.split_whitespace().map(|child| most(what, child.parse().unwrap())).sum::<u64>()
}

/// What a server takes while it is told of messages of 4 GiB, which never come.
pub(super) struct Claims<'a> {
    server: &'a TestServer,
    memory: u64,
    asked_for: u64,
}

impl<'a> Claims<'a> {
    /// From now on.
    pub(super) fn begin(server: &'a TestServer) -> Self {
        Self { server, memory: most_memory(server.pid()), asked_for: most_asked_for(server.pid()) }
    }

    pub(super) fn assert_were_not_believed(&self) {
        let memory = most_memory(self.server.pid()) - self.memory;
        assert!(memory < MODEST, "{memory} bytes more");
        // The allocator keeps 64 MiB in reserve for each thread that it meets.
        let asked_for = most_asked_for(self.server.pid()) - self.asked_for;
        assert!(asked_for < u64::from(u32::MAX) / 2, "{asked_for} bytes more were asked for");
    }
}
