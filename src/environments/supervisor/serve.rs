//! Takes commands until it is killed.

use std::{fs, io, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use futures::stream;
use tokio::net::UnixListener;

use super::{
    forwarder,
    operations::Operations,
    reaper::Reaper,
    task::{ServeTask, places},
    wipe,
};
use crate::{
    domain::exec::COMMAND_LIMIT, pb::supervisor::v1::environment_ops_service_server::EnvironmentOpsServiceServer,
};

/// The most bytes of a request: a command, and room for the rest.
const REQUEST_LIMIT: usize = COMMAND_LIMIT + 16 * 1024;

pub(super) async fn run(task: ServeTask) -> io::Result<()> {
    let reaper = Reaper::start()?;
    forwarder::start().await?;
    // What an earlier run left here, a socket at best, is in the way.
    wipe::empty(Path::new(places::RUN))?;
    let socket = Path::new(places::RUN).join(places::SUPERVISOR_SOCKET);
    let listener = UnixListener::bind(&socket)?;
    // The server may be somebody else; the directories above keep everybody else out.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    let connections = stream::unfold(listener, async |listener| {
        loop {
            match listener.accept().await {
                Ok((connection, _)) => return Some((io::Result::Ok(connection), listener)),
                // Out of descriptors, used up from inside most likely: no reason to end the environment.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    });
    let operations = EnvironmentOpsServiceServer::new(Operations::new(reaper, task))
        .max_decoding_message_size(REQUEST_LIMIT)
        .max_encoding_message_size(usize::MAX);
    tonic::transport::Server::builder()
        .add_service(operations)
        .serve_with_incoming(connections)
        .await
        .map_err(io::Error::other)
}
