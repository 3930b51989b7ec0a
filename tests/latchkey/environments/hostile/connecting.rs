//! Git servers that no connection comes about to: whoever should answer is silent, and the kernel waits for long.

use std::{
    fs,
    net::{TcpListener, TcpStream, UdpSocket},
};

use latchkey::pb::gitpod::v1::EnvironmentPhase;
use nix::sys::socket::{Backlog, listen};

use super::protocol::failure_of;
use crate::{
    environments::limits::flags,
    support::{
        Api, LocalServer, ServerOptions,
        environments::{from_url, status},
        eventually, left_out,
        network::{alone_with, asking_a_name_server, channel_inside, inside},
    },
};

/// Listens, and has no room for another connection: the kernel drops whatever asks for one, as a firewall would.
struct Deaf {
    port: u16,
    /// The process in whose network it is; none for that of this one.
    network: Option<u32>,
    _listener: TcpListener,
    _only: TcpStream,
}

impl Deaf {
    fn new() -> Self {
        Self::at("127.0.0.1:0", None)
    }

    fn at(address: &str, network: Option<u32>) -> Self {
        let make = || {
            let listener = TcpListener::bind(address).unwrap();
            listen(&listener, Backlog::new(0).unwrap()).unwrap();
            let only = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (listener, only)
        };
        let (listener, only) = network.map_or_else(make, |process| inside(process, make));
        Self { port: listener.local_addr().unwrap().port(), network, _listener: listener, _only: only }
    }

    /// How many ask for a connection, and have no answer.
    fn asked(&self) -> usize {
        let read = || fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
        let sockets = self.network.map_or_else(read, |process| inside(process, read));
        // The columns of a socket: its number, both addresses, its state (2: SYN-SENT).
        let port = format!(":{:04X}", self.port);
        let asks = |line: &&str| {
            let columns: Vec<&str> = line.split_whitespace().skip(2).take(2).collect();
            matches!(columns.as_slice(), [remote, "02"] if remote.ends_with(&port))
        };
        sockets.lines().filter(asks).count()
    }

    async fn is_asked(&self) {
        eventually("a connection is asked for", async || (self.asked() > 0).then_some(())).await;
    }

    async fn is_left_alone(&self) {
        eventually("nobody asks any more", async || (self.asked() == 0).then_some(())).await;
    }
}

/// A server to which `https://deaf.example/` and `https://sealed.example/` (with TLS) are that one.
async fn start(deaf: &Deaf, args: &[&str]) -> LocalServer {
    let mut local = LocalServer::start_with(flags(args)).await;
    let mut config = fs::read_to_string(local.git_config()).unwrap();
    for (scheme, host) in [("http", "deaf"), ("https", "sealed")] {
        let port = deaf.port;
        config += &format!("[url \"{scheme}://127.0.0.1:{port}/\"]\n\tinsteadOf = https://{host}.example/\n");
    }
    fs::write(local.git_config(), config).unwrap();
    local.stop().await;
    local.start_again().await;
    local
}

#[tokio::test]
async fn a_clone_that_gets_no_connection_is_given_up_when_its_time_is_over() {
    let deaf = Deaf::new();
    let local = start(&deaf, &["--clone-timeout", "2s"]).await;
    let api = local.api_of_user("dev@example.com").await;
    for url in ["https://deaf.example/owner/name", "https://sealed.example/owner/name"] {
        let (failure, ()) = tokio::join!(failure_of(&local, &api, url), deaf.is_asked());
        assert_eq!(failure, "the clone took longer than 2 s", "{url}");
        deaf.is_left_alone().await;
    }
}

#[tokio::test]
async fn a_host_that_takes_no_connection_is_named_if_there_is_time() {
    let deaf = Deaf::new();
    let local = start(&deaf, &[]).await;
    let api = local.api_of_user("dev@example.com").await;
    let failure = failure_of(&local, &api, "https://sealed.example/owner/name").await;
    assert_eq!(failure, format!("no connection to 127.0.0.1:{}: timed out", deaf.port));
    deaf.is_left_alone().await;
}

#[tokio::test]
async fn a_clone_that_waits_for_a_connection_is_stopped_and_deleted_meanwhile() {
    let deaf = Deaf::new();
    let mut local = start(&deaf, &[]).await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let waiting = async |api: &Api, url: &str| {
        let id = api.create(from_url(url)).await.unwrap().id;
        deaf.is_asked().await;
        id
    };
    for url in ["https://deaf.example/owner/name", "https://sealed.example/owner/name"] {
        let id = waiting(&api, url).await;
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
        deaf.is_left_alone().await;

        let id = waiting(&api, url).await;
        api.stop(&id).await.unwrap();
        let stopped = api.until(&id, EnvironmentPhase::Stopped).await;
        assert_eq!(status(&stopped).failure_message, Vec::<String>::new());
        local.is_at_rest(&id);
        deaf.is_left_alone().await;
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
    }
    // Nor does it keep a server from ending, or the next one from going on with it.
    let id = waiting(&api, "https://deaf.example/owner/name").await;
    local.stop().await;
    deaf.is_left_alone().await;
    local.start_again().await;
    deaf.is_asked().await;
    local.api(&token).await.delete_whole(&id).await;
    local.is_gone(&id).await;
    deaf.is_left_alone().await;
}

#[tokio::test]
async fn a_clone_that_waits_for_a_connection_is_deleted_before_all_addresses_were_tried() {
    if !nix::unistd::geteuid().is_root() {
        left_out("only root can make the network that this needs");
        return;
    }
    // Each may take ten seconds.
    let addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4", "127.0.0.5", "127.0.0.6"];
    let mut local = LocalServer::start_in(alone_with(&[], &addresses.map(|address| (address, "many.example")))).await;
    let rewrite = "[url \"http://many.example:4443/\"]\n\tinsteadOf = https://many.example/\n";
    fs::write(local.git_config(), rewrite).unwrap();
    local.stop().await;
    local.start_again().await;
    let server = local.server().pid();
    let deaf = Deaf::at("0.0.0.0:4443", Some(server));
    let token = local.user("dev@example.com").await;
    let channel = channel_inside(server, local.server().address()).await;
    let api = Api::over(channel, Some(&format!("Bearer {token}")));
    let id = api.create(from_url("https://many.example/owner/name")).await.unwrap().id;
    deaf.is_asked().await;
    api.delete_whole(&id).await;
    local.is_gone(&id).await;
    deaf.is_left_alone().await;
}

#[tokio::test]
async fn a_name_server_that_does_not_answer_holds_up_neither_the_end_of_a_clone_nor_that_of_the_server() {
    if !nix::unistd::geteuid().is_root() {
        left_out("only root can make the network that this needs");
        return;
    }
    // Minutes, in which the system's resolver hears nothing else.
    let patient = "echo 'options timeout:30 attempts:5' >>/etc/resolv.conf && exec \"$0\" \"$@\"";
    let patient = ["sh", "-c", patient].map(str::to_owned).to_vec();
    let wrapper = [alone_with(&[], &[]), asking_a_name_server(), patient].concat();
    let mut local = LocalServer::start_with(ServerOptions { wrapper, ..flags(&["--clone-timeout", "2s"]) }).await;
    let server = local.server().pid();
    let names = inside(server, || UdpSocket::bind("127.0.0.1:53").unwrap());
    names.set_nonblocking(true).unwrap();
    let is_asked = eventually("the name server is asked", async || names.recv(&mut [0; 512]).ok());
    let token = local.user("dev@example.com").await;
    let channel = channel_inside(server, local.server().address()).await;
    let api = Api::over(channel, Some(&format!("Bearer {token}")));
    let (failure, _) = tokio::join!(failure_of(&local, &api, "https://some.example/owner/name"), is_asked);
    assert_eq!(failure, "the clone took longer than 2 s");
    drop(api);
    local.stop().await;
}
