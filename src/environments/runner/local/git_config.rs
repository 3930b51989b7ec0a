//! The operator's Git configuration, reduced to what environments need of it: rewritten URLs, a proxy, certificates.
//! Git itself reads it, so that what it means here is what it means to Git.

use std::{
    collections::BTreeSet,
    io,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::process::Command;
use url::Url;

use crate::{
    domain::text::is_unprintable,
    environments::{
        egress::Destination,
        excerpt::{EXCERPT_LIMIT, excerpt},
        supervisor::task::places,
    },
};

/// Why the operator's configuration is not taken. Never says a value: there may be a password in it.
#[derive(Debug, thiserror::Error)]
pub enum GitConfigError {
    /// Git cannot read it.
    #[error("git cannot read {}: {text}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What git says.
        text: String,
    },
    /// A password, or a user name, would go to every environment.
    #[error("{key} contains a user name or a password, which every environment would see; remove it")]
    Credentials {
        /// The key, without its value.
        key: &'static str,
    },
    /// A value that means nothing here.
    #[error("{key} {problem}")]
    Unusable {
        /// The key, without its value.
        key: &'static str,
        /// What is wrong, and what would be right.
        problem: &'static str,
    },
    /// Git could not be started, or the certificates not be read.
    #[error("{0}")]
    Io(#[from] io::Error),
}

/// What environments get of the operator's configuration.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct GitConfig {
    rewrites: Vec<Rewrite>,
    /// `http.proxy`.
    pub(super) proxy: Option<Destination>,
    /// `http.sslCAInfo`.
    pub(super) certificates: Option<PathBuf>,
}

/// `url.<base>.insteadOf = <prefix>`
#[derive(Debug, Clone, PartialEq, Eq)]
struct Rewrite {
    base: Url,
    /// As the operator spells it: a rewrite is one of text.
    base_text: String,
    prefix: String,
}

/// Texts of git's rewritten URLs, and those in their place that people gave.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct GivenUrls(Vec<(String, String)>);

impl GivenUrls {
    /// A text of git's in terms of the URLs that people gave.
    pub(super) fn in_text(&self, text: &str) -> String {
        self.0.iter().fold(text.to_owned(), |text, (rewritten, given)| text.replace(rewritten, given))
    }
}

/// Slower than so many bytes a second, for as long as a host may be silent, counts as standing still. Less than what a host says
/// while it counts its objects: that may take longer.
const LEAST_SPEED: u32 = 10;
/// What Git keeps in memory at once, whatever a repository holds: a file of more bytes than the first is never whole there. What
/// comes is kept as it came.
const MEMORY: &str = "[core]\n\tbigFileThreshold = 16m\n\tpackedGitWindowSize = 16m\n\tpackedGitLimit = 128m\n\
                      \tdeltaBaseCacheLimit = 32m\n[pack]\n\tthreads = 2\n\twindowMemory = 32m\n\
                      [transfer]\n\tunpackLimit = 1\n";
const REWRITE: &str = "url.<base>.insteadOf";
const PROXY: &str = "http.proxy";
const CERTIFICATES: &str = "http.sslCAInfo";

impl GitConfig {
    /// Reads and reduces a file, and what it includes.
    ///
    /// # Errors
    /// [`GitConfigError`]
    pub(super) async fn read(path: &Path) -> Result<Self, GitConfigError> {
        let output = Command::new("git")
            .args(["config", "--includes", "-z", "--list", "--file"])
            .arg(path)
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("LC_ALL", "C")
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await?;
        if !output.status.success() {
            let text = excerpt(&String::from_utf8_lossy(&output.stderr), EXCERPT_LIMIT);
            return Err(GitConfigError::Unreadable { path: path.to_owned(), text });
        }
        Self::reduce(&String::from_utf8_lossy(&output.stdout))
    }

    /// `list` is what `git config -z --list` prints: `key LF value NUL`, keys in lower case but for the middle part.
    fn reduce(list: &str) -> Result<Self, GitConfigError> {
        let mut config = Self::default();
        for entry in list.split_terminator('\0') {
            let (key, value) = entry.split_once('\n').unwrap_or((entry, ""));
            if let Some(base) = key.strip_prefix("url.").and_then(|rest| rest.strip_suffix(".insteadof")) {
                config.rewrites.push(rewrite(base, value)?);
            } else if key == "http.proxy" {
                config.proxy = proxy(value)?;
            } else if key == "http.sslcainfo" {
                config.certificates = certificates(value)?;
            }
        }
        Ok(config)
    }

    /// The destinations that the operator names by rewriting to them.
    pub(super) fn named(&self) -> BTreeSet<Destination> {
        self.rewrites.iter().filter_map(|rewrite| destination(&rewrite.base)).collect()
    }

    /// How to speak of the URLs that people gave, where git speaks of those that they were rewritten to.
    pub(super) fn given_urls(&self) -> GivenUrls {
        let mut whole: Vec<(String, String)> =
            self.rewrites.iter().map(|rewrite| (rewrite.base_text.clone(), rewrite.prefix.clone())).collect();
        // The longest first: one may be the beginning of another.
        whole.sort_by_key(|(base, _)| std::cmp::Reverse(base.len()));
        // Of some hosts git tells no more than where they are.
        let origin = |url: &Url| url.origin().ascii_serialization();
        let origins = self.rewrites.iter().filter_map(|rewrite| {
            let prefix = Url::parse(&rewrite.prefix).ok()?;
            Some((origin(&rewrite.base), origin(&prefix)))
        });
        GivenUrls(whole.into_iter().chain(origins).collect())
    }

    /// What commands in an environment get as system-wide configuration.
    pub(super) fn for_commands(&self) -> String {
        let mut text = String::new();
        for rewrite in &self.rewrites {
            text.push_str(&format!(
                "[url {}]\n\tinsteadOf = {}\n",
                quoted(&rewrite.base_text),
                quoted(&rewrite.prefix)
            ));
        }
        if self.certificates.is_some() {
            text.push_str(&format!("[http]\n\tsslCAInfo = {}\n", quoted(places::CERTIFICATES)));
        }
        text
    }

    /// What a clone gets, and nothing beside it; `silence` is how long a host may stand still. There are no credentials that a
    /// redirect could lead away.
    pub(super) fn for_clones(&self, silence: Duration) -> String {
        let http = self.rewrites.iter().any(|rewrite| rewrite.base.scheme() == "http");
        format!(
            "[protocol]\n\tallow = never\n[protocol \"https\"]\n\tallow = always\n[protocol \"http\"]\n\tallow = {}\n\
             [core]\n\thooksPath = /dev/null\n\tfsmonitor = false\n[submodule]\n\trecurse = false\n[credential]\n\thelper =\n\
             [http]\n\tfollowRedirects = initial\n\tlowSpeedLimit = {LEAST_SPEED}\n\tlowSpeedTime = {}\n\
             [advice]\n\tdetachedHead = false\n[init]\n\tdefaultBranch = main\n[maintenance]\n\tauto = false\n{MEMORY}{}",
            if http { "always" } else { "never" },
            silence.as_secs().max(1),
            self.for_commands()
        )
    }
}

fn rewrite(base: &str, prefix: &str) -> Result<Rewrite, GitConfigError> {
    let unusable = |problem| GitConfigError::Unusable { key: REWRITE, problem };
    if [base, prefix].iter().any(|text| text.is_empty() || text.chars().any(is_unprintable)) {
        return Err(unusable("must not be empty, nor contain control characters"));
    }
    let url = Url::parse(base).map_err(|_| unusable("must be a URL: https://HOST/…"))?;
    if has_userinfo(base, &url) || Url::parse(prefix).is_ok_and(|url| url.password().is_some()) {
        return Err(GitConfigError::Credentials { key: REWRITE });
    }
    if !matches!(url.scheme(), "https" | "http") || destination(&url).is_none() {
        return Err(unusable("must begin with https:// or http://: environments reach nothing else"));
    }
    Ok(Rewrite { base: url, base_text: base.to_owned(), prefix: prefix.to_owned() })
}

fn proxy(value: &str) -> Result<Option<Destination>, GitConfigError> {
    let unusable = || GitConfigError::Unusable { key: PROXY, problem: "must be of the form http://HOST:PORT" };
    if value.is_empty() {
        // Git's way to say: none after all.
        return Ok(None);
    }
    let text = if value.contains("://") { value.to_owned() } else { format!("http://{value}") };
    let url = Url::parse(&text).map_err(|_| unusable())?;
    if has_userinfo(&text, &url) {
        return Err(GitConfigError::Credentials { key: PROXY });
    }
    if url.scheme() != "http" {
        return Err(unusable());
    }
    destination(&url).map(Some).ok_or_else(unusable)
}

fn certificates(value: &str) -> Result<Option<PathBuf>, GitConfigError> {
    match value {
        "" => Ok(None),
        path if path.starts_with('/') => Ok(Some(path.into())),
        _ => Err(GitConfigError::Unusable { key: CERTIFICATES, problem: "must be an absolute path" }),
    }
}

fn destination(url: &Url) -> Option<Destination> {
    Some(Destination::new(url.host_str()?, url.port_or_known_default()?))
}

fn has_userinfo(text: &str, url: &Url) -> bool {
    let authority = text.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?', '#']).next().unwrap_or(""));
    !url.username().is_empty() || url.password().is_some() || authority.contains('@')
}

/// As Git's configuration writes a value that may hold anything but control characters.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(text: &str) -> Result<GitConfig, GitConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, text).unwrap();
        GitConfig::read(&path).await
    }

    #[tokio::test]
    async fn rewrites_proxy_and_certificates_are_all_that_is_left() {
        let config = read(
            "[user]\n name = x\n[alias]\n x = !id\n[core]\n hooksPath = /x\n sshCommand = id\n[credential]\n helper = store\n\
             [http]\n proxy = proxy.example:3128\n sslCAInfo = /etc/ca.pem\n extraHeader = \"Authorization: x\"\n\
             [url \"http://127.0.0.1:4000/\\\"x\\\\\"]\n insteadOf = https://github.com/\n insteadOf = \"git@x:\"\n",
        )
        .await
        .unwrap();
        assert_eq!(config.proxy, Some(Destination::new("proxy.example", 3128)));
        assert_eq!(config.certificates, Some("/etc/ca.pem".into()));
        assert_eq!(config.named(), BTreeSet::from([Destination::new("127.0.0.1", 4000)]));
        // What is written is what was read: Git reads it back.
        let written = config.for_clones(Duration::from_secs(60));
        let again = read(&written).await.unwrap();
        assert_eq!(again.rewrites, config.rewrites);
        for gone in ["alias", "Authorization", "store", "sshCommand", "proxy"] {
            assert!(!written.contains(gone), "{gone}: {written}");
        }
        assert!(written.contains("[protocol \"http\"]\n\tallow = always") && written.contains("lowSpeedTime = 60\n"));
    }

    #[tokio::test]
    async fn a_person_is_told_of_the_url_that_they_gave() {
        let config = read(
            "[url \"https://m.example/\"]\n insteadOf = https://b.example/\n\
             [url \"https://m.example/a/\"]\n insteadOf = https://a.example/\n",
        )
        .await
        .unwrap();
        let said =
            "fatal: unable to access 'https://m.example/a/x/': no; 'https://m.example/y/': no; 'https://m.example'";
        let told =
            "fatal: unable to access 'https://a.example/x/': no; 'https://b.example/y/': no; 'https://b.example'";
        assert_eq!(config.given_urls().in_text(said), told);
    }

    #[tokio::test]
    async fn http_is_for_the_operators_own_rewrites_alone() {
        for text in ["", "[url \"https://mirror.example/\"]\n insteadOf = https://github.com/\n"] {
            assert!(
                read(text)
                    .await
                    .unwrap()
                    .for_clones(Duration::from_secs(60))
                    .contains("[protocol \"http\"]\n\tallow = never")
            );
        }
    }

    #[tokio::test]
    async fn credentials_are_refused_and_not_repeated() {
        for text in [
            "[url \"https://user:hunter2@mirror.example/\"]\n insteadOf = https://github.com/\n",
            "[url \"https://hunter2@mirror.example/\"]\n insteadOf = https://github.com/\n",
            "[url \"https://mirror.example/\"]\n insteadOf = https://user:hunter2@github.com/\n",
            "[http]\n proxy = http://user:hunter2@proxy.example:3128\n",
            "[http]\n proxy = hunter2@proxy.example:3128\n",
        ] {
            let error = read(text).await.unwrap_err();
            assert!(matches!(error, GitConfigError::Credentials { .. }), "{text}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"));
        }
    }

    #[tokio::test]
    async fn what_environments_cannot_use_is_refused() {
        for text in [
            "[url \"git@github.com:\"]\n insteadOf = https://github.com/\n",
            "[url \"ssh://github.com/\"]\n insteadOf = https://github.com/\n",
            "[url \"file:///srv/git/\"]\n insteadOf = https://github.com/\n",
            "[url \"https://mirror.example/\"]\n insteadOf\n",
            "[url \"https://mirror.example/\"]\n insteadOf = \"a\\nb\"\n",
            "[http]\n proxy = socks5://proxy.example:1080\n",
            "[http]\n sslCAInfo = ca.pem\n",
        ] {
            let error = read(text).await.unwrap_err();
            assert!(matches!(error, GitConfigError::Unusable { .. }), "{text}: {error}");
        }
        assert!(matches!(read("[url\n").await, Err(GitConfigError::Unreadable { .. })));
        assert_eq!(read("[http]\n proxy =\n sslCAInfo =\n").await.unwrap(), GitConfig::default());
    }
}
