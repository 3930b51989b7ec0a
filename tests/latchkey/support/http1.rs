//! HTTP/1.1 by hand, for what no client of good manners sends.

use std::net::Ipv4Addr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use super::SOON;

/// Sends these bytes, then reads until the server closes the connection.
pub async fn send(address: &str, bytes: &[u8]) -> String {
    exchange(TcpStream::connect(address).await.unwrap(), bytes).await
}

/// The same from another of the machine's own addresses.
pub async fn send_from(from: Ipv4Addr, address: &str, bytes: &[u8]) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    exchange(socket.connect(address.parse().unwrap()).await.unwrap(), bytes).await
}

async fn exchange(mut stream: TcpStream, bytes: &[u8]) -> String {
    // A server that refuses what comes may close before all of it has.
    let _ = stream.write_all(bytes).await;
    read_to_end(&mut stream).await
}

/// Reads until the other side closes, or breaks off.
pub async fn read_to_end(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let reading = async {
        let mut buffer = [0_u8; 4096];
        while let Ok(1..) = stream.read(&mut buffer).await.inspect(|count| answer.extend_from_slice(&buffer[..*count]))
        {
        }
    };
    tokio::time::timeout(SOON, reading).await.expect("the server closes the connection in time");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Gets a page on a connection of its own.
pub async fn get(address: &str, path: &str, headers: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n{headers}\r\n");
    send(address, request.as_bytes()).await
}
