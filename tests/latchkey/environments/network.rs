//! Where environments may not go. The server has a network of its own here, in which the forbidden addresses are somebody:
//! a connection that should not be made is noticed, and goes nowhere.

use std::{io::ErrorKind, net::TcpStream};

use crate::support::{
    Api, LocalServer, Starter,
    environments::{from_url, with_url},
    left_out,
    network::{NameServer, alone_with, asking_a_name_server, channel_inside, inside, listen_inside},
};
use latchkey::pb::{gitpod::v1::EnvironmentPhase, supervisor::v1::ExecRequest};

/// What somebody who runs a name server could answer. 9.9.9.9 is public, and nobody here.
const NAMES: [(&str, &str); 9] = [
    ("10.0.0.1", "private.example"),
    ("169.254.169.254", "metadata.example"),
    ("fd00:ec2::254", "metadata-six.example"),
    ("127.0.0.1", "loopback.example"),
    ("9.9.9.9", "mixed.example"),
    ("10.0.0.1", "mixed.example"),
    ("9.9.9.9", "mixed-six.example"),
    ("fd00:ec2::254", "mixed-six.example"),
    ("9.9.9.9", "public.example"),
];

#[tokio::test]
async fn nobody_is_reached_at_an_address_that_is_not_public() {
    if !nix::unistd::geteuid().is_root() {
        left_out("only root can make the network that this needs");
        return;
    }
    for starter in Starter::all() {
        nobody_is_reached(starter).await;
    }
}

async fn nobody_is_reached(starter: Starter) {
    let addresses = ["10.0.0.1/32", "169.254.169.254/32", "fd00:ec2::254/128"];
    let local = LocalServer::start_by(starter, alone_with(&addresses, &NAMES)).await;
    let server = local.server().pid();
    let https = [listen_inside(server, "0.0.0.0:443"), listen_inside(server, "[::]:80")];
    // They would notice.
    for address in ["10.0.0.1:443", "169.254.169.254:443", "127.0.0.1:443", "169.254.169.254:80"] {
        inside(server, || TcpStream::connect(address)).unwrap();
        let taken = https.iter().filter(|listener| listener.accept().is_ok()).count();
        assert_eq!(taken, 1, "{address}");
    }
    let token = local.user("dev@example.com").await;
    let channel = channel_inside(server, local.server().address()).await;
    let api = Api::over(channel.clone(), Some(&format!("Bearer {token}")));

    for (url, says) in [
        ("https://no-such-host.invalid/owner/name", "no-such-host.invalid does not resolve"),
        ("https://localhost/owner/name", "of host localhost is loopback"),
        ("https://127.0.0.1/owner/name", "127.0.0.1 is loopback"),
        ("https://[::1]/owner/name", "::1 is loopback"),
        ("https://0x7f000001/owner/name", "127.0.0.1 is loopback"),
        ("https://10.0.0.1/owner/name", "10.0.0.1 is private"),
        ("https://[::ffff:10.0.0.1]/owner/name", "is private"),
        ("https://169.254.10.20/owner/name", "169.254.10.20 is link-local"),
        ("https://[fe80::1]/owner/name", "is link-local"),
        ("https://169.254.169.254/latest/meta-data", "169.254.169.254 is a cloud metadata service"),
        ("https://[fd00:ec2::254]/latest/meta-data", "is a cloud metadata service"),
        ("https://0.0.0.0/owner/name", "0.0.0.0 is unspecified"),
        ("https://private.example/owner/name", "the address 10.0.0.1 of host private.example is private"),
        ("https://metadata.example/latest", "169.254.169.254 of host metadata.example is a cloud metadata service"),
        ("https://metadata-six.example/latest", "of host metadata-six.example is a cloud metadata service"),
        ("https://loopback.example/owner/name", "127.0.0.1 of host loopback.example is loopback"),
        // One address that is forbidden is enough.
        ("https://mixed.example/owner/name", "10.0.0.1 of host mixed.example is private"),
        ("https://mixed-six.example/owner/name", "of host mixed-six.example is a cloud metadata service"),
        // It is the address that is refused, not the name's being in a file.
        ("https://public.example/owner/name", "no connection to public.example:443"),
    ] {
        let id = api.create(from_url(url)).await.unwrap().id;
        let failure = api.until_failed(&id).await;
        assert!(failure.contains(says), "{url}: {failure}");
        api.delete_whole(&id).await;
    }

    // Nor do commands get there, by the proxy or past it.
    let id = api.create_running(crate::support::environments::from_nothing()).await;
    let ops = api.get(&id).await.unwrap().status.unwrap().environment_urls.unwrap().ops;
    let mut operations = with_url(channel, &ops, &api.environment_token(&id).await.unwrap());
    for command in [
        "git ls-remote https://169.254.169.254/a",
        "git ls-remote http://169.254.169.254/a",
        "git ls-remote https://metadata.example/a",
        "git ls-remote http://mixed.example/a",
        "git ls-remote http://10.0.0.1/a",
        "env -u https_proxy -u HTTPS_PROXY git ls-remote https://10.0.0.1/a",
        "env -u http_proxy -u HTTP_PROXY git ls-remote http://localhost/a",
    ] {
        let request = ExecRequest { command: command.to_owned(), timeout_seconds: 20, ..Default::default() };
        let ran = operations.exec(request).await.unwrap().into_inner();
        assert_ne!(ran.exit_code, 0, "{command}");
        assert!(ran.stderr.contains("403") || ran.stderr.contains("connect"), "{command}: {}", ran.stderr);
    }
    api.stop(&id).await.unwrap();
    api.until(&id, EnvironmentPhase::Stopped).await;
    api.delete_whole(&id).await;

    for listener in https {
        assert_eq!(listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody got through");
    }
}

#[tokio::test]
async fn a_name_that_changes_its_mind_gains_nothing() {
    if !nix::unistd::geteuid().is_root() {
        left_out("only root can make the network that this needs");
        return;
    }
    let wrapper = [alone_with(&["10.0.0.1/32"], &[]), asking_a_name_server()].concat();
    let local = LocalServer::start_in(wrapper).await;
    let server = local.server().pid();
    let trap = listen_inside(server, "0.0.0.0:443");
    // Public when it is judged, private when somebody connects who asks again.
    let names = NameServer::start(server, &["9.9.9.9", "10.0.0.1"]);
    let token = local.user("dev@example.com").await;
    let channel = channel_inside(server, local.server().address()).await;
    let api = Api::over(channel.clone(), Some(&format!("Bearer {token}")));

    let id = api.create_running(crate::support::environments::from_nothing()).await;
    let ops = api.get(&id).await.unwrap().status.unwrap().environment_urls.unwrap().ops;
    let mut operations = with_url(channel, &ops, &api.environment_token(&id).await.unwrap());
    for (asked, says) in [(1, "502"), (2, "403")] {
        let command = "git ls-remote https://changing.example/a".to_owned();
        let request = ExecRequest { command, timeout_seconds: 20, ..Default::default() };
        let ran = operations.exec(request).await.unwrap().into_inner();
        assert!(ran.exit_code != 0 && ran.stderr.contains(says), "{}", ran.stderr);
        assert_eq!(names.asked(), asked, "a name is resolved once for a connection");
    }
    api.delete_whole(&id).await;
    let id = api.create(from_url("https://changing.example/owner/name")).await.unwrap().id;
    let failure = api.until_failed(&id).await;
    assert!(failure.contains("10.0.0.1 of host changing.example is private"), "{failure}");
    api.delete_whole(&id).await;
    assert_eq!(trap.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody got through");
    inside(server, || TcpStream::connect("10.0.0.1:443")).unwrap();
    trap.accept().expect("it would have noticed");
}
