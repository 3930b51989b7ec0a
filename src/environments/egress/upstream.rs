//! Makes the connections that a policy allows: straight, or by the operator's own proxy.

use std::{io, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};

use super::policy::{Destination, Policy, Refusal};

/// The longest wait for one address to take a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// A connection to where it was asked for.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to a destination that the policy allows.
///
/// # Errors
/// Why the policy does not, or why nobody answers.
pub(super) async fn connect(policy: &Policy, destination: &Destination) -> Result<Box<dyn Stream>, Refusal> {
    let Some(upstream) = policy.upstream.as_ref().filter(|_| !policy.named.contains(destination)) else {
        let addresses = policy.addresses(destination).await?;
        return Ok(Box::new(connect_to_any(destination, &addresses).await?));
    };
    // Behind a proxy, this machine may be unable to resolve names of the world; those that it can are judged here, the
    // others by the proxy, which is the operator's.
    match policy.addresses(destination).await {
        Ok(_) | Err(Refusal::Unresolved { .. }) => {}
        Err(refusal @ (Refusal::Address { .. } | Refusal::Unreachable { .. } | Refusal::PlainHttp { .. })) => {
            return Err(refusal);
        }
    }
    tunnel(upstream, destination).await
}

async fn connect_to_any(destination: &Destination, addresses: &[SocketAddr]) -> Result<TcpStream, Refusal> {
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Best effort: without them a connection is slower, or its loss noticed later.
                let _ = stream.set_nodelay(true);
                let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
                return Ok(stream);
            }
            Ok(Err(error)) => last = error,
            Err(_) => last = io::Error::from(io::ErrorKind::TimedOut),
        }
    }
    Err(unreachable(destination, last))
}

fn unreachable(destination: &Destination, error: impl ToString) -> Refusal {
    Refusal::Unreachable { destination: destination.clone(), reason: error.to_string() }
}

/// Asks the operator's proxy for a tunnel.
async fn tunnel(upstream: &Destination, destination: &Destination) -> Result<Box<dyn Stream>, Refusal> {
    let addresses = tokio::net::lookup_host((upstream.host(), upstream.port())).await;
    let addresses: Vec<SocketAddr> = addresses.map_err(|error| unreachable(upstream, error))?.collect();
    let stream = connect_to_any(upstream, &addresses).await?;
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        let request = Request::builder()
            .method(Method::CONNECT)
            .uri(destination.to_string())
            .header(http::header::HOST, destination.to_string())
            .body(Empty::<Bytes>::new())
            .expect("a host and a port that came in as a URI are one");
        sender.send_request(request).await
    };
    let response = tokio::time::timeout(CONNECT_TIMEOUT, exchange)
        .await
        .map_err(|_| unreachable(destination, "the operator's proxy does not answer"))?
        .map_err(|error| unreachable(destination, error))?;
    if !response.status().is_success() {
        return Err(unreachable(destination, format!("the operator's proxy answered {}", response.status())));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(|error| unreachable(destination, error))?;
    Ok(Box::new(TokioIo::new(upgraded)))
}
