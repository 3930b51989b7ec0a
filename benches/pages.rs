//! The page of somebody's tokens, 25 on it, where they have 10,000: from the request to the last byte, over one connection of
//! HTTP/1.1, as browsers on their way through a proxy have it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark that cannot go on breaks off, and it speaks")]

mod ground;

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::Path,
    time::{Duration, Instant},
};

use clap::Parser;
use ground::{Postgres, Server, figures::Times, server::LATCHKEY};

#[derive(Parser)]
struct Options {
    /// Tokens
    #[arg(long, default_value_t = 10_000)]
    tokens: i32,
    /// Pages asked for
    #[arg(long, default_value_t = 2000)]
    calls: usize,
    /// What cargo passes on
    #[arg(long, hide = true)]
    bench: bool,
}

const FILL: &str = "
    INSERT INTO personal_access_tokens
        (id, organization_id, principal_id, creator_id, key_generation, digest, description, read_only, created_at, expires_at)
    SELECT gen_random_uuid(), organization_id, principal_id, creator_id, key_generation, sha256(number::text::bytea), 'CI of the website ' || number,
        number % 2 = 0, now() - number * interval '1 second', now() + interval '30 days'
    FROM personal_access_tokens, generate_series(1, $1) AS number";

/// A browser's connection.
struct Connection {
    stream: BufReader<TcpStream>,
    address: String,
    cookie: String,
}

impl Connection {
    /// Asks for something: the headers of the answer, its body, and how long it took.
    fn ask(&mut self, method: &str, path: &str) -> (Vec<String>, String, Duration) {
        let Self { stream, address, cookie } = self;
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncookie: {cookie}\r\norigin: http://{address}\r\nsec-fetch-site: same-origin\r\n\
             content-length: 0\r\n\r\n"
        );
        let began = Instant::now();
        stream.get_mut().write_all(request.as_bytes()).unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            stream.read_line(&mut line).unwrap();
            if line == "\r\n" {
                break;
            }
            headers.push(line.trim_end().to_owned());
        }
        let length = headers.iter().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).unwrap();
        (headers, String::from_utf8(body).unwrap(), began.elapsed())
    }

    /// Keeps the cookies that it is given.
    fn keep(&mut self, headers: &[String]) {
        let cookies = headers.iter().filter_map(|line| line.strip_prefix("set-cookie: "));
        let cookies: Vec<&str> = cookies.filter_map(|cookie| cookie.split(';').next()).collect();
        self.cookie = cookies.join("; ");
    }
}

fn main() {
    ground::run(async {
        let options = Options::parse();
        let postgres = Postgres::start().await;
        let server = Server::start(Path::new(LATCHKEY), &postgres, &[]).await;
        server.user("dev@bench.example").await;
        let sql = postgres.superuser().await;
        sql.batch_execute("SET session_replication_role = replica").await.unwrap();
        sql.execute(FILL, &[&options.tokens]).await.unwrap();
        postgres.settle(&["personal_access_tokens"]).await;
        let link = server.sign_in_link("dev@bench.example").await;

        let stream = TcpStream::connect(server.address()).unwrap();
        stream.set_nodelay(true).unwrap();
        let address = server.address().to_owned();
        let mut browser = Connection { stream: BufReader::new(stream), address, cookie: String::new() };
        let (headers, ..) = browser.ask("GET", &link[link.find("/sign-in").unwrap()..]);
        browser.keep(&headers);
        let (headers, ..) = browser.ask("POST", "/sign-in/link");
        browser.keep(&headers);

        let list = "/settings/personal-access-tokens";
        for (name, path) in [
            ("the list", list),
            ("a new token", "/settings/personal-access-tokens/new"),
            ("the style", "/assets/style.css"),
        ] {
            let mut times = Times::default();
            let mut bytes = 0;
            // So often beforehand that PostgreSQL has decided on a plan for good.
            for call in 0..options.calls + 50 {
                let (headers, body, time) = browser.ask("GET", path);
                assert_eq!(headers[0], "HTTP/1.1 200 OK");
                assert!(path != list || body.matches("<tr>").count() == 26, "25 and the head");
                if call >= 50 {
                    times.push(time);
                }
                bytes = body.len();
            }
            println!("{name}: {bytes} bytes, {}", times.summary());
        }
        server.stop().await;
    });
}
