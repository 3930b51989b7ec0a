//! Addresses of a test's own, and a network of a test's own: whatever goes wrong, nothing leaves it.

use std::{
    fs::File,
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex},
};

use hyper_util::rt::TokioIo;
use nix::sched::{CloneFlags, setns};
use tokio::net::UdpSocket;
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

/// The words after those of [`alone_with`], for names that a [`NameServer`] answers for.
pub fn asking_a_name_server() -> Vec<String> {
    // Other ways to resolve names would not come by.
    let script = "resolver=$(mktemp) && chmod 644 $resolver && echo 'nameserver 127.0.0.1' >$resolver \
                  && mount --bind $resolver /etc/resolv.conf && rm $resolver \
                  && if [ -e /etc/nsswitch.conf ]; then \
                         order=$(mktemp) && chmod 644 $order && echo 'hosts: files dns' >$order \
                         && mount --bind $order /etc/nsswitch.conf && rm $order; \
                     fi && exec \"$0\" \"$@\"";
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

/// A name server on the loopback of a process's network. Ends with the test.
pub struct NameServer {
    asked: Arc<Mutex<usize>>,
}

impl NameServer {
    /// Answers every question for an IPv4 address with the next of these, then with the last one, good for no time at all.
    pub fn start(process: u32, answers: &[&str]) -> Self {
        let socket = inside(process, || std::net::UdpSocket::bind("127.0.0.1:53").unwrap());
        socket.set_nonblocking(true).unwrap();
        let socket = UdpSocket::from_std(socket).unwrap();
        let answers: Vec<Ipv4Addr> = answers.iter().map(|answer| answer.parse().unwrap()).collect();
        let asked = Arc::<Mutex<usize>>::default();
        let count = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut buffer = [0; 512];
            loop {
                let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
                let address = if kind(&buffer[..length]) == A {
                    let mut count = count.lock().unwrap();
                    *count += 1;
                    Some(answers[(*count - 1).min(answers.len() - 1)])
                } else {
                    None
                };
                socket.send_to(&answer(&buffer[..length], address), client).await.unwrap();
            }
        });
        Self { asked }
    }

    /// How many questions for an IPv4 address there have been.
    pub fn asked(&self) -> usize {
        *self.asked.lock().unwrap()
    }
}

/// The kind of a question for an IPv4 address.
const A: [u8; 2] = [0, 1];
/// The header of a message: an identifier, flags, and how many of what follow.
const HEADER: usize = 12;

/// Where the name in a question ends.
fn end_of_name(question: &[u8]) -> usize {
    HEADER + question[HEADER..].iter().position(|byte| *byte == 0).unwrap() + 1
}

fn kind(question: &[u8]) -> [u8; 2] {
    let at = end_of_name(question);
    [question[at], question[at + 1]]
}

/// An answer: the question, and one address or none.
fn answer(question: &[u8], address: Option<Ipv4Addr>) -> Vec<u8> {
    let mut message = question[..end_of_name(question) + 4].to_vec();
    // It is an answer, and recursion was available; one question, no names of servers, nothing else.
    message[2..HEADER].copy_from_slice(&[0x81, 0x80, 0, 1, 0, address.is_some().into(), 0, 0, 0, 0]);
    if let Some(address) = address {
        // The name at byte 12, an address of the internet, no time to live, four bytes.
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        message.extend(address.octets());
    }
    message
}
