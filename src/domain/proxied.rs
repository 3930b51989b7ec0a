//! Requests to other services that a proxy asks about: what they do, and why they may not go on.

use std::time::Duration;

/// Of a request, what says what it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestHead<'a> {
    /// The method of HTTP. It may be of any case, but only the methods in upper case are known ones.
    pub method: &'a str,
    /// The path, perhaps with a query.
    pub path: &'a str,
    /// The content type; none where it is not said, or not once.
    pub content_type: Option<&'a str>,
    /// Whether it is to become a connection of another protocol, such as a WebSocket, of which nobody sees what it does.
    pub upgrades: bool,
}

impl RequestHead<'_> {
    /// Whether the client speaks gRPC, and is to be answered in it. gRPC-Web is not that.
    #[must_use]
    pub fn is_grpc(&self) -> bool {
        self.media_type().is_some_and(|kind| {
            kind.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC))
                && matches!(kind.as_bytes().get(GRPC.len()), None | Some(b'+'))
        })
    }

    /// Whether it reads and nothing else, where these RPCs do (`package.Service/Method`, with commas or spaces between). Whatever says that it is
    /// gRPC or gRPC-Web is judged by its RPC, whatever its method, and so is what is posted, as Connect does; all else by the method. What becomes another protocol does not read.
    #[must_use]
    pub fn is_read(&self, read_methods: &str) -> bool {
        let claims_grpc = self
            .content_type
            .is_some_and(|kind| kind.get(..GRPC.len()).is_some_and(|start| start.eq_ignore_ascii_case(GRPC)));
        match self.method {
            _ if self.upgrades => false,
            "GET" | "HEAD" | "OPTIONS" if !claims_grpc => true,
            "POST" => self.calls_one_of(read_methods),
            _ => false,
        }
    }

    fn calls_one_of(&self, methods: &str) -> bool {
        let path = self.path.split_once('?').map_or(self.path, |(path, _)| path);
        let Some(called) = path.strip_prefix('/') else { return false };
        methods.split([',', ' ', '\n', '\t']).any(|method| {
            let method = method.strip_prefix('/').unwrap_or(method);
            !method.is_empty() && method == called
        })
    }

    fn media_type(&self) -> Option<&str> {
        Some(self.content_type?.split(';').next()?.trim())
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

    fn is_read(method: &str, path: &str, content_type: &str) -> bool {
        let content_type = Some(content_type).filter(|kind| !kind.is_empty());
        RequestHead { method, path, content_type, upgrades: false }.is_read(READS)
    }

    #[test]
    fn http_is_judged_by_its_method() {
        for method in ["GET", "HEAD", "OPTIONS"] {
            assert!(is_read(method, "/anything?x=1", ""), "{method}");
            assert!(is_read(method, "/anything", "application/json"), "{method}");
        }
        for method in ["POST", "PUT", "PATCH", "DELETE", "CONNECT", "TRACE", "PROPFIND", "get", "GET ", ""] {
            assert!(!is_read(method, "/anything", ""), "{method}");
        }
    }

    #[test]
    fn what_becomes_another_protocol_does_not_read() {
        for (method, path) in [("GET", "/socket"), ("CONNECT", "/socket"), ("POST", "/shop.v1.Orders/GetOrder")] {
            let head = RequestHead { method, path, content_type: None, upgrades: true };
            assert!(!head.is_read(READS), "{method}");
        }
    }

    #[test]
    fn rpcs_are_judged_by_the_list_alone() {
        let kinds = [
            "application/grpc",
            "application/grpc+proto",
            "Application/GRPC",
            "application/grpc-web",
            "application/json",
        ];
        for kind in kinds {
            for path in ["/shop.v1.Orders/GetOrder", "/shop.v1.Orders/ListOrders", "/shop.v1.Stock/Count?x"] {
                assert!(is_read("POST", path, kind), "{kind} {path}");
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
                assert!(!is_read("POST", path, kind), "{kind} {path}");
            }
        }
        // Who says that it is gRPC is not believed a method of HTTP that reads.
        for kind in &kinds[..4] {
            assert!(!is_read("GET", "/shop.v1.Orders/DeleteOrder", kind), "{kind}");
        }
    }

    #[test]
    fn without_a_list_no_rpc_reads() {
        for list in ["", " ", ",", "/", ", /,\n"] {
            for path in ["/shop.v1.Orders/GetOrder", "/", ""] {
                let head =
                    RequestHead { method: "POST", path, content_type: Some("application/grpc"), upgrades: false };
                assert!(!head.is_read(list), "{list:?} {path:?}");
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
            ("application/json", false),
            ("", false),
        ] {
            let head = RequestHead { method: "POST", path: "/", content_type: Some(kind), upgrades: false };
            assert_eq!(head.is_grpc(), is_grpc, "{kind}");
        }
    }
}
