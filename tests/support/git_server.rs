//! A Git server on loopback: smart HTTP by `git http-backend`, for as long as the value lives.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use axum::{
    Router,
    body::{Body, to_bytes},
    extract::State,
    http::{HeaderMap, Request, Response, StatusCode, header},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, ChildStdout},
    sync::Semaphore,
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
    /// Sends half of what it has, and the rest when it is told to go on.
    Halting,
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

/// Answers in place of a repository.
type Handler = Arc<dyn Fn(&Request<Body>) -> Response<Body> + Send + Sync>;

struct Site {
    directory: TempDir,
    manners: Mutex<BTreeMap<String, Manners>>,
    handlers: Mutex<BTreeMap<String, Handler>>,
    requests: Mutex<Vec<String>>,
    headers: Mutex<Vec<HeaderMap>>,
    /// A permit for each answer that may go on.
    rest: Semaphore,
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

    /// Makes a repository `owner/name` of what `git fast-import` reads.
    pub(crate) fn import(&self, name: &str, write: impl FnOnce(&mut dyn Write)) {
        let bare = self.add_empty_repository(name);
        let mut import = clean_git();
        // What it brings is stored as it comes.
        import.args(["-c", "core.compression=0", "-c", "core.bigFileThreshold=1m", "fast-import", "--quiet"]);
        let mut import = import.current_dir(bare).stdin(Stdio::piped()).spawn().unwrap();
        let mut script = std::io::BufWriter::new(import.stdin.take().unwrap());
        write(&mut script);
        script.flush().unwrap();
        drop(script);
        assert!(import.wait().unwrap().success());
    }

    /// Adds an object to a repository, whatever is in it; gives its name.
    pub(crate) fn add_object(&self, name: &str, kind: &str, content: &[u8]) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        let path = file.path().to_str().unwrap();
        git(&["hash-object", "-w", "--literally", "-t", kind, path], Some(&self.bare(name)))
    }

    /// Makes `main` an empty commit with a message of so many bytes.
    pub(crate) fn commit_message(&self, name: &str, length: usize) {
        let tree = self.add_object(name, "tree", b"");
        let by = "A <a@localhost> 0 +0000";
        let head = format!("tree {tree}\nauthor {by}\ncommitter {by}\n\n");
        let commit = self.add_object(name, "commit", &[head.as_bytes(), &vec![b'x'; length]].concat());
        git(&["update-ref", "refs/heads/main", &commit], Some(&self.bare(name)));
    }

    /// Makes `main` a commit of this tree.
    pub(crate) fn commit_tree(&self, name: &str, tree: &str) {
        let bare = self.bare(name);
        let commit = git(&["commit-tree", "-m", "A tree", tree], Some(&bare));
        git(&["update-ref", "refs/heads/main", &commit], Some(&bare));
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

    /// Answers in place of a repository from now on.
    pub(crate) fn answer_by(
        &self,
        name: &str,
        answer: impl Fn(&Request<Body>) -> Response<Body> + Send + Sync + 'static,
    ) {
        self.site.handlers.lock().unwrap().insert(name.to_owned(), Arc::new(answer));
    }

    /// Lets one answer go on that has halted.
    pub(crate) fn go_on(&self) {
        self.site.rest.add_permits(1);
    }

    /// The headers of the requests so far.
    pub(crate) fn headers(&self) -> Vec<HeaderMap> {
        self.site.headers.lock().unwrap().clone()
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
    let site = Arc::new(Site {
        directory,
        manners: Mutex::default(),
        handlers: Mutex::default(),
        requests: Mutex::default(),
        headers: Mutex::default(),
        rest: Semaphore::new(0),
    });
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
    let path = request.uri().path().to_owned();
    site.requests.lock().unwrap().push(format!("{} {path}", request.method()));
    site.headers.lock().unwrap().push(request.headers().clone());
    let handler = of_path(&site.handlers, &path);
    if let Some(handler) = handler {
        return handler(&request);
    }
    let (head, body) = request.into_parts();
    let manners = of_path(&site.manners, &path).unwrap_or(Manners::Plain);
    match manners {
        Manners::Plain | Manners::Halting => {}
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
    let mut stdout = backend.stdout.take().unwrap();
    let mut output = Vec::new();
    while !output.windows(4).any(|window| window == b"\r\n\r\n") {
        if stdout.read_buf(&mut output).await.unwrap() == 0 {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "no CGI answer");
        }
    }
    if manners == Manners::Halting {
        stdout.read_to_end(&mut output).await.unwrap();
        return from_cgi(output, |begun| halting(begun, site));
    }
    from_cgi(output, |begun| streamed(begun, backend, stdout, feed))
}

/// What is set for the repository that a path leads to.
fn of_path<T: Clone>(set: &Mutex<BTreeMap<String, T>>, path: &str) -> Option<T> {
    let set = set.lock().unwrap();
    set.iter().find(|(name, _)| path.starts_with(&format!("/{name}"))).map(|(_, value)| value.clone())
}

/// What was read of an answer, and what is still to come: it may be more than fits into memory.
fn streamed(begun: Vec<u8>, backend: Child, stdout: ChildStdout, feed: JoinHandle<()>) -> Body {
    let state = (Some(begun), backend, stdout, feed);
    Body::from_stream(futures::stream::unfold(state, async |(begun, backend, mut stdout, feed)| {
        if let Some(begun) = begun {
            return Some((Ok::<_, std::io::Error>(begun), (None, backend, stdout, feed)));
        }
        let mut chunk = Vec::with_capacity(64 * 1024);
        match stdout.read_buf(&mut chunk).await {
            Ok(0) => None,
            read => Some((read.map(|_| chunk), (None, backend, stdout, feed))),
        }
    }))
}

/// The first half at once, the rest when it is told to go on. What is short is whole at once: it is no pack.
fn halting(mut all: Vec<u8>, site: Arc<Site>) -> Body {
    if all.len() < 16 * 1024 {
        return all.into();
    }
    let rest = all.split_off(all.len() / 2);
    Body::from_stream(futures::stream::unfold((0, all, rest, site), async |(part, first, rest, site)| match part {
        0 => Some((Ok::<_, std::io::Error>(first), (1, Vec::new(), rest, site))),
        1 => {
            site.rest.acquire().await.unwrap().forget();
            Some((Ok(rest), (2, Vec::new(), Vec::new(), site)))
        }
        _ => None,
    }))
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    Response::builder().status(status).header(header::CONTENT_TYPE, "text/html").body(Body::from(text)).unwrap()
}

/// A CGI answer: headers, an empty line, the body; the status is a header too.
fn from_cgi(mut output: Vec<u8>, body: impl FnOnce(Vec<u8>) -> Body) -> Response<Body> {
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("headers end");
    let begun = output.split_off(end + 4);
    let mut response = Response::builder();
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            _ => response.header(name, value),
        };
    }
    response.body(body(begun)).unwrap()
}
