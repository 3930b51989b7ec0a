//! What the server in this process does not serve, since the client does not call it.

/// Methods of a service's implementation that answer UNIMPLEMENTED, written as `async_trait` writes its own.
macro_rules! unserved {
    ($($method:ident: $request:ty => $response:ty;)*) => {$(
        fn $method<'life0, 'async_trait>(
            &'life0 self,
            _: tonic::Request<$request>,
        ) -> std::pin::Pin<
            Box<dyn Future<Output = Result<tonic::Response<$response>, tonic::Status>> + Send + 'async_trait>,
        >
        where
            'life0: 'async_trait,
            Self: 'async_trait,
        {
            Box::pin(std::future::ready(Err(tonic::Status::unimplemented(stringify!($method)))))
        }
    )*};
}

pub(crate) use unserved;
