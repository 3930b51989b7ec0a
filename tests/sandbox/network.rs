//! What of the machine's network a sandbox gets to.

use std::net::TcpListener;

use latchkey::environments::runner::Runner;

use crate::support::machine::{Machine, exec, running};

/// Connects to each of the destinations in `@ARGV`, straight and by the proxy; writes a line for each.
const REACH: &str = r#"
    use Socket qw(getaddrinfo SOCK_STREAM AI_NUMERICHOST);
    sub connected {
        my ($host, $port) = $_[0] =~ /^\[?(.*?)\]?:(\d+)$/;
        my ($error, $at) = getaddrinfo($host, $port, { socktype => SOCK_STREAM });
        die "$host: $error" if $error;
        socket(my $socket, $at->{family}, SOCK_STREAM, 0) or die;
        return connect($socket, $at->{addr}) ? $socket : undef;
    }
    for $to (@ARGV) {
        my $straight = connected($to) ? "open" : "closed";
        my $proxy = connected("127.0.0.1:3128") or die "no proxy: $!";
        syswrite($proxy, "CONNECT $to HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        my $line = <$proxy> // "nothing";
        print "$to $straight ", (split(/ /, $line))[1], "\n";
    }
"#;

#[tokio::test]
async fn nobody_who_listens_on_the_machine_is_reached() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    // A machine may have no IPv6.
    let listeners: Vec<TcpListener> =
        ["127.0.0.1:0", "[::1]:0"].into_iter().filter_map(|address| TcpListener::bind(address).ok()).collect();
    let taken = || listeners.iter().filter(|listener| listener.accept().is_ok()).count();
    let mut destinations = Vec::new();
    for listener in &listeners {
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        std::net::TcpStream::connect(address).unwrap();
        destinations.push(address.to_string());
    }
    assert_eq!(taken(), listeners.len(), "they would notice");
    destinations.push(format!("localhost:{}", listeners[0].local_addr().unwrap().port()));
    // Who could answer there, only a network of a test's own shows. None of them is asked: there is no way to them, and the
    // proxy refuses them before it knows whether there is one.
    destinations.extend(["169.254.169.254:80", "[fd00:ec2::254]:80", "10.0.0.1:80", "[fe80::1]:80"].map(str::to_owned));
    let command = format!("cat >/tmp/reach.pl <<'END'\n{REACH}\nEND\nperl /tmp/reach.pl {}", destinations.join(" "));
    let ran = exec(&runner, id, &command).await;
    let expected: String = destinations.iter().map(|to| format!("{to} closed 403\n")).collect();
    assert_eq!(ran.stdout, expected, "{}", ran.stderr);
    assert_eq!(taken(), 0, "somebody got through");
    runner.delete(id).await.unwrap();
}
