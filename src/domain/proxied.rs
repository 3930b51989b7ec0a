//! Requests to other services that a proxy asks about: what they do, and why they may not go on.

use std::time::Duration;

/// Of a request, what says what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// The method of HTTP. It may be of any case, but only the methods in upper case are known ones.
    pub method: &'a str,
    /// The path, perhaps with a query.
    pub path: &'a str,
    /// What it says of its body.
    pub content_type: ContentType<'a>,
    /// Whether it is to become a connection of another protocol, such as a WebSocket, of which nobody sees what it does.
    pub upgrades: bool,
}

/// What a request says of its body. Services take one of several for it, and which is anybody's guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ContentType<'a> {
    /// Nothing.
    Unsaid,
    /// This.
    Said(&'a str),
    /// More than one thing, or what is no text.
    Unclear,
}

impl<'a> ContentType<'a> {
    /// Of all values that the header has. A comma parts two: proxies join those of one name.
    pub fn of(values: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut values = values.into_iter();
        match (values.next(), values.next()) {
            (None, _) => Self::Unsaid,
            (Some(value), None) if !value.contains(&b',') => {
                std::str::from_utf8(value).map_or(Self::Unclear, Self::Said)
            }
            (Some(_), _) => Self::Unclear,
        }
    }

    fn begins_with(self, start: &str) -> bool {
        match self {
            Self::Said(kind) => kind.get(..start.len()).is_some_and(|begun| begun.eq_ignore_ascii_case(start)),
            Self::Unsaid | Self::Unclear => false,
        }
    }
}

impl RequestHead<'_> {
    /// Whether the client speaks gRPC, and is to be answered in it. gRPC-Web is not that.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        let ContentType::Said(kind) = self.content_type else { return false };
        let kind = kind.split(';').next().unwrap_or_default().trim();
        ContentType::Said(kind).begins_with(GRPC) && matches!(kind.as_bytes().get(GRPC.len()), None | Some(b'+'))
    }

    /// Whether it reads and nothing else.
    ///
    /// Where RPCs are named that do (`package.Service/Method`, with commas or spaces between), even if none is, the path alone says so: servers of gRPC
    /// look at nothing else, so that neither a method of HTTP nor a content type keeps them from carrying out what is called. Elsewhere the
    /// method says so; what says that it is gRPC or gRPC-Web, what says two things at once, and what becomes another protocol does not read.
    #[must_use]
    pub fn is_read(&self, read_methods: Option<&str>) -> bool {
        let reads_by_method = || {
            matches!(self.method, "GET" | "HEAD" | "OPTIONS")
                && self.content_type != ContentType::Unclear
                && !self.content_type.begins_with(GRPC)
        };
        !self.upgrades && read_methods.map_or_else(reads_by_method, |methods| self.calls_one_of(methods))
    }

    fn calls_one_of(&self, methods: &str) -> bool {
        let path = self.path.split_once('?').map_or(self.path, |(path, _)| path);
        let Some(called) = path.strip_prefix('/') else { return false };
        methods.split([',', ' ', '\n', '\t']).any(|method| {
            let method = method.strip_prefix('/').unwrap_or(method);
            !method.is_empty() && method == called
        })
    }
}

const GRPC: &str = "application/grpc";

/// Why a request may not go on. The texts are for whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Denial {
    /// No token came with it.
    NoToken(String),
    /// More came with it than one token.
    Repeated(String),
    /// What came with it is no token that is good now.
    InvalidToken(String),
    /// Its token is good for reading alone, and it does something else.
    ReadOnly(String),
    /// What came with it is no token, and not for the first time from its address.
    TooManyTries {
        /// When to try again.
        retry_after: Duration,
    },
    /// It cannot be decided now.
    Unavailable {
        /// Why.
        message: String,
        /// When to try again.
        retry_after: Duration,
    },
    /// What the proxy says of the route makes no sense.
    Misconfigured {
        /// Which word of it.
        key: &'static str,
        /// What it has to be.
        problem: &'static str,
    },
}

impl Denial {
    /// A few words for metrics.
    #[must_use]
    pub const fn outcome(&self) -> &'static str {
        match self {
            Self::NoToken(_) => "no token",
            Self::Repeated(_) => "repeated",
            Self::InvalidToken(_) => "invalid token",
            Self::ReadOnly(_) => "read-only",
            Self::TooManyTries { .. } => "too many tries",
            Self::Unavailable { .. } => "unavailable",
            Self::Misconfigured { .. } => "misconfigured",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READS: &str = "shop.v1.Orders/GetOrder, /shop.v1.Orders/ListOrders\n  shop.v1.Stock/Count";

    const READING: [&str; 3] = ["GET", "HEAD", "OPTIONS"];

    fn head<'a>(method: &'a str, path: &'a str, content_type: &'a str) -> RequestHead<'a> {
        let content_type = Some(content_type.as_bytes()).filter(|kind| !kind.is_empty());
        RequestHead { method, path, content_type: ContentType::of(content_type), upgrades: false }
    }

    #[test]
    fn where_no_rpcs_are_named_http_is_judged_by_its_method() {
        let is_read = |method: &str, kind: &str| head(method, "/anything?x=1", kind).is_read(None);
        for method in READING {
            for kind in ["", "application/json", "text/plain; charset=utf-8"] {
                assert!(is_read(method, kind), "{method} {kind}");
            }
            // Who says that it is gRPC is not believed a method of HTTP that reads, and neither is who says two things.
            for kind in [
                "application/grpc",
                "application/grpc+proto",
                "Application/GRPC",
                "application/grpc-web",
                "application/json,application/grpc",
                "application/json, text/plain",
                ",",
            ] {
                assert!(!is_read(method, kind), "{method} {kind}");
            }
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "PROPFIND", "get", "GET ", ""] {
            assert!(!is_read(method, ""), "{method}");
        }
    }

    #[test]
    fn a_content_type_is_one_or_none() {
        let of = |values: &[&'static [u8]]| ContentType::of(values.iter().copied());
        assert_eq!(of(&[]), ContentType::Unsaid);
        assert_eq!(of(&[b"application/json"]), ContentType::Said("application/json"));
        for unclear in [&[&b"text/plain"[..], b"application/grpc"][..], &[b"", b""], &[b"a,b"], &[b"\xff"]] {
            assert_eq!(of(unclear), ContentType::Unclear, "{unclear:?}");
        }
    }

    #[test]
    fn what_becomes_another_protocol_does_not_read() {
        for (method, path) in [("GET", "/socket"), ("CONNECT", "/socket"), ("POST", "/shop.v1.Orders/GetOrder")] {
            let head = RequestHead { upgrades: true, ..head(method, path, "") };
            assert!(!head.is_read(Some(READS)) && !head.is_read(None), "{method}");
        }
    }

    #[test]
    fn where_rpcs_are_named_the_path_alone_says_what_reads() {
        let kinds = [
            "",
            "application/grpc",
            "application/grpc+proto",
            "application/grpc-web",
            "application/json",
            "application/json,application/grpc",
        ];
        for (kind, method) in
            kinds.iter().flat_map(|kind| READING.iter().chain(&["POST", "PUT"]).map(move |method| (kind, method)))
        {
            for path in ["/shop.v1.Orders/GetOrder", "/shop.v1.Orders/ListOrders", "/shop.v1.Stock/Count?x"] {
                assert!(head(method, path, kind).is_read(Some(READS)), "{method} {kind} {path}");
            }
            for path in [
                "/shop.v1.Orders/DeleteOrder",
                "/shop.v1.Orders/GetOrder/",
                "//shop.v1.Orders/GetOrder",
                "/shop.v1.orders/getorder",
                "/shop.v1.Orders/GetOrders",
                "/shop.v1.Orders/Get",
                "/shop.v1.Orders/GetOrder#/",
                "/",
                "",
                "shop.v1.Orders/GetOrder",
            ] {
                assert!(!head(method, path, kind).is_read(Some(READS)), "{method} {kind} {path}");
            }
        }
    }

    #[test]
    fn a_list_without_rpcs_lets_none_read() {
        for list in ["", " ", ",", "/", ", /,\n"] {
            for (path, method) in [("/shop.v1.Orders/GetOrder", "GET"), ("/", "POST"), ("", "OPTIONS")] {
                assert!(!head(method, path, "").is_read(Some(list)), "{list:?} {path:?}");
            }
        }
    }

    #[test]
    fn grpc_is_told_from_what_only_begins_alike() {
        for (kind, is_grpc) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc; charset=x", true),
            ("APPLICATION/GRPC", true),
            ("application/grpc-web", false),
            ("application/grpc-web+proto", false),
            ("application/grpcx", false),
            ("application/grpc,application/grpc", false),
            ("application/json", false),
            ("", false),
        ] {
            assert_eq!(head("POST", "/", kind).is_grpc(), is_grpc, "{kind}");
        }
    }
}
