//! A gRPC service that knows nothing of tokens: Latchkey's layer stands in front of it.
//!
//!     LATCHKEY_URL=http://127.0.0.1:8080 LATCHKEY_TOKEN=… GREETER_LISTEN=127.0.0.1:50051 cargo run

use std::{
    env,
    error::Error,
    sync::{Mutex, PoisonError},
};

use latchkey::remote::{AuthLayer, Caller, RemoteVerifier};
use tonic::{
    Request, Response, Status,
    transport::{Server, server::TcpIncoming},
};

use pb::{
    GreetRequest, GreetResponse, SetGreetingRequest, SetGreetingResponse,
    greeter_service_server::{GreeterService, GreeterServiceServer},
};

mod pb {
    tonic::include_proto!("greeter.v1");
}

struct Greeter {
    greeting: Mutex<String>,
}

#[tonic::async_trait]
impl GreeterService for Greeter {
    async fn greet(&self, request: Request<GreetRequest>) -> Result<Response<GreetResponse>, Status> {
        let caller = request.extensions().get::<Caller>().ok_or(Status::internal("nobody was verified"))?;
        let greeting = self.greeting.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok(Response::new(GreetResponse { text: format!("{greeting}, {}", caller.principal_id()) }))
    }

    async fn set_greeting(
        &self,
        request: Request<SetGreetingRequest>,
    ) -> Result<Response<SetGreetingResponse>, Status> {
        *self.greeting.lock().unwrap_or_else(PoisonError::into_inner) = request.into_inner().greeting;
        Ok(Response::new(SetGreetingResponse {}))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let variable = |name| env::var(name).map_err(|error| format!("{name}: {error}"));
    let verifier = RemoteVerifier::connect(&variable("LATCHKEY_URL")?, &variable("LATCHKEY_TOKEN")?)?;
    let layer = AuthLayer::new(verifier).read("/greeter.v1.GreeterService/Greet");
    let greeter = Greeter { greeting: Mutex::new("Hello".to_owned()) };
    let incoming = TcpIncoming::bind(variable("GREETER_LISTEN")?.parse()?)?;
    println!("greeter listens on http://{}", incoming.local_addr()?);
    Server::builder()
        .layer(layer)
        .add_service(GreeterServiceServer::new(greeter))
        .serve_with_incoming(incoming)
        .await?;
    Ok(())
}
