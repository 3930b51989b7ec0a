//! The wire contract: messages, clients and servers generated from `proto/`.

#![allow(
    missing_docs,
    unused_qualifications,
    unreachable_pub,
    clippy::all,
    clippy::missing_errors_doc,
    clippy::restriction,
    reason = "generated code"
)]

mod secrets;

/// `gitpod.v1`: tokens, users, environments, audit logs.
pub mod gitpod {
    /// The one version there is.
    pub mod v1 {
        tonic::include_proto!("gitpod.v1");
    }
}

/// `supervisor.v1`: the operations inside an environment.
pub mod supervisor {
    /// The one version there is.
    pub mod v1 {
        tonic::include_proto!("supervisor.v1");
    }
}

/// `envoy.service.auth.v3`: what Envoy asks about requests.
pub mod envoy {
    /// Envoy has more.
    pub mod service {
        /// Envoy has more.
        pub mod auth {
            /// The one version there is.
            pub mod v3 {
                tonic::include_proto!("envoy.service.auth.v3");
            }
        }
    }
}

/// Every file of the contract and what it imports, as a serialized `google.protobuf.FileDescriptorSet`.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
