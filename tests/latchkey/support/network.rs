//! Addresses of a test's own, and a network of a test's own: whatever goes wrong, nothing leaves it.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
};

use hyper_util::rt::TokioIo;
use nix::sched::{CloneFlags, setns};
use tonic::transport::{Channel, Endpoint};

/// A loopback address that no other program listens on, so that a port can be known before it is taken; `number`, up to 3,
/// tells apart those who have one in this process.
pub fn own_address(number: u8) -> Ipv4Addr {
    // Twenty-two bits are all that a process ID has.
    let [_, high, middle, low] = (std::process::id() & 0x003f_ffff).to_be_bytes();
    Ipv4Addr::new(127, 64 * number + high, middle, low)
}

/// The words before a program that give it a network with nothing but a loopback interface, which has these addresses
/// as well, and in which these names (address, name) are all that resolve.
pub fn alone_with(addresses: &[&str], names: &[(&str, &str)]) -> Vec<String> {
    // A file that is mounted needs no name any more.
    let mut script = "hosts=$(mktemp) && chmod 644 $hosts".to_owned();
    for (address, name) in [&[("127.0.0.1", "localhost")], names].concat() {
        script.push_str(&format!(" && echo '{address} {name}' >>$hosts"));
    }
    script.push_str(" && mount --bind $hosts /etc/hosts && rm $hosts && ip link set lo up");
    for address in addresses {
        script.push_str(&format!(" && ip address add {address} dev lo"));
    }
    script.push_str(" && exec \"$0\" \"$@\"");
    // Every word but the last becomes the next one, in the same process.
    ["unshare", "--net", "--mount", "sh", "-c", &script].map(str::to_owned).to_vec()
}

/// Does something in the network of a process. What is opened there stays there.
pub fn inside<T: Send>(process: u32, work: impl FnOnce() -> T + Send) -> T {
    let network = File::open(format!("/proc/{process}/ns/net")).unwrap();
    std::thread::scope(|scope| {
        // The thread ends there: no other work is ever done in that network.
        let thread = scope.spawn(|| {
            setns(&network, CloneFlags::CLONE_NEWNET).expect("tests of networks run as root");
            work()
        });
        thread.join().unwrap()
    })
}

/// A listener in the network of a process.
pub fn listen_inside(process: u32, address: &str) -> TcpListener {
    let listener = inside(process, || TcpListener::bind(address).unwrap());
    listener.set_nonblocking(true).unwrap();
    listener
}

/// A channel to a server in its own network.
pub async fn channel_inside(process: u32, address: &str) -> Channel {
    let connect = move |uri: http::Uri| async move {
        let stream = inside(process, || std::net::TcpStream::connect(uri.authority().unwrap().as_str()))?;
        stream.set_nonblocking(true)?;
        Ok::<_, std::io::Error>(TokioIo::new(tokio::net::TcpStream::from_std(stream)?))
    };
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    endpoint.connect_with_connector(tower::service_fn(connect)).await.unwrap()
}
