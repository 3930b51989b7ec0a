//! Offers the egress proxy's Unix socket as an HTTP proxy on the sandbox's own loopback, where programs look for one.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
};

use tokio::{
    net::{TcpListener, UnixStream},
    sync::Semaphore,
};

use super::task::places;

/// Where it listens. Always the same, so that what an environment writes into its files keeps working.
pub(super) const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 3128);
/// The most connections at once; further ones wait.
const CONNECTION_LIMIT: usize = 64;

/// Listens, and forwards in the background.
pub(super) async fn start() -> io::Result<()> {
    let listener = TcpListener::bind(ADDRESS).await?;
    tokio::spawn(async move {
        let places = Arc::new(Semaphore::new(CONNECTION_LIMIT));
        while let Ok(place) = Arc::clone(&places).acquire_owned().await {
            let Ok((mut inside, _)) = listener.accept().await else {
                // Out of descriptors: let connections end first.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            };
            tokio::spawn(async move {
                // Connected anew for each: the server, and its proxy with it, may have been started again.
                if let Ok(mut outside) =
                    UnixStream::connect(Path::new(places::EGRESS).join(places::EGRESS_SOCKET)).await
                {
                    let _ = tokio::io::copy_bidirectional(&mut inside, &mut outside).await;
                }
                drop(place);
            });
        }
    });
    Ok(())
}
