//! What the server is told: flags and `LATCHKEY_*` variables, checked together so that every mistake is reported at once.

mod cors_origins;
mod environment_limits;
mod oidc_providers;
mod traces;
mod trusted_proxies;

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use clap::{
    Args,
    builder::{OsStringValueParser, TypedValueParser},
};
use serde::{Deserialize, Serialize};
use url::Url;

pub use environment_limits::EnvironmentLimitArgs;
pub use traces::{TraceArgs, Traces};
pub use trusted_proxies::TrustedProxies;

use crate::domain::{environment::EnvironmentLimits, session::SessionLimits, sign_in::Provider};
use environment_limits::{number, size};

/// Where it listens when nothing is said.
pub const DEFAULT_LISTEN: &str = "127.0.0.1:8080";
/// Where it tells its metrics when nothing is said.
pub const DEFAULT_METRICS_LISTEN: &str = "127.0.0.1:9464";

/// Where the data is: what every command takes.
#[derive(Debug, Clone, Default, Args)]
pub struct DataArgs {
    /// Directory of the embedded PostgreSQL, signing keys and environments [default: /var/lib/latchkey for root, else the
    /// XDG data directory]
    #[arg(long, global = true, env = "LATCHKEY_DATA_DIR", value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// Use this PostgreSQL instead of the embedded one, such as postgresql://latchkey@db.example/latchkey
    #[arg(long, global = true, env = "LATCHKEY_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub database_url: Option<String>,
    /// Where that PostgreSQL itself is, if the database URL leads through a pooler such as PgBouncer: announcements are heard there, and
    /// the owner connects there
    #[arg(long, global = true, env = "LATCHKEY_DATABASE_DIRECT_URL", value_name = "URL", hide_env_values = true)]
    pub database_direct_url: Option<String>,
    /// As whom to migrate and administer, if not as who serves: the owner of the tables [default: the direct URL, or else the database URL]
    #[arg(long, global = true, env = "LATCHKEY_OWNER_DATABASE_URL", value_name = "URL", hide_env_values = true)]
    pub owner_database_url: Option<String>,
    /// File of signing keys [default: signing-keys in $CREDENTIALS_DIRECTORY or in the data directory]
    #[arg(long, global = true, env = "LATCHKEY_SIGNING_KEYS", value_name = "FILE")]
    pub signing_keys: Option<PathBuf>,
}

impl DataArgs {
    /// How the operator's commands connect to the operator's own PostgreSQL, if that is what is used.
    #[must_use]
    pub fn owner_url(&self) -> Option<&str> {
        let url = self.database_url.as_ref()?;
        let direct = self.database_direct_url.as_ref().unwrap_or(url);
        Some(self.owner_database_url.as_ref().unwrap_or(direct))
    }
}

/// What `latchkey serve` takes.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Where the data is.
    #[command(flatten)]
    pub data: DataArgs,
    /// Address and port to listen on
    #[arg(long, env = "LATCHKEY_LISTEN", value_name = "ADDR", default_value = DEFAULT_LISTEN)]
    pub listen: String,
    /// Listen in cleartext on an address that others can reach: behind a proxy that does TLS
    #[arg(long, env = "LATCHKEY_INSECURE_LISTEN")]
    pub insecure_listen: bool,
    /// What clients write to reach the server, such as https://latchkey.example [default: http:// and the address]
    #[arg(long, env = "LATCHKEY_PUBLIC_URL", value_name = "URL")]
    pub public_url: Option<String>,
    /// Origin whose pages may call the API from a browser, such as https://app.example; can be given more than once, or with
    /// commas between [default: none]
    #[arg(
        long = "cors-allowed-origin",
        env = "LATCHKEY_CORS_ALLOWED_ORIGINS",
        value_name = "ORIGIN",
        value_delimiter = ','
    )]
    pub cors_allowed_origins: Vec<String>,
    /// Address or network, such as 10.0.0.0/8, of proxies that are believed when X-Forwarded-For says who a request comes from; can
    /// be given more than once, or with commas between [default: none]
    #[arg(long = "trusted-proxy", env = "LATCHKEY_TRUSTED_PROXIES", value_name = "CIDR", value_delimiter = ',')]
    pub trusted_proxies: Vec<String>,
    /// File that says with whose accounts people sign in, by OpenID Connect: see README.md [default: none]
    #[arg(
        long,
        env = "LATCHKEY_OIDC_PROVIDERS",
        value_name = "FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub oidc_providers: Option<PathBuf>,
    /// Address and port to tell Prometheus metrics on; 'off' for none
    #[arg(long, env = "LATCHKEY_METRICS_LISTEN", value_name = "ADDR", default_value = DEFAULT_METRICS_LISTEN)]
    pub metrics_listen: String,
    /// Where traces go.
    #[command(flatten)]
    pub traces: TraceArgs,
    /// Live tokens that a user may have at the most
    #[arg(long, env = "LATCHKEY_TOKENS_PER_USER", value_name = "N", default_value = "100")]
    pub tokens_per_user: String,
    /// The longest that a revoked token may still be accepted anywhere, such as 5s; 0 to ask PostgreSQL about each request
    #[arg(long, env = "LATCHKEY_REVOCATION_BOUND", value_name = "TIME", default_value = "5s")]
    pub revocation_bound: String,
    /// The longest that somebody who signed in with a browser stays signed in, such as 7d
    #[arg(long, env = "LATCHKEY_SESSION_LIFETIME", value_name = "TIME", default_value = "7d")]
    pub session_lifetime: String,
    /// The same without doing anything, such as 12h
    #[arg(long, env = "LATCHKEY_SESSION_IDLE_TIMEOUT", value_name = "TIME", default_value = "12h")]
    pub session_idle_timeout: String,
    /// How many environments there may be.
    #[command(flatten)]
    pub environments: EnvironmentLimitArgs,
    /// The longest that a clone may take, such as 30m
    #[arg(long, env = "LATCHKEY_CLONE_TIMEOUT", value_name = "TIME", default_value = "30m")]
    pub clone_timeout: String,
    /// How long nothing may come of a repository that is cloned, such as 60s
    #[arg(long, env = "LATCHKEY_CLONE_SILENCE", value_name = "TIME", default_value = "60s")]
    pub clone_silence: String,
    /// Run environments on this machine, also with a database of one's own
    #[arg(long, env = "LATCHKEY_LOCAL_RUNNER")]
    pub local_runner: bool,
    /// What environments leave free of the disk, such as 500MiB; 0 for nothing [default: 1GiB, or 5% of a smaller disk]
    #[arg(long, env = "LATCHKEY_FREE_SPACE_RESERVE", value_name = "SIZE")]
    pub free_space_reserve: Option<String>,
    /// Git configuration whose url.*.insteadOf, http.proxy and http.sslCAInfo environments are cloned with [default:
    /// $GIT_CONFIG_GLOBAL]
    // Clap's own parser of paths would not start a server with an empty variable.
    #[arg(
        long,
        env = "LATCHKEY_GIT_CONFIG",
        value_name = "FILE",
        value_parser = OsStringValueParser::new().map(PathBuf::from)
    )]
    pub git_config: Option<PathBuf>,
}

/// What every path of the server keeps to.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// Bytes of all headers of a request.
    pub header_bytes: u32,
    /// Bytes of a request's message: a command is the longest thing there is.
    pub request_bytes: usize,
    /// How long the headers of a request, and the first request of a connection, may take.
    pub header_timeout: Duration,
    /// How long a connection may be without a request.
    pub idle_timeout: Duration,
    /// Streams of public RPCs at once.
    pub public_streams: usize,
    /// Of these, those of one peer.
    pub public_streams_of_peer: usize,
    /// How long such a stream may last.
    pub public_stream_life: Duration,
    /// How long the body of a request may take, unless it is such a stream itself.
    pub body_timeout: Duration,
    /// How long nothing may come of a body.
    pub body_silence: Duration,
    /// How long nothing of an answer may be taken that is there; up to twice as long goes by before it is noticed.
    pub answer_silence: Duration,
    /// How long a silent HTTP/2 connection may leave a ping unanswered.
    pub keep_alive_timeout: Duration,
    /// How long requests under way may take to end when the server stops.
    pub shutdown: Duration,
    /// How long a token that has been revoked may still be accepted, at the most; 0 remembers none.
    pub revocation_bound: Duration,
    /// Personal access tokens that are remembered.
    pub cached_tokens: usize,
    /// Live tokens a principal.
    pub tokens_per_user: u32,
    /// Environments of a principal, and of an organization.
    pub environments: EnvironmentLimits,
    /// How long people stay signed in.
    pub sessions: SessionLimits,
    /// How long a clone may take.
    pub clone_timeout: Duration,
    /// How long nothing may come of one.
    pub clone_silence: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            streams: 256,
            header_bytes: 32 * 1024,
            request_bytes: 256 * 1024,
            header_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(2 * 60),
            public_streams: 1000,
            public_streams_of_peer: 100,
            public_stream_life: Duration::from_secs(60 * 60),
            body_timeout: Duration::from_secs(60),
            body_silence: Duration::from_secs(10),
            answer_silence: Duration::from_secs(30),
            keep_alive_timeout: Duration::from_secs(20),
            shutdown: Duration::from_secs(10),
            revocation_bound: Duration::from_secs(5),
            cached_tokens: 100_000,
            tokens_per_user: 100,
            environments: EnvironmentLimits::default(),
            sessions: SessionLimits::default(),
            clone_timeout: Duration::from_secs(30 * 60),
            clone_silence: Duration::from_secs(60),
        }
    }
}

/// What the server goes by; checked.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// What clients write to reach it, without a slash at the end; none for the address it listens on.
    pub public_url: Option<String>,
    /// Whose pages may call it from a browser.
    pub cors_allowed_origins: Vec<String>,
    /// Who is believed when they say for whom they ask.
    pub trusted_proxies: TrustedProxies,
    /// With whose accounts people sign in.
    pub oidc_providers: Vec<Provider>,
    /// Where it tells its metrics.
    pub metrics_listen: Option<SocketAddr>,
    /// Where it sends traces.
    pub traces: Option<Traces>,
    /// Where the data is: of no interest to a process that is told what it needs of it.
    #[serde(skip)]
    pub data: DataArgs,
    /// Whether environments run on this machine.
    pub local_runner: bool,
    /// The operator's Git configuration.
    pub git_config: Option<PathBuf>,
    /// What environments leave free of the disk, in bytes; none for what seems right.
    pub free_space_reserve: Option<u64>,
    /// What every path keeps to.
    pub limits: Limits,
}

/// Everything that is wrong with what the server was told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(Vec<String>);

impl fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Mistakes {}

impl ServeArgs {
    /// Checks everything.
    ///
    /// # Errors
    /// Every mistake there is.
    pub fn check(self) -> Result<Config, Mistakes> {
        let mut mistakes = Vec::new();
        let listen = address("--listen", &self.listen, &mut mistakes);
        if let Some(listen) = listen
            && !self.insecure_listen
            && !is_loopback(listen.ip())
        {
            mistakes.push(format!(
                "--listen {listen}: others could read tokens on their way here; put a proxy that does TLS in front and add \
                 --insecure-listen"
            ));
        }
        if listen.is_some_and(|listen| listen.ip().is_unspecified()) && self.public_url.is_none() {
            mistakes.push(format!(
                "--listen {}: clients cannot be sent there; say with --public-url what they write to reach the server",
                self.listen
            ));
        }
        let metrics_listen = match self.metrics_listen.as_str() {
            "off" => None,
            text => address("--metrics-listen", text, &mut mistakes),
        };
        let public_url = self.public_url.as_deref().and_then(|text| public_url(text, &mut mistakes));
        let cors_allowed_origins = cors_origins::check(&self.cors_allowed_origins, &mut mistakes);
        let traces = self.traces.check(&mut mistakes);
        let trusted_proxies = TrustedProxies::check(&self.trusted_proxies, &mut mistakes);
        let oidc_providers = oidc_providers::check(self.oidc_providers.as_deref(), &mut mistakes);
        let tokens_per_user = number("--tokens-per-user", &self.tokens_per_user, &(1..=100_000), &mut mistakes);
        let environments = self.environments.check(&mut mistakes);
        let revocation_bound = match self.revocation_bound.as_str() {
            "0" | "0s" => Some(Duration::ZERO),
            text => time("--revocation-bound", text, &mut mistakes),
        };
        let session_lifetime = session_time("--session-lifetime", &self.session_lifetime, &mut mistakes);
        let session_idle = session_time("--session-idle-timeout", &self.session_idle_timeout, &mut mistakes);
        let clone_timeout = time("--clone-timeout", &self.clone_timeout, &mut mistakes);
        let clone_silence = time("--clone-silence", &self.clone_silence, &mut mistakes);
        let free_space_reserve = self.free_space_reserve.as_deref().and_then(|text| match text {
            "0" => Some(0),
            text => size("--free-space-reserve", text, &mut mistakes),
        });
        if self.data.database_direct_url.is_some() && self.data.database_url.is_none() {
            mistakes.push("--database-direct-url: goes with --database-url, which leads through a pooler".to_owned());
        }
        let local_runner = self.local_runner || self.data.database_url.is_none();
        // As Git has it: an empty variable names no file.
        let named = |file: &PathBuf| !file.as_os_str().is_empty();
        let of_git = || std::env::var_os("GIT_CONFIG_GLOBAL").map(PathBuf::from).filter(named);
        let git_config = self.git_config.filter(named).or_else(of_git);
        let sessions = session_lifetime.zip(session_idle).map(|(lifetime, idle)| SessionLimits { lifetime, idle });
        let times = revocation_bound.zip(clone_timeout).zip(clone_silence).zip(sessions);
        match (listen, tokens_per_user, times) {
            (
                Some(listen),
                Some(tokens_per_user),
                Some((((revocation_bound, clone_timeout), clone_silence), sessions)),
            ) if mistakes.is_empty() => Ok(Config {
                listen,
                public_url,
                cors_allowed_origins,
                trusted_proxies,
                oidc_providers,
                metrics_listen,
                traces,
                data: self.data,
                local_runner,
                git_config,
                free_space_reserve,
                limits: Limits {
                    revocation_bound,
                    tokens_per_user,
                    environments,
                    sessions,
                    clone_timeout,
                    clone_silence,
                    ..Limits::default()
                },
            }),
            (None | Some(_), None | Some(_), None | Some(_)) => Err(Mistakes(mistakes)),
        }
    }
}

fn address(flag: &str, text: &str, mistakes: &mut Vec<String>) -> Option<SocketAddr> {
    let text = text.strip_prefix("localhost:").map_or_else(|| text.to_owned(), |port| format!("127.0.0.1:{port}"));
    let address = text.parse().ok();
    if address.is_none() {
        mistakes.push(format!("{flag} {text}: must be an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080"));
    }
    address
}

fn public_url(text: &str, mistakes: &mut Vec<String>) -> Option<String> {
    let parsed = Url::parse(text).ok().filter(|url| {
        matches!(url.scheme(), "http" | "https")
            && url.host_str().is_some()
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    if parsed.is_none() {
        mistakes.push(format!("--public-url {text}: must be a URL such as https://latchkey.example"));
    }
    parsed.map(|url| url.as_str().trim_end_matches('/').to_owned())
}

/// Reads a time, of whole seconds up to a day.
fn time(flag: &str, text: &str, mistakes: &mut Vec<String>) -> Option<Duration> {
    let time = humantime::parse_duration(text).ok();
    let time = time.filter(|time| (1..=24 * 60 * 60).contains(&time.as_secs()) && time.subsec_nanos() == 0);
    if time.is_none() {
        mistakes.push(format!("{flag} {text}: must be a time from 1s to 24h, such as 60s, 30m or 2h"));
    }
    time
}

/// How long people may stay signed in.
fn session_time(flag: &str, text: &str, mistakes: &mut Vec<String>) -> Option<Duration> {
    let time = humantime::parse_duration(text).ok();
    let time = time.filter(|time| (60..=90 * 24 * 60 * 60).contains(&time.as_secs()) && time.subsec_nanos() == 0);
    if time.is_none() {
        mistakes.push(format!("{flag} {text}: must be a time from 1m to 90d, such as 30m, 12h or 7d"));
    }
    time
}

fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        serve: ServeArgs,
    }

    fn check(args: &[&str]) -> Result<Config, Mistakes> {
        Cli::parse_from(std::iter::once("latchkey").chain(args.iter().copied())).serve.check()
    }

    #[test]
    fn every_mistake_is_reported_at_once() {
        let mistakes = check(&[
            "--listen=8080",
            "--public-url=latchkey",
            "--cors-allowed-origin=*",
            "--trusted-proxy=proxy",
            "--oidc-providers=/nowhere",
            "--tokens-per-user=0",
            "--revocation-bound=5",
            "--metrics-listen=x",
            "--clone-timeout=9",
            "--free-space-reserve=x",
        ])
        .unwrap_err()
        .to_string();
        for flag in [
            "--listen",
            "--public-url",
            "--cors-allowed-origin",
            "--trusted-proxy",
            "--oidc-providers",
            "--tokens-per-user",
            "--revocation-bound",
            "--metrics-listen",
            "--clone-timeout",
            "--free-space-reserve",
        ] {
            assert!(mistakes.contains(flag), "{flag} is missing in: {mistakes}");
        }
    }

    #[test]
    fn cleartext_that_others_can_reach_must_be_asked_for() {
        assert!(check(&["--listen", "0.0.0.0:8080"]).is_err());
        assert!(check(&["--listen", "[::]:8080"]).is_err());
        let listen = ["--listen", "0.0.0.0:8080", "--insecure-listen"];
        assert!(check(&listen).is_err(), "clients cannot be sent to 0.0.0.0");
        assert!(check(&[&listen[..], &["--public-url", "https://latchkey.example"]].concat()).is_ok());
        for loopback in ["127.0.0.1:0", "[::1]:8080", "localhost:8080", "[::ffff:127.0.0.1]:1"] {
            assert!(check(&["--listen", loopback]).is_ok(), "{loopback}");
        }
    }

    #[test]
    fn times_are_whole_seconds_up_to_a_day() {
        let limits = check(&["--clone-timeout", "2h", "--clone-silence", "5s"]).unwrap().limits;
        assert_eq!((limits.clone_timeout.as_secs(), limits.clone_silence.as_secs()), (7200, 5));
        let limits = check(&[]).unwrap().limits;
        assert_eq!(
            (limits.clone_timeout, limits.clone_silence),
            (Limits::default().clone_timeout, Limits::default().clone_silence)
        );
        for flag in ["--clone-timeout", "--clone-silence"] {
            for text in ["0s", "500ms", "1500ms", "25h", "-1s", "5", "soon", ""] {
                let mistakes = check(&[&format!("{flag}={text}")]).unwrap_err().to_string();
                assert!(mistakes.starts_with(flag), "{mistakes}");
            }
        }
    }

    #[test]
    fn a_public_url_has_no_slash_at_its_end() {
        let config = check(&["--public-url", "https://latchkey.example/base/"]).unwrap();
        assert_eq!(config.public_url.as_deref(), Some("https://latchkey.example/base"));
        assert!(check(&["--public-url", "https://me@latchkey.example"]).is_err());
    }
}
