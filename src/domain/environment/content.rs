//! What an environment is made from: nothing, or a Git repository at some commit.

use url::Url;

use crate::domain::text::is_unprintable;

/// The most bytes of a URL, of a branch and of a location.
const LENGTH_LIMIT: usize = 2048;

/// Why something is nothing that an environment can be made from. Says what was wrong and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidContent {
    /// Not a URL at all.
    #[error("is not a URL; write https://HOST/PATH")]
    NotAUrl,
    /// Longer than can be kept.
    #[error("is longer than {LENGTH_LIMIT} bytes")]
    TooLong,
    /// Another scheme than https.
    #[error("must begin with https://, not {0}://")]
    Scheme(String),
    /// A user name or a password in the URL: it would be stored and shown.
    #[error("must not contain a user name or a password; they would be stored and shown")]
    UserInfo,
    /// A query or a fragment.
    #[error("must not contain a query (?) or a fragment (#)")]
    Query,
    /// No path: a host alone is no repository.
    #[error("must name a repository: https://HOST/PATH")]
    NoPath,
    /// A name that Git takes for no branch, tag or commit.
    #[error("{0:?} is not a name that Git knows for a branch, a tag or a commit")]
    Reference(String),
    /// A place outside the workspace.
    #[error("must be a path below the workspace, without .. and not beginning with / or -")]
    Location,
}

/// Why something is no source, and which part of it is to blame.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSource {
    /// Where it is cloned from.
    #[error("{0}")]
    Remote(InvalidContent),
    /// What was to become the remote `upstream`.
    #[error("{0}")]
    Upstream(InvalidContent),
    /// What was to be checked out.
    #[error("{0}")]
    Target(InvalidContent),
    /// Where.
    #[error("{0}")]
    Location(InvalidContent),
}

/// What is checked out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GitTarget {
    /// What the remote's HEAD points to.
    RemoteHead,
    /// A branch of the remote.
    RemoteBranch(String),
    /// A new branch made here, from the remote's HEAD.
    LocalBranch(String),
    /// A commit, without a branch.
    RemoteCommit(String),
    /// A tag, without a branch.
    RemoteTag(String),
}

/// A Git repository, and what of it is checked out where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitSource {
    /// Where it is cloned from: `https://HOST/PATH`.
    pub remote_url: String,
    /// What becomes the remote `upstream`, if anything.
    pub upstream_url: Option<String>,
    /// What is checked out.
    pub target: GitTarget,
    /// Where, below the workspace; none for a directory of the repository's name.
    pub checkout_location: Option<String>,
}

/// What an environment is made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// An empty workspace.
    Empty,
    /// A Git repository.
    Git {
        /// Which, and what of it.
        source: GitSource,
        /// The URL that a person gave, if it was one.
        context_url: Option<String>,
    },
}

impl Content {
    /// Reads a context URL: `https://HOST/PATH`, or `https://HOST/PATH/tree/BRANCH`.
    ///
    /// # Errors
    /// [`InvalidContent`]
    pub fn from_context_url(text: &str) -> Result<Self, InvalidContent> {
        let mut url = parse_url(text)?;
        let path = url.path().trim_end_matches('/').to_owned();
        let (repository, branch) = match path.split_once("/tree/") {
            Some((repository, branch)) if !repository.is_empty() => {
                (repository.strip_suffix("/-").unwrap_or(repository), Some(percent_decoded(branch)?))
            }
            Some(_) | None => (path.as_str(), None),
        };
        url.set_path(repository);
        let target = match branch {
            Some(branch) => GitTarget::RemoteBranch(reference(&branch)?),
            None => GitTarget::RemoteHead,
        };
        let source = GitSource {
            remote_url: repository_url(url.as_str())?,
            upstream_url: None,
            target,
            checkout_location: None,
        };
        Ok(Self::Git { source, context_url: Some(text.to_owned()) })
    }

    /// What people would call it: the last part of the repository's path.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Empty => "empty",
            Self::Git { source, .. } => source.repository_name(),
        }
    }
}

impl GitSource {
    /// Checks the parts of a source.
    ///
    /// # Errors
    /// [`InvalidSource`]
    pub fn new(
        remote_url: &str,
        upstream_url: Option<&str>,
        target: GitTarget,
        checkout_location: Option<&str>,
    ) -> Result<Self, InvalidSource> {
        match &target {
            GitTarget::RemoteHead => {}
            GitTarget::RemoteBranch(name) | GitTarget::LocalBranch(name) | GitTarget::RemoteTag(name) => {
                reference(name).map_err(InvalidSource::Target)?;
            }
            GitTarget::RemoteCommit(commit) => {
                let is_commit = matches!(commit.len(), 40 | 64) && commit.bytes().all(|byte| byte.is_ascii_hexdigit());
                if !is_commit {
                    return Err(InvalidSource::Target(InvalidContent::Reference(cut(commit))));
                }
            }
        }
        Ok(Self {
            remote_url: repository_url(remote_url).map_err(InvalidSource::Remote)?,
            upstream_url: upstream_url.map(repository_url).transpose().map_err(InvalidSource::Upstream)?,
            target,
            checkout_location: checkout_location.map(location).transpose().map_err(InvalidSource::Location)?,
        })
    }

    /// The last part of the repository's path, without `.git`.
    #[must_use]
    pub fn repository_name(&self) -> &str {
        let last = self.remote_url.rsplit('/').next().unwrap_or_default();
        match last.strip_suffix(".git").unwrap_or(last) {
            "" | "." | ".." => "repository",
            name => name,
        }
    }

    /// Where the checkout is, below the workspace.
    #[must_use]
    pub fn directory(&self) -> &str {
        self.checkout_location.as_deref().unwrap_or_else(|| self.repository_name())
    }
}

fn parse_url(text: &str) -> Result<Url, InvalidContent> {
    if text.len() > LENGTH_LIMIT {
        return Err(InvalidContent::TooLong);
    }
    // The parser would quietly drop line breaks and spaces; what is stored must be what was meant.
    if text.chars().any(|character| is_unprintable(character) || character.is_whitespace() || character == '\\') {
        return Err(InvalidContent::NotAUrl);
    }
    let url = Url::parse(text).map_err(|_| InvalidContent::NotAUrl)?;
    if url.scheme() != "https" {
        return Err(InvalidContent::Scheme(url.scheme().to_owned()));
    }
    if !text.get(..8).is_some_and(|start| start.eq_ignore_ascii_case("https://")) || url.host_str().is_none() {
        return Err(InvalidContent::NotAUrl);
    }
    if !url.username().is_empty() || url.password().is_some() || text[8..].split('/').next().unwrap_or("").contains('@')
    {
        return Err(InvalidContent::UserInfo);
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(InvalidContent::Query);
    }
    if url.path_segments().is_none_or(|mut segments| segments.all(str::is_empty)) {
        return Err(InvalidContent::NoPath);
    }
    Ok(url)
}

/// Checks a URL that Git is given.
fn repository_url(text: &str) -> Result<String, InvalidContent> {
    let url = parse_url(text)?;
    let url = url.as_str().trim_end_matches('/');
    // Longer than it was given, if there was something to percent-encode in it.
    if url.len() > LENGTH_LIMIT { Err(InvalidContent::TooLong) } else { Ok(url.to_owned()) }
}

/// Checks a name for a branch or a tag, by the rules of `git check-ref-format`.
fn reference(name: &str) -> Result<String, InvalidContent> {
    let bad = name.is_empty()
        || name.len() > LENGTH_LIMIT
        || name.starts_with(['-', '/'])
        || name.ends_with(['/', '.'])
        || name == "@"
        || name.contains("..")
        || name.contains("@{")
        || name.chars().any(|c| is_unprintable(c) || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\'))
        || name.split('/').any(|part| part.is_empty() || part.starts_with('.') || part.ends_with(".lock"));
    if bad { Err(InvalidContent::Reference(cut(name))) } else { Ok(name.to_owned()) }
}

/// As much of a wrong name as shows which it was.
fn cut(name: &str) -> String {
    name.chars().take(100).collect()
}

fn location(path: &str) -> Result<String, InvalidContent> {
    let path = path.strip_prefix("/workspace/").unwrap_or(path).trim_end_matches('/');
    let bad = path.is_empty()
        || path.len() > LENGTH_LIMIT
        || path.starts_with(['/', '-'])
        || path.chars().any(is_unprintable)
        || path.split('/').any(|part| part.is_empty() || part == "." || part == ".." || part == ".git");
    if bad { Err(InvalidContent::Location) } else { Ok(path.to_owned()) }
}

fn percent_decoded(text: &str) -> Result<String, InvalidContent> {
    percent_encoding::percent_decode_str(text)
        .decode_utf8()
        .map(std::borrow::Cow::into_owned)
        .map_err(|_| InvalidContent::Reference(cut(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(url: &str) -> GitSource {
        match Content::from_context_url(url) {
            Ok(Content::Git { source, context_url }) => {
                assert_eq!(context_url.as_deref(), Some(url));
                source
            }
            other => panic!("{url}: {other:?}"),
        }
    }

    #[test]
    fn context_urls_name_a_repository_and_perhaps_a_branch() {
        for (url, remote, branch) in [
            ("https://github.com/your-repo", "https://github.com/your-repo", None),
            ("https://github.com/a/b/", "https://github.com/a/b", None),
            ("HTTPS://GitHub.com/a/b.git", "https://github.com/a/b.git", None),
            ("https://git.example:8443/a/b/c/d", "https://git.example:8443/a/b/c/d", None),
            ("https://github.com/a/b/tree/main", "https://github.com/a/b", Some("main")),
            ("https://github.com/a/b/tree/feature/x%23y", "https://github.com/a/b", Some("feature/x#y")),
            ("https://gitlab.com/g/s/p/-/tree/main", "https://gitlab.com/g/s/p", Some("main")),
            ("https://github.com/tree/main", "https://github.com/tree/main", None),
        ] {
            let source = source(url);
            assert_eq!(source.remote_url, remote);
            let expected = branch.map_or(GitTarget::RemoteHead, |name| GitTarget::RemoteBranch(name.into()));
            assert_eq!(source.target, expected);
        }
        assert_eq!(source("https://github.com/a/b.git").directory(), "b");
    }

    #[test]
    fn what_is_no_context_url_says_why() {
        let error = |url: &str| Content::from_context_url(url).err();
        for url in [
            "",
            "github.com/a/b",
            "--upload-pack=touch /tmp/x",
            "https://",
            "https:github.com/a/b",
            "https://a b/c",
            "https://a/b\nc",
            "https:\\\\a\\b",
        ] {
            assert_eq!(error(url), Some(InvalidContent::NotAUrl), "{url}");
        }
        for (url, scheme) in [
            ("file:///etc/passwd", "file"),
            ("http://github.com/a/b", "http"),
            ("ssh://git@github.com/a", "ssh"),
            ("ext::sh", "ext"),
        ] {
            assert_eq!(error(url), Some(InvalidContent::Scheme(scheme.into())), "{url}");
        }
        for url in ["https://me@github.com/a/b", "https://me:pw@github.com/a/b", "https://@github.com/a/b"] {
            assert_eq!(error(url), Some(InvalidContent::UserInfo), "{url}");
        }
        assert_eq!(error("https://github.com"), Some(InvalidContent::NoPath));
        assert_eq!(error("https://github.com//"), Some(InvalidContent::NoPath));
        assert_eq!(error("https://github.com/a?b"), Some(InvalidContent::Query));
        assert_eq!(error(&format!("https://github.com/{}", "a".repeat(2048))), Some(InvalidContent::TooLong));
        for branch in ["-x", "a..b", "a//b", ".a", "a.lock", "a%20b", "%ff", "a%0Ab", "x~1", "@%7B1%7D@{"] {
            let url = format!("https://github.com/a/b/tree/{branch}");
            assert!(matches!(error(&url), Some(InvalidContent::Reference(_) | InvalidContent::NotAUrl)), "{url}");
        }
    }

    #[test]
    fn targets_and_locations_are_checked() {
        let new = |target, location| GitSource::new("https://github.com/a/b", None, target, location);
        assert!(new(GitTarget::RemoteCommit("a".repeat(40)), Some("src/b")).is_ok());
        assert!(new(GitTarget::RemoteCommit("--help".into()), None).is_err());
        assert!(new(GitTarget::RemoteTag("v1.0".into()), None).is_ok());
        assert!(new(GitTarget::LocalBranch("-b".into()), None).is_err());
        for bad in ["/etc", "..", "a/../b", "-a", "", ".", "a//b", ".git"] {
            let expected = InvalidSource::Location(InvalidContent::Location);
            assert_eq!(new(GitTarget::RemoteHead, Some(bad)), Err(expected), "{bad}");
        }
    }
}
