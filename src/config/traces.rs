//! Where traces go.

use clap::Args;
use serde::{Deserialize, Serialize};
use url::Url;

/// Traces: none unless a collector is named.
#[derive(Debug, Clone, Args)]
pub struct TraceArgs {
    /// Collector that takes traces by OTLP over gRPC, such as http://127.0.0.1:4317 [default: none]
    #[arg(long, env = "LATCHKEY_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Which share of the requests is traced, 0 to 1; one that belongs to a trace already is traced if that is
    #[arg(long, env = "LATCHKEY_TRACE_SHARE", value_name = "SHARE", default_value = "1")]
    pub trace_share: String,
}

/// Where they go; checked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Traces {
    /// The collector's URL.
    pub endpoint: String,
    /// Which share of the requests is traced, 0 to 1.
    pub share: f64,
}

impl TraceArgs {
    pub(super) fn check(&self, mistakes: &mut Vec<String>) -> Option<Traces> {
        let share = self.trace_share.parse().ok().filter(|share| (0.0..=1.0).contains(share));
        if share.is_none() {
            mistakes.push(format!("--trace-share {}: must be a number from 0 to 1, such as 0.1", self.trace_share));
        }
        // An empty variable names none.
        let text = self.otlp_endpoint.as_deref().filter(|text| !text.is_empty())?;
        let url = Url::parse(text).ok().filter(|url| {
            matches!(url.scheme(), "http" | "https")
                && url.host_str().is_some()
                && url.username().is_empty()
                && url.password().is_none()
        });
        if url.is_none() {
            mistakes.push(format!("--otlp-endpoint {text}: must be a URL such as http://127.0.0.1:4317"));
        }
        Some(Traces { endpoint: url?.as_str().trim_end_matches('/').to_owned(), share: share? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_and_a_share_are_understood_or_said_to_be_wrong() {
        for (endpoint, share, expected) in [
            (None, "1", Ok(None)),
            (Some(""), "0.5", Ok(None)),
            (Some("http://127.0.0.1:4317"), "0.5", Ok(Some(("http://127.0.0.1:4317", 0.5)))),
            (Some("https://otel.example/"), "0", Ok(Some(("https://otel.example", 0.0)))),
            (Some("127.0.0.1:4317"), "1", Err("--otlp-endpoint 127.0.0.1:4317")),
            (Some("http://user:secret@otel.example"), "1", Err("--otlp-endpoint")),
            (Some("http://otel.example"), "1.1", Err("--trace-share 1.1")),
            (None, "NaN", Err("--trace-share NaN")),
        ] {
            let args = TraceArgs { otlp_endpoint: endpoint.map(str::to_owned), trace_share: share.to_owned() };
            let mut mistakes = Vec::new();
            let traces = args.check(&mut mistakes);
            match expected {
                Ok(expected) => {
                    assert_eq!(mistakes, [""; 0]);
                    assert_eq!(traces.as_ref().map(|traces| (traces.endpoint.as_str(), traces.share)), expected);
                }
                Err(mistake) => assert!(mistakes.iter().any(|said| said.starts_with(mistake)), "{mistakes:?}"),
            }
        }
    }
}
