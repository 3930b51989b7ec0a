//! As much of a browser as signing in takes: cookies, redirects and forms. It sends what browsers send of where a request comes from.

use std::{collections::BTreeMap, sync::Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use url::Url;

use crate::{support::SOON, web::requests::words};

/// A browser with cookies of its own.
pub(super) struct Browser {
    client: Client<HttpConnector, Full<Bytes>>,
    /// By name: they know no ports, and paths do not matter here.
    cookies: Mutex<BTreeMap<String, String>>,
}

/// What a server answered.
#[derive(Debug)]
pub(super) struct Page {
    /// Where it is.
    pub(super) url: Url,
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Page {
    /// Where it sends whoever asks.
    pub(super) fn location(&self) -> Option<Url> {
        let location = self.headers.get(header::LOCATION)?.to_str().unwrap();
        Some(self.url.join(location).unwrap())
    }

    /// Its words, without what is around them.
    pub(super) fn words(&self) -> String {
        words(&self.text)
    }
}

impl Browser {
    pub(super) fn new() -> Self {
        let client = Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http();
        Self { client, cookies: Mutex::default() }
    }

    /// The cookies that it has.
    pub(super) fn cookies(&self) -> BTreeMap<String, String> {
        self.cookies.lock().unwrap().clone()
    }

    /// Gives it these cookies in the place of its own.
    pub(super) fn set_cookies(&self, cookies: BTreeMap<String, String>) {
        *self.cookies.lock().unwrap() = cookies;
    }

    /// Follows a link from another site, but no redirect.
    pub(super) async fn open(&self, url: &str) -> Page {
        self.send(Method::GET, Url::parse(url).unwrap(), None, "cross-site").await
    }

    /// Sends a form of a page of the same site, and follows no redirect.
    pub(super) async fn post(&self, url: &str, form: &[(&str, &str)]) -> Page {
        self.send(Method::POST, Url::parse(url).unwrap(), Some(form), "same-origin").await
    }

    /// Sends a form of another site's page.
    pub(super) async fn post_from_elsewhere(&self, url: &str, form: &[(&str, &str)]) -> Page {
        self.send(Method::POST, Url::parse(url).unwrap(), Some(form), "cross-site").await
    }

    /// Follows redirects until there is none, or until it would leave for a URL that begins like that.
    pub(super) async fn follow(&self, page: Page, until: &str) -> Page {
        let mut page = page;
        for _ in 0..20 {
            match page.location() {
                Some(location) if !location.as_str().starts_with(until) => {
                    page = self.send(Method::GET, location, None, "cross-site").await;
                }
                Some(_) | None => return page,
            }
        }
        panic!("there is no end of redirects: {page:?}")
    }

    async fn send(&self, method: Method, url: Url, form: Option<&[(&str, &str)]>, from: &str) -> Page {
        let cookies: Vec<String> = self.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let origin = if from == "same-origin" { url.origin().ascii_serialization() } else { "null".to_owned() };
        let mut request = Request::builder()
            .method(&method)
            .uri(url.as_str())
            .header("sec-fetch-site", from)
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header(header::USER_AGENT, "a browser");
        if !cookies.is_empty() {
            request = request.header(header::COOKIE, cookies.join("; "));
        }
        let mut body = String::new();
        if let Some(form) = form {
            body = url::form_urlencoded::Serializer::new(body).extend_pairs(form).finish();
            request = request
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .header(header::ORIGIN, origin);
        }
        let asking = async {
            let answer = self.client.request(request.body(Full::from(body)).unwrap()).await.unwrap();
            let (head, body) = answer.into_parts();
            (head, body.collect().await.unwrap().to_bytes())
        };
        let (head, body) = tokio::time::timeout(2 * SOON, asking).await.expect("there is an answer in time");
        for cookie in head.headers.get_all(header::SET_COOKIE) {
            self.keep(cookie.to_str().unwrap());
        }
        let text = String::from_utf8_lossy(&body).into_owned();
        Page { url, status: head.status, headers: head.headers, text }
    }

    fn keep(&self, cookie: &str) {
        let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
        let (name, value) = pair.split_once('=').unwrap();
        let attributes = attributes.to_ascii_lowercase();
        let is_over = attributes.contains("max-age=0") || attributes.contains("1970");
        let mut cookies = self.cookies.lock().unwrap();
        if is_over {
            cookies.remove(name)
        } else {
            cookies.insert(name.to_owned(), value.to_owned())
        };
    }
}
