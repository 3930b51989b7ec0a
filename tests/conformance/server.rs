//! The server that the suite starts: it says on its standard input what it wants, and is told where it is served.

use std::{
    fs::OpenOptions,
    io::{Read, Write},
};

use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use latchkey::connect::{Connect, NativeGrpc};
use prost::Message;
use tokio::net::TcpListener;
use tonic::service::Routes;

use crate::{
    pb::{ServerCompatRequest, ServerCompatResponse, conformance_service_server::ConformanceServiceServer},
    service::Conformance,
};

const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/conformance.bin"));

/// Serves until the suite ends the process.
pub(crate) fn serve(native: NativeGrpc) {
    let request = read();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = u32::from(listener.local_addr().unwrap().port());
        write(&ServerCompatResponse { host: "127.0.0.1".to_owned(), port, pem_cert: Vec::new() });
        let service = service(&request, native);
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                // How a client leaves is its own affair.
                let _ = Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
}

fn service(request: &ServerCompatRequest, native: NativeGrpc) -> Connect {
    let limit = usize::try_from(request.message_receive_limit).unwrap();
    let limit = if limit == 0 { 4 * 1024 * 1024 } else { limit };
    let routes = Routes::new(ConformanceServiceServer::new(Conformance).max_decoding_message_size(limit));
    Connect::new(routes, [DESCRIPTORS]).unwrap().with_message_limit(limit).with_native_grpc(native)
}

/// Each message has its length in front, in four bytes.
fn read() -> ServerCompatRequest {
    let mut input = std::io::stdin().lock();
    let mut length = [0; 4];
    input.read_exact(&mut length).unwrap();
    let mut message = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
    input.read_exact(&mut message).unwrap();
    ServerCompatRequest::decode(message.as_slice()).unwrap()
}

/// To the descriptor that the suite reads.
fn write(response: &ServerCompatResponse) {
    let message = response.encode_to_vec();
    let mut output = OpenOptions::new().write(true).open("/proc/self/fd/3").unwrap();
    output.write_all(&u32::try_from(message.len()).unwrap().to_be_bytes()).unwrap();
    output.write_all(&message).unwrap();
}
