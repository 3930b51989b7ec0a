//! Requests that are made by hand, as a browser sends them or as none would.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::sign_in_link;
use crate::support::{TestDatabase, TestServer};

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// A header; of several of that name, all with a line between.
    pub(crate) fn header(&self, name: &str) -> String {
        let found =
            self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        found.collect::<Vec<_>>().join("\n")
    }

    /// What a cookie is set to; none if it is not set.
    pub(crate) fn cookie(&self, name: &str) -> Option<String> {
        let cookies = self.header("set-cookie");
        let found = cookies.lines().find_map(|line| line.strip_prefix(&format!("{name}=")))?;
        Some(found.split(';').next().unwrap().to_owned())
    }
}

/// Sends a request with exactly these headers.
pub(crate) async fn send(address: &str, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut head = format!("{method} {path} HTTP/1.1\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("{head}\r\n{body}").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.lines();
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers =
        lines.map(|line| line.split_once(": ").unwrap()).map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer { status, headers: headers.collect(), body: body.to_owned() }
}

/// A session, as a browser has it.
#[derive(Clone)]
pub(crate) struct Session {
    pub(crate) address: String,
    pub(crate) cookie: String,
    pub(crate) form_token: String,
}

impl Session {
    /// The cookie's name: on loopback it has the port.
    pub(crate) fn cookie_name(address: &str) -> String {
        format!("latchkey-session-{}", address.rsplit_once(':').unwrap().1)
    }

    /// Signs a user in by a link.
    pub(crate) async fn open(server: &TestServer, database: &TestDatabase, email: &str) -> Self {
        let link = sign_in_link(server, database, Some(email)).await;
        let answer = use_link(server.address(), &link, &[]).await;
        assert_eq!((answer.status, answer.header("location")), (303, "/".to_owned()), "{answer:?}");
        let cookie = answer.cookie(&Self::cookie_name(server.address())).expect("a session");
        Self::with(server.address(), cookie).await
    }

    /// The session that a cookie is for.
    pub(crate) async fn with(address: &str, cookie: String) -> Self {
        let mut session = Self { address: address.to_owned(), cookie, form_token: String::new() };
        let page = session.get("/settings/personal-access-tokens/new").await;
        assert_eq!(page.status, 200, "{page:?}");
        session.form_token = hidden(&page.body, "form_token");
        session
    }

    pub(crate) fn cookies(&self) -> String {
        format!("{}={}", Self::cookie_name(&self.address), self.cookie)
    }

    /// Comes to see a page, as if by its address.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        let cookies = self.cookies();
        let headers = [
            ("host", self.address.as_str()),
            ("cookie", &cookies),
            ("sec-fetch-site", "none"),
            ("sec-fetch-mode", "navigate"),
            ("sec-fetch-dest", "document"),
            ("accept", "text/html"),
        ];
        send(&self.address, "GET", path, &headers, "").await
    }

    /// Sends a form as a page of ours does.
    pub(crate) async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let origin = format!("http://{}", self.address);
        let fields = [&[("form_token", self.form_token.as_str())], fields].concat();
        self.post_with(path, &fields, &[("origin", &origin), ("sec-fetch-site", "same-origin")]).await
    }

    /// Sends fields with these headers besides the cookie.
    pub(crate) async fn post_with(&self, path: &str, fields: &[(&str, &str)], headers: &[(&str, &str)]) -> Answer {
        let cookies = self.cookies();
        let mut all = vec![("cookie", cookies.as_str()), ("content-type", "application/x-www-form-urlencoded")];
        if !headers.iter().any(|(name, _)| *name == "host") {
            all.push(("host", &self.address));
        }
        all.extend(headers);
        send(&self.address, "POST", path, &all, &form(fields)).await
    }

    /// Makes a token by the page; its text.
    pub(crate) async fn create_token(&self, description: &str) -> String {
        let key = latchkey::domain::ids::RequestId::generate().to_string();
        let fields =
            [("description", description), ("days", "30"), ("access", "read-write"), ("idempotency_key", key.as_str())];
        let answer = self.post("/settings/personal-access-tokens", &fields).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        token_on(&answer.body)
    }
}

/// Opens a link that signs somebody in and presses its button, with these headers besides; what was answered to that.
pub(crate) async fn use_link(address: &str, link: &str, headers: &[(&str, &str)]) -> Answer {
    let path = &link[link.find("/sign-in").unwrap()..];
    let opened = send(address, "GET", path, &[("host", address)], "").await;
    assert_eq!((opened.status, opened.header("location")), (303, "/sign-in/link".to_owned()), "{opened:?}");
    let name = format!("latchkey-sign-in-link-{}", address.rsplit_once(':').unwrap().1);
    let mut cookie = format!("{name}={}", opened.cookie(&name).unwrap());
    let origin = format!("http://{address}");
    let mut all = vec![("host", address), ("origin", &origin), ("sec-fetch-site", "same-origin")];
    for (name, value) in headers {
        if *name == "cookie" { cookie = format!("{cookie}; {value}") } else { all.push((name, value)) }
    }
    all.push(("cookie", &cookie));
    send(address, "POST", "/sign-in/link", &all, "").await
}

/// Fields as a form has them.
pub(crate) fn form(fields: &[(&str, &str)]) -> String {
    url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish()
}

/// The value of a hidden field of a page.
pub(crate) fn hidden(page: &str, name: &str) -> String {
    let rest = page.split(&format!("name=\"{name}\" value=\"")).nth(1).unwrap_or_else(|| panic!("no {name} in {page}"));
    rest.split('"').next().unwrap().to_owned()
}

/// The words of a page or of a part of it, without what is around them.
pub(crate) fn words(html: &str) -> String {
    let mut words = String::new();
    let mut inside = false;
    for character in html.chars() {
        match character {
            '<' => inside = true,
            '>' => {
                inside = false;
                words.push(' ');
            }
            _ if !inside => words.push(character),
            _ => {}
        }
    }
    words.replace("&#39;", "'").split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text of the token that a page shows.
pub(crate) fn token_on(page: &str) -> String {
    let rest = page.split("value=\"gitpod_pat_").nth(1).unwrap_or_else(|| panic!("no token on {page}"));
    format!("gitpod_pat_{}", rest.split('"').next().unwrap())
}
