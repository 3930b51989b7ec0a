//! What an environment's code finds of the server around it: nothing that listens, nothing that is told.

use std::{fs, net::TcpStream, path::PathBuf};

use latchkey::pb::supervisor::v1::ExecRequest;

use crate::support::{
    Api, LocalServer, Starter,
    environments::{from_nothing, with_url},
    left_out,
    network::{alone_with, channel_inside, inside, listen_inside},
};

const METRICS: &str = "127.0.0.1:9464";

/// Tries to get to each of the destinations in `@ARGV`: straight, by the proxy as https, by the proxy as http. Writes a line
/// for each.
const REACH: &str = r#"
    use Socket qw(getaddrinfo SOCK_STREAM);
    sub connected {
        my ($host, $port) = $_[0] =~ /^\[?(.*?)\]?:(\d+)$/;
        my ($error, $at) = getaddrinfo($host, $port, { socktype => SOCK_STREAM });
        return if $error || !socket(my $socket, $at->{family}, SOCK_STREAM, 0);
        return connect($socket, $at->{addr}) ? $socket : undef;
    }
    sub proxied {
        my $socket = connected("127.0.0.1:3128") or die "no proxy: $!";
        syswrite($socket, "$_[0] HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        my $line = <$socket>;
        return (split(/ /, $line // "nothing at all"))[1];
    }
    for $to (@ARGV) {
        my $straight = connected($to) ? "open" : "closed";
        print "$to $straight ", proxied("CONNECT $to"), " ", proxied("GET http://$to/metrics"), "\n";
    }
"#;

fn reach(destinations: &[String]) -> String {
    format!("cat >/tmp/reach.pl <<'END'\n{REACH}\nEND\nperl /tmp/reach.pl {}", destinations.join(" "))
}

#[tokio::test]
async fn nothing_that_listens_around_the_server_is_reached_from_inside() {
    if !nix::unistd::geteuid().is_root() {
        left_out("only root can make the network that this needs");
        return;
    }
    for starter in Starter::all() {
        nothing_that_listens_is_reached(starter).await;
    }
}

async fn nothing_that_listens_is_reached(starter: Starter) {
    let addresses = ["10.0.0.1/32", "169.254.10.20/32", "169.254.169.254/32", "fd00::1/128", "fe80::20/128"];
    let mut wrapper = alone_with(&addresses, &[("10.0.0.1", "database.example")]);
    wrapper.extend(["env".to_owned(), format!("LATCHKEY_METRICS_LISTEN={METRICS}")]);
    let local = LocalServer::start_by(starter, wrapper).await;
    let server = local.server().pid();
    let token = local.user("dev@example.com").await;
    let channel = channel_inside(server, local.server().address()).await;
    let api = Api::over(channel.clone(), Some(&format!("Bearer {token}")));
    // Where PostgreSQL listens if it is asked to.
    let database = listen_inside(server, "[::]:5432");

    let own = local.server().address().to_owned();
    let hosts = ["127.0.0.1", "[::1]", "10.0.0.1", "169.254.10.20", "169.254.169.254", "[fd00::1]", "[fe80::20%1]"];
    let at_database = hosts.map(|host| format!("{host}:5432"));
    for address in [&own, METRICS].into_iter().chain(at_database.iter().map(String::as_str)) {
        inside(server, || TcpStream::connect(address)).unwrap_or_else(|error| panic!("{address}: {error}"));
    }
    let taken = || std::iter::from_fn(|| database.accept().ok()).count();
    assert_eq!(taken(), at_database.len(), "they would notice");

    let id = api.create_running(from_nothing()).await;
    let ops = api.get(&id).await.unwrap().status.unwrap().environment_urls.unwrap().ops;
    let mut operations = with_url(channel, &ops, &api.environment_token(&id).await.unwrap());
    let port = own.rsplit(':').next().unwrap();
    let mut destinations =
        vec![own.clone(), METRICS.to_owned(), format!("localhost:{port}"), "localhost:9464".to_owned()];
    destinations.extend(hosts.map(|host| format!("{}:5432", host.replace("%1", ""))));
    destinations.push("database.example:5432".to_owned());
    let request = ExecRequest { command: reach(&destinations), timeout_seconds: 60, ..Default::default() };
    let ran = operations.exec(request).await.unwrap().into_inner();
    let expected: String = destinations.iter().map(|to| format!("{to} closed 403 403\n")).collect();
    assert_eq!(ran.stdout, expected, "{}", ran.stderr);
    assert_eq!(taken(), 0, "somebody got through");
    api.delete_whole(&id).await;
}

/// What programs inside can read of processes, and of every file that is not one of the system's programs.
const ALL_THAT_IS_TOLD: &str = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline /proc/keys; \
    find / \\( -path /proc -o -path /usr -o -path /dev -o -path /opt -o -path /etc/ssl \\) -prune -o -type f -exec cat {} +";

#[tokio::test]
async fn nothing_that_the_server_was_told_is_told_inside() {
    for starter in Starter::all() {
        nothing_is_told(starter).await;
    }
}

async fn nothing_is_told(starter: Starter) {
    let variable = "hunter2-in-a-variable";
    let wrapper = vec!["env".to_owned(), format!("LATCHKEY_SOME_SECRET={variable}")];
    let local = LocalServer::start_by(starter, wrapper).await;
    let token = local.user("dev@example.com").await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;

    let database: tokio_postgres::Config = local.database.serving_url().parse().unwrap();
    let [tokio_postgres::config::Host::Unix(sockets)] = database.get_hosts() else { panic!("{database:?}") };
    let socket = sockets.join(format!(".s.PGSQL.{}", database.get_ports().first().unwrap_or(&5432)));
    let keys = local.data_dir().join("signing-keys");
    let key = fs::read_to_string(&keys).unwrap();
    let secrets = [variable, "--database-url", sockets.to_str().unwrap(), key.trim(), &token];

    // The server's own variables and arguments have them.
    let of_server = |file: &str| fs::read(format!("/proc/{}/{file}", local.server().pid())).unwrap();
    let told = String::from_utf8_lossy(&[of_server("environ"), of_server("cmdline")].concat()).into_owned();
    assert!(secrets[..3].iter().all(|secret| told.contains(secret)), "{told}");
    let found = api.run(&id, ALL_THAT_IS_TOLD).await.stdout;
    assert!(found.contains("/opt/latchkey/latchkey") && found.contains("dev:x:1000"), "{found}");
    for secret in secrets {
        assert!(!found.contains(secret), "{secret} is told inside");
    }

    // Nor do the files and sockets have a path inside.
    let state = local.directory_of(&id).join("state.json");
    for path in [keys, local.data_dir().join("runner-id"), state, socket, PathBuf::from("/etc/shadow")] {
        assert!(path.exists(), "{}", path.display());
        for path in [format!("{}", path.display()), format!("/proc/1/root{}", path.display())] {
            let looked = api.run(&id, &format!("ls -d {path}")).await;
            assert_eq!((looked.exit_code, looked.stdout.as_str()), (2, ""), "{path}");
        }
    }
    api.delete_whole(&id).await;
}
