//! Calls of any RPC by its path, with any headers.

use std::net::IpAddr;

use http::uri::PathAndQuery;
use tonic::{
    Code, Request, Status,
    metadata::{Ascii, MetadataKey, MetadataMap, MetadataValue},
    transport::{Channel, Endpoint},
};
use tonic_prost::ProstCodec;

/// The RPC that asks for nothing but a good token.
pub const WHOAMI: &str = "/gitpod.v1.IdentityService/GetAuthenticatedIdentity";

/// A connection over which RPCs are called by their paths, with empty messages.
#[derive(Clone)]
pub struct Caller(Channel);

impl Caller {
    pub async fn connect(url: &str) -> Self {
        Self(Endpoint::from_shared(url.to_owned()).unwrap().connect().await.unwrap())
    }

    /// The same from another of the machine's own addresses.
    pub async fn connect_from(address: IpAddr, url: &str) -> Self {
        let endpoint = Endpoint::from_shared(url.to_owned()).unwrap().local_address(Some(address));
        Self(endpoint.connect().await.unwrap())
    }

    /// The connection, for clients of other services.
    pub fn channel(&self) -> Channel {
        self.0.clone()
    }

    /// Calls an RPC that takes one message, with these values of the authorization header. Waits for the beginning of the answer
    /// alone: a stream may have no end.
    pub async fn call(&self, path: &str, authorization: &[&[u8]]) -> Result<MetadataMap, Status> {
        let mut client = tonic::client::Grpc::new(self.0.clone());
        client.ready().await.unwrap();
        let mut request = Request::new(());
        for value in authorization {
            let value = MetadataValue::<Ascii>::try_from(*value).unwrap();
            request.metadata_mut().append(MetadataKey::from_static("authorization"), value);
        }
        let path = PathAndQuery::try_from(path.to_owned()).unwrap();
        let answer = client.server_streaming(request, path, ProstCodec::<(), ()>::default()).await?;
        Ok(answer.metadata().clone())
    }

    /// Calls an RPC with a token.
    pub async fn call_with_token(&self, path: &str, token: &str) -> Result<MetadataMap, Status> {
        self.call(path, &[format!("Bearer {token}").as_bytes()]).await
    }
}

/// Everything that an answer tells a client, but for what names this very answer.
pub fn told(status: &Status) -> (Code, String, Vec<u8>, Vec<String>) {
    let mut keys: Vec<String> = status.metadata().clone().into_headers().keys().map(ToString::to_string).collect();
    keys.sort();
    (status.code(), status.message().to_owned(), status.details().to_vec(), keys)
}
