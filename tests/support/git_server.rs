//! A Git server on loopback: smart HTTP by `git http-backend`, for as long as the value lives.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{Request, Response, StatusCode, header},
};
use tempfile::TempDir;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
    server::TlsStream,
};

/// What a repository does when it is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Manners {
    /// Answers.
    Plain,
    /// Wants a user name and a password, and takes none.
    Private,
    /// Says that the caller may not.
    Forbidden,
    /// Takes the request and never answers.
    Silent,
    /// Answers, but no Git.
    WebPage,
    /// Sends the caller on to this URL.
    Elsewhere(&'static str),
}

/// The server.
pub(crate) struct GitServer {
    address: std::net::SocketAddr,
    /// The server's certificate, in PEM, if it has one.
    certificate: Option<String>,
    site: Arc<Site>,
    task: JoinHandle<()>,
}

struct Site {
    directory: TempDir,
    manners: Mutex<BTreeMap<String, Manners>>,
    requests: Mutex<Vec<String>>,
}

impl GitServer {
    /// Listens on a free port of 127.0.0.1.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (site, router) = site();
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, certificate: None, site, task }
    }

    /// The same, with TLS, and a certificate for `localhost` that nobody trusts unless told to.
    pub(crate) async fn start_tls() -> Self {
        let (certificate, key) = self_signed();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap(),
            )
            .unwrap();
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = tcp.local_addr().unwrap();
        let (site, router) = site();
        let listener = TlsListener { tcp, acceptor: TlsAcceptor::from(Arc::new(config)) };
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, certificate: Some(certificate), site, task }
    }

    /// `http://127.0.0.1:PORT` or `https://localhost:PORT`, without a final slash.
    pub(crate) fn url(&self) -> String {
        match self.certificate {
            Some(_) => format!("https://localhost:{}", self.address.port()),
            None => format!("http://{}", self.address),
        }
    }

    /// The certificate to trust, in PEM.
    pub(crate) fn certificate(&self) -> &str {
        self.certificate.as_deref().unwrap_or_default()
    }

    /// The port.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// An operator's Git configuration that leads `from` (`https://github.com/`) to this server.
    pub(crate) fn rewriting(&self, from: &str) -> String {
        format!("[url \"{}/\"]\n\tinsteadOf = {from}\n", self.url())
    }

    /// Makes a repository `owner/name` with one commit on `main`; gives its commit.
    pub(crate) fn add_repository(&self, name: &str, files: &[(&str, &str)]) -> String {
        let bare = self.add_empty_repository(name);
        self.commit_to(&bare, "main", None, files)
    }

    /// Makes a repository `owner/name` with one commit on `main`, in which a text is the text of many files: little to send,
    /// and as much as one likes to write.
    pub(crate) fn add_copies(&self, name: &str, text: &str, copies: usize) {
        self.add_repository(name, &[("original", text)]);
        let bare = self.bare(name);
        let blob = git(&["rev-parse", "main:original"], Some(&bare));
        let list = tempfile::NamedTempFile::new().unwrap();
        let lines: String = (0..copies).map(|number| format!("100644 blob {blob}\tcopy-{number}\n")).collect();
        fs::write(list.path(), lines).unwrap();
        let mut make_tree = clean_git();
        make_tree.arg("mktree").current_dir(&bare).stdin(fs::File::open(list.path()).unwrap());
        let tree = String::from_utf8(make_tree.output().unwrap().stdout).unwrap();
        let commit = git(&["commit-tree", "-m", "Copies", tree.trim()], Some(&bare));
        git(&["update-ref", "refs/heads/main", &commit], Some(&bare));
    }

    /// Makes a repository `owner/name` without a commit.
    pub(crate) fn add_empty_repository(&self, name: &str) -> PathBuf {
        let bare = self.bare(name);
        git(&["init", "--quiet", "--bare", "--initial-branch=main", bare.to_str().unwrap()], None);
        // Commits that no branch leads to may be asked for, as on the large hosts.
        git(&["config", "uploadpack.allowAnySHA1InWant", "true"], Some(&bare));
        bare
    }

    /// Commits to a branch that begins where `from` is; gives the commit.
    pub(crate) fn add_commit(&self, name: &str, branch: &str, from: &str, files: &[(&str, &str)]) -> String {
        self.commit_to(&self.bare(name), branch, Some(from), files)
    }

    /// Makes an annotated tag.
    pub(crate) fn add_tag(&self, name: &str, tag: &str, commit: &str) {
        git(&["tag", "--annotate", "--message", tag, tag, commit], Some(&self.bare(name)));
    }

    /// Removes a branch, and nothing that it led to.
    pub(crate) fn remove_branch(&self, name: &str, branch: &str) {
        git(&["update-ref", "-d", &format!("refs/heads/{branch}")], Some(&self.bare(name)));
    }

    /// How a repository (or a path where none is) answers from now on.
    pub(crate) fn set_manners(&self, name: &str, manners: Manners) {
        self.site.manners.lock().unwrap().insert(name.to_owned(), manners);
    }

    /// The requests so far: `METHOD /path`.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.site.requests.lock().unwrap().clone()
    }

    fn bare(&self, name: &str) -> PathBuf {
        self.site.directory.path().join(format!("{name}.git"))
    }

    fn commit_to(&self, bare: &Path, branch: &str, from: Option<&str>, files: &[(&str, &str)]) -> String {
        let tree = tempfile::tempdir().unwrap();
        git(&["clone", "--quiet", bare.to_str().unwrap(), "."], Some(tree.path()));
        match from {
            Some(from) => git(&["checkout", "--quiet", "-B", branch, from], Some(tree.path())),
            None => git(&["symbolic-ref", "HEAD", &format!("refs/heads/{branch}")], Some(tree.path())),
        };
        for (path, text) in files {
            let path = tree.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        git(&["add", "--all"], Some(tree.path()));
        git(&["commit", "--quiet", "--allow-empty", "--message", "A commit"], Some(tree.path()));
        git(&["push", "--quiet", "origin", &format!("HEAD:refs/heads/{branch}")], Some(tree.path()));
        git(&["rev-parse", "HEAD"], Some(tree.path()))
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn site() -> (Arc<Site>, Router) {
    let directory = tempfile::tempdir().unwrap();
    let site = Arc::new(Site { directory, manners: Mutex::default(), requests: Mutex::default() });
    let router = Router::new().fallback(answer).with_state(Arc::clone(&site));
    (site, router)
}

/// A certificate for `localhost`, and its key, in PEM.
fn self_signed() -> (String, String) {
    let directory = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"])
        .args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-keyout", "key.pem", "-out", "certificate.pem"])
        .current_dir(directory.path())
        .output()
        .expect("openssl is installed");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    (read("certificate.pem"), read("key.pem"))
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = std::net::SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.tcp.accept().await.unwrap();
            // Who does not trust the certificate goes away; the next one may.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

fn git(arguments: &[&str], directory: Option<&Path>) -> String {
    let mut command = clean_git();
    command.args(arguments);
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    let output = command.output().expect("git is installed");
    assert!(output.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Git without anybody's configuration.
fn clean_git() -> Command {
    let mut command = Command::new("git");
    command.envs([
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("GIT_CONFIG_GLOBAL", "/dev/null"),
        ("GIT_AUTHOR_NAME", "Test"),
        ("GIT_AUTHOR_EMAIL", "test@localhost"),
        ("GIT_COMMITTER_NAME", "Test"),
        ("GIT_COMMITTER_EMAIL", "test@localhost"),
    ]);
    command
}

async fn answer(State(site): State<Arc<Site>>, request: Request<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    site.requests.lock().unwrap().push(format!("{} {path}", head.method));
    let manners = {
        let manners = site.manners.lock().unwrap();
        manners.iter().find(|(name, _)| path.starts_with(&format!("/{name}"))).map(|(_, manners)| *manners)
    };
    match manners.unwrap_or(Manners::Plain) {
        Manners::Plain => {}
        Manners::Private => {
            let answer = Response::builder().status(StatusCode::UNAUTHORIZED);
            return answer.header(header::WWW_AUTHENTICATE, "Basic realm=\"git\"").body(Body::empty()).unwrap();
        }
        Manners::Forbidden => return plain(StatusCode::FORBIDDEN, "no"),
        Manners::Elsewhere(url) => {
            let answer = Response::builder().status(StatusCode::FOUND);
            return answer
                .header(header::LOCATION, format!("{url}{path}?service=git-upload-pack"))
                .body(Body::empty())
                .unwrap();
        }
        Manners::Silent => std::future::pending().await,
        Manners::WebPage => {
            return plain(
                StatusCode::OK,
                "<!DOCTYPE html>\n<html lang=en><title>No such repository</title>\n<p>But a page.</html>\n",
            );
        }
    }
    let Ok(body) = to_bytes(body, 64 << 20).await else { return plain(StatusCode::BAD_REQUEST, "body") };
    let header = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let mut backend = tokio::process::Command::from(clean_git())
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", site.directory.path())
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("PATH_INFO", &path)
        .env("QUERY_STRING", head.uri.query().unwrap_or(""))
        .env("REQUEST_METHOD", head.method.as_str())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding"))
        .env("GIT_PROTOCOL", header("git-protocol"))
        .env("REMOTE_ADDR", "127.0.0.1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut stdin = backend.stdin.take().unwrap();
    let feed = tokio::spawn(async move {
        // A backend that answers before it has read everything is right as well.
        let _ = stdin.write_all(&body).await;
    });
    let output = backend.wait_with_output().await.unwrap();
    feed.abort();
    from_cgi(output.stdout)
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    Response::builder().status(status).header(header::CONTENT_TYPE, "text/html").body(Body::from(text)).unwrap()
}

/// A CGI answer: headers, an empty line, the body; the status is a header too.
fn from_cgi(output: Vec<u8>) -> Response<Body> {
    let Some(end) = output.windows(4).position(|window| window == b"\r\n\r\n") else {
        return plain(StatusCode::INTERNAL_SERVER_ERROR, "no CGI answer");
    };
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(Body::from(output[end + 4..].to_vec())).unwrap()
}
