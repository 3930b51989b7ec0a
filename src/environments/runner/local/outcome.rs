//! What a clone's end means: in our words, from what the proxy refused, and from what git said.

use super::{
    super::{Checkout, Failure, FailureKind},
    git_config::GivenUrls,
};
use crate::{
    domain::environment::{GitSource, GitTarget},
    domain::text::is_unprintable,
    environments::{
        egress::Refusal,
        supervisor::task::{CloneFailure, CloneReport, CloneStep},
    },
};

/// What git puts before the error that a host gives as the reason; all that follows is the host's.
const REMOTE_ERROR: &str = "remote error: ";
/// The most characters of a branch's name that are believed.
const BRANCH_LIMIT: usize = 2048;

/// Reads a report: what was checked out, or why nothing was. The report comes from inside of a sandbox and is believed
/// as far as its form is right; what the proxy refused is the server's own knowledge and goes first.
pub(super) fn read(
    source: &GitSource,
    report: &[u8],
    refusals: &[Refusal],
    given_urls: &GivenUrls,
) -> Result<Checkout, Failure> {
    let Ok(report) = serde_json::from_slice::<CloneReport>(report) else {
        return Err(without_report(refusals));
    };
    match report.failure {
        Some(failure) => Err(failed(source, &failure, refusals, given_urls)),
        None => {
            let is_commit =
                |text: &String| matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            let is_branch = |text: &String| text.chars().count() <= BRANCH_LIMIT && !text.chars().any(is_unprintable);
            Ok(Checkout { branch: report.branch.filter(is_branch), commit: report.commit.filter(is_commit) })
        }
    }
}

/// A clone that ended without a word.
pub(super) fn without_report(refusals: &[Refusal]) -> Failure {
    refusals.first().map_or_else(
        || Failure::new(FailureKind::SandboxFailed, "the clone ended without saying why; start the environment again"),
        refused,
    )
}

fn failed(source: &GitSource, failure: &CloneFailure, refusals: &[Refusal], given_urls: &GivenUrls) -> Failure {
    let text = given_urls.in_text(&failure.text);
    // What the host says must not be taken for what git says of it.
    let own = text.split_once(REMOTE_ERROR).map_or(text.as_str(), |(own, _)| own);
    let (kind, message) = match failure.step {
        CloneStep::Begin => (FailureKind::GitFailed, "git could not be started in the environment".to_owned()),
        CloneStep::FindTarget => return not_found(&source.target),
        CloneStep::Fetch => match refusals.first() {
            Some(refusal) => return refused(refusal),
            None => fetch_failed(source, own),
        },
        CloneStep::Checkout => not_written(own)
            .unwrap_or_else(|| (FailureKind::GitFailed, "the repository's files could not be written".to_owned())),
    };
    let remote = given_urls.in_text(&failure.remote);
    let said = [(text, ""), (remote, "the host says: ")].into_iter().filter(|(text, _)| !text.trim().is_empty());
    let said: Vec<String> = said.map(|(text, whose)| format!("{whose}{}", text.trim())).collect();
    Failure::new(kind, message).with_excerpt(&said.join("; "))
}

fn refused(refusal: &Refusal) -> Failure {
    let kind = match refusal {
        Refusal::Address { .. } | Refusal::PlainHttp { .. } => FailureKind::AddressRefused,
        Refusal::Unresolved { .. } => FailureKind::HostNotFound,
        Refusal::Unreachable { .. } => FailureKind::HostUnreachable,
    };
    Failure::new(kind, refusal.to_string())
}

fn not_found(target: &GitTarget) -> Failure {
    let (kind, message) = match target {
        GitTarget::RemoteBranch(branch) => {
            (FailureKind::BranchNotFound, format!("the repository has no branch {branch:?}"))
        }
        GitTarget::RemoteTag(tag) => (FailureKind::TagNotFound, format!("the repository has no tag {tag:?}")),
        GitTarget::RemoteCommit(commit) => {
            (FailureKind::CommitNotFound, format!("the repository has no commit {commit}"))
        }
        GitTarget::RemoteHead | GitTarget::LocalBranch(_) => {
            (FailureKind::GitFailed, "the repository has no default branch".to_owned())
        }
    };
    Failure::new(kind, message)
}

/// What git says of files that it could not write.
fn not_written(text: &str) -> Option<(FailureKind, String)> {
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    // Of a file that it checks out git does not say why.
    if says(&["File too large", "unable to write file"]) {
        let message = "the repository is too large: one of its files would not fit on the disk of the environment's class; \
                       create it with a larger class";
        return Some((FailureKind::TooLarge, message.to_owned()));
    }
    if says(&["No space left on device", "Disk quota exceeded"]) {
        return Some((FailureKind::TooLarge, "there is no room for the repository's files".to_owned()));
    }
    // Nobody in there ends a program of Git's but the kernel, for want of memory. Of the one that reads packs, Git says no more
    // than that it is gone, unless that had something to say itself.
    let is_gone = text.trim() == "fatal: fetch-pack: invalid index-pack output";
    if is_gone || says(&["died of signal 9", "unable to create thread", "Out of memory", "out of memory"]) {
        let message = "the clone needs more memory than the environment's class has; create it with a larger class";
        return Some((FailureKind::TooLarge, message.to_owned()));
    }
    says(&["invalid path '"]).then(|| {
        let message = "the repository has a file whose name Git does not write, as it could lead out of the checkout or into \
                       its .git directory";
        (FailureKind::GitFailed, message.to_owned())
    })
}

/// What git says of a fetch; its texts are those of `LC_ALL=C`.
fn fetch_failed(source: &GitSource, text: &str) -> (FailureKind, String) {
    let url = source.remote_url.as_str();
    let says = |phrases: &[&str]| phrases.iter().any(|phrase| text.contains(phrase));
    if let Some(failure) = not_written(text) {
        failure
    } else if says(&["could not read Username", "could not read Password", "Authentication failed"]) {
        (
            FailureKind::AuthenticationRequired,
            format!(
                "{url} asks for a user name and a password: it is private, or does not exist; environments can clone public repositories only"
            ),
        )
    } else if says(&["The requested URL returned error: 407"]) {
        (
            FailureKind::AuthenticationRequired,
            format!("{url} asks for a user name and a password as a proxy does (407); environments have none to give"),
        )
    } else if says(&["' not found", "The requested URL returned error: 404", "The requested URL returned error: 410"]) {
        (FailureKind::RepositoryNotFound, format!("there is no repository at {url}; check its spelling"))
    } else if says(&["The requested URL returned error: 401", "The requested URL returned error: 403"]) {
        (FailureKind::AccessDenied, format!("the host denies access to {url}"))
    } else if says(&[
        "SSL certificate",
        "certificate verif",
        "SSL: no alternative",
        "self-signed certificate",
        "self signed certificate",
    ]) {
        (FailureKind::CertificateNotTrusted, format!("the certificate of {url} is not trusted"))
    } else if says(&["is this a git repository?", "invalid server response", "does not appear to be a git repository"])
    {
        (FailureKind::NotARepository, format!("{url} is no Git repository; check its spelling"))
    } else if says(&["Operation too slow", "Operation timed out", "Connection timed out", "Timeout was reached"]) {
        (FailureKind::TimedOut, format!("the host of {url} sends nothing, or too slowly; try again later"))
    } else if says(&["Could not resolve host"]) {
        (FailureKind::HostNotFound, format!("the host of {url} does not resolve to an address; check its spelling"))
    } else if says(&["Failed to connect", "Couldn't connect", "Connection refused"]) {
        (FailureKind::HostUnreachable, format!("the host of {url} takes no connection; try again later"))
    } else {
        (FailureKind::GitFailed, format!("git could not clone {url}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> GitSource {
        GitSource::new("https://git.example/a/b", None, GitTarget::RemoteHead, None).unwrap()
    }

    fn report(step: CloneStep, text: &str) -> Vec<u8> {
        let failure = Some(CloneFailure { step, text: text.to_owned(), remote: String::new() });
        serde_json::to_vec(&CloneReport { branch: None, commit: None, failure }).unwrap()
    }

    #[test]
    fn what_git_says_is_understood() {
        use FailureKind::{
            AccessDenied, AuthenticationRequired, CertificateNotTrusted, GitFailed, NotARepository, RepositoryNotFound,
            TimedOut, TooLarge,
        };
        for (text, kind) in [
            ("remote: Not Found\nfatal: repository 'https://git.example/a/b/' not found", RepositoryNotFound),
            (
                "fatal: could not read Username for 'https://git.example': terminal prompts disabled",
                AuthenticationRequired,
            ),
            ("fatal: unable to access 'https://git.example/a/b/': The requested URL returned error: 403", AccessDenied),
            ("fatal: unable to access 'x': The requested URL returned error: 407", AuthenticationRequired),
            ("fatal: Out of memory, calloc failed", TooLarge),
            ("fatal: fetch-pack: invalid index-pack output\n", TooLarge),
            ("fatal: early EOF\nfatal: fetch-pack: invalid index-pack output\n", GitFailed),
            (
                "fatal: unable to access 'x': server certificate verification failed. CAfile: none CRLfile: none",
                CertificateNotTrusted,
            ),
            ("fatal: https://git.example/a/b/info/refs not valid: is this a git repository?", NotARepository),
            ("error: RPC failed; curl 28 Operation too slow. Less than 1000 bytes/sec", TimedOut),
            ("fatal: write error: No space left on device", TooLarge),
            ("fatal: write error: File too large\nfatal: fetch-pack: invalid index-pack output", TooLarge),
            ("error: unable to write file a/b\nfatal: unable to checkout working tree", TooLarge),
            ("fatal: early EOF", GitFailed),
            ("error: index-pack died of signal 9\nfatal: fetch-pack: invalid index-pack output", TooLarge),
            ("error: invalid path '../a'\nfatal: unable to checkout working tree", GitFailed),
            // What follows is the host's.
            ("fatal: remote error: no\nfatal: write error: No space left on device", GitFailed),
        ] {
            let failure = read(&source(), &report(CloneStep::Fetch, text), &[], &GivenUrls::default()).unwrap_err();
            assert_eq!(failure.kind(), kind, "{text}");
            assert!(failure.excerpt().is_some_and(|excerpt| !excerpt.contains('\n')));
        }
    }

    #[test]
    fn the_hosts_words_are_told_as_the_hosts_and_not_taken_for_gits() {
        let failure = CloneFailure {
            step: CloneStep::Fetch,
            text: "fatal: early EOF\n".to_owned(),
            remote: "No space left on device\nThe requested URL returned error: 404\n".to_owned(),
        };
        let report = CloneReport { branch: None, commit: None, failure: Some(failure) };
        let text = serde_json::to_vec(&report).unwrap();
        let failure = read(&source(), &text, &[], &GivenUrls::default()).unwrap_err();
        assert_eq!(
            (failure.kind(), failure.to_string().as_str()),
            (
                FailureKind::GitFailed,
                "git could not clone https://git.example/a/b (fatal: early EOF; the host says: No space left on device The \
                 requested URL returned error: 404)"
            )
        );
    }

    #[test]
    fn what_the_proxy_refused_goes_before_what_git_says() {
        let refusal = Refusal::Unresolved { host: "git.example".into() };
        let report = report(CloneStep::Fetch, "fatal: repository 'x' not found");
        let failure = read(&source(), &report, std::slice::from_ref(&refusal), &GivenUrls::default()).unwrap_err();
        assert_eq!(failure.kind(), FailureKind::HostNotFound);
        assert_eq!(
            read(&source(), b"", &[refusal], &GivenUrls::default()).unwrap_err().kind(),
            FailureKind::HostNotFound
        );
    }

    #[test]
    fn a_report_is_believed_no_further_than_its_form() {
        for text in ["", "{", "[]", "{\"branch\":3}"] {
            let failure = read(&source(), text.as_bytes(), &[], &GivenUrls::default()).unwrap_err();
            assert_eq!(failure.kind(), FailureKind::SandboxFailed, "{text}");
        }
        let report =
            CloneReport { branch: Some("main\u{1b}[2J".into()), commit: Some("; rm -rf".into()), failure: None };
        assert_eq!(
            read(&source(), &serde_json::to_vec(&report).unwrap(), &[], &GivenUrls::default()),
            Ok(Checkout::default())
        );
    }
}
