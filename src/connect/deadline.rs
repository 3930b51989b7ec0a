//! How long a client is willing to wait, as it writes that.

use std::time::Duration;

use connectrpc::Protocol;
use http::HeaderMap;
use tonic::Status;

/// The time that a request gives its answer, if it says any.
///
/// # Errors
/// INVALID_ARGUMENT for what is not written as the protocol wants it: a client that asks for a deadline must not be left to
/// wait without one.
pub(super) fn requested(headers: &HeaderMap, protocol: Protocol) -> Result<Option<Duration>, Status> {
    let Some(value) = headers.get(protocol.timeout_header()) else { return Ok(None) };
    let text = value.to_str().unwrap_or_default();
    let duration = if protocol == Protocol::Connect { milliseconds(text) } else { with_unit(text) };
    match duration {
        Some(duration) => Ok(Some(duration)),
        None => Err(Status::invalid_argument(format!("{}: this is no time-out", protocol.timeout_header()))),
    }
}

/// What a client is told whose time is over.
pub(super) fn exceeded() -> Status {
    Status::deadline_exceeded("the time that the client gave is over")
}

/// Connect: milliseconds, of at most ten digits (<https://connectrpc.com/docs/protocol#unary-request>).
fn milliseconds(text: &str) -> Option<Duration> {
    digits(text, 10).map(Duration::from_millis)
}

/// gRPC: at most eight digits, and a unit (<https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md>).
fn with_unit(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let number = digits(number, 8)?;
    match unit {
        "H" => Some(Duration::from_secs(number * 60 * 60)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

fn digits(text: &str, most: usize) -> Option<u64> {
    let is_number = text.len() <= most && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connect_counts_milliseconds() {
        assert_eq!(milliseconds("0"), Some(Duration::ZERO));
        assert_eq!(milliseconds("1500"), Some(Duration::from_millis(1500)));
        assert_eq!(milliseconds("9999999999"), Some(Duration::from_millis(9_999_999_999)));
        for other in ["", "-1", "+1", "1.5", "1s", " 1", "1 ", "soon", "10000000000", &format!("1{}", "0".repeat(30))] {
            assert_eq!(milliseconds(other), None, "{other}");
        }
    }

    #[test]
    fn grpc_names_its_unit() {
        for (text, duration) in [
            ("0m", Duration::ZERO),
            ("2H", Duration::from_secs(7200)),
            ("3M", Duration::from_secs(180)),
            ("4S", Duration::from_secs(4)),
            ("5m", Duration::from_millis(5)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
            ("99999999H", Duration::from_secs(99_999_999 * 3600)),
        ] {
            assert_eq!(with_unit(text), Some(duration), "{text}");
        }
        for other in
            ["", "m", "5", "-5m", "+5m", "5x", "5 m", "100000000m", "5\u{b5}", &format!("1{}m", "0".repeat(30))]
        {
            assert_eq!(with_unit(other), None, "{other}");
        }
    }
}
