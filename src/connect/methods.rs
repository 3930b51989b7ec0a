//! The methods that there are, as their descriptors say.

use std::{collections::HashMap, sync::Arc};

use connectrpc::{MethodDescriptor, MethodKind};
use http::{Uri, uri::InvalidUri};
use prost_reflect::{DescriptorError, DescriptorPool, MessageDescriptor};
use prost_types::method_options::IdempotencyLevel;

use super::page_query::Pagination;

/// The descriptors do not say what is served.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDescriptors {
    /// They are no descriptors, or do not go together.
    #[error("the descriptors are not complete: {0}")]
    Descriptors(#[from] DescriptorError),
    /// A name that no path can hold.
    #[error("a method has a name that is no path: {0}")]
    Path(#[from] InvalidUri),
}

/// One method.
#[derive(Debug)]
pub(super) struct Method {
    /// What the engine needs to know of it.
    pub(super) descriptor: MethodDescriptor,
    /// Where tonic serves it.
    pub(super) uri: Uri,
    pub(super) input: MessageDescriptor,
    pub(super) output: MessageDescriptor,
    /// Where its input says which page of a list is wanted, if it lists.
    pub(super) pagination: Option<Pagination>,
}

/// Every method, by its path without the slash in front: `package.Service/Method`.
#[derive(Debug, Clone)]
pub(super) struct Methods {
    by_path: Arc<HashMap<String, Arc<Method>>>,
    pool: DescriptorPool,
}

impl Methods {
    /// Reads encoded `google.protobuf.FileDescriptorSet`s. Files that more than one of them has count once.
    pub(super) fn read<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, InvalidDescriptors> {
        let mut pool = DescriptorPool::new();
        for set in sets {
            pool.decode_file_descriptor_set(set)?;
        }
        let mut by_path = HashMap::new();
        for service in pool.services() {
            for method in service.methods() {
                let path = format!("{}/{}", service.full_name(), method.name());
                let options = method.method_descriptor_proto().options.as_ref();
                let level = options.map(prost_types::MethodOptions::idempotency_level);
                let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                    (false, false) => MethodKind::Unary,
                    (false, true) => MethodKind::ServerStreaming,
                    (true, false) => MethodKind::ClientStreaming,
                    (true, true) => MethodKind::BidiStreaming,
                };
                // Only what has no side effects may be asked for by GET, and only if one message is asked for one.
                let by_get = kind == MethodKind::Unary && level == Some(IdempotencyLevel::NoSideEffects);
                let method = Method {
                    descriptor: MethodDescriptor::from_kind(kind).with_idempotent(by_get),
                    uri: format!("/{path}").parse()?,
                    input: method.input(),
                    output: method.output(),
                    pagination: Pagination::of(&method.input()),
                };
                by_path.insert(path, Arc::new(method));
            }
        }
        Ok(Self { by_path: Arc::new(by_path), pool })
    }

    /// The method of a path without the slash in front.
    pub(super) fn get(&self, path: &str) -> Option<&Arc<Method>> {
        self.by_path.get(path)
    }

    /// Every type that the descriptors name.
    pub(super) const fn pool(&self) -> &DescriptorPool {
        &self.pool
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Methods {
        // The same set twice: who brings descriptors of several crates need not know what they share.
        Methods::read([tonic_health::pb::FILE_DESCRIPTOR_SET, tonic_health::pb::FILE_DESCRIPTOR_SET]).unwrap()
    }

    #[test]
    fn methods_are_found_by_their_whole_path() {
        let methods = health();
        assert_eq!(methods.get("grpc.health.v1.Health/Check").unwrap().descriptor.kind, MethodKind::Unary);
        assert_eq!(methods.get("grpc.health.v1.Health/Watch").unwrap().descriptor.kind, MethodKind::ServerStreaming);
        for other in ["", "grpc.health.v1.Health", "/grpc.health.v1.Health/Check", "grpc.health.v1.Health/check"] {
            assert!(methods.get(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_does_not_say_that_it_has_no_side_effects_is_not_asked_for_by_get() {
        assert!(!health().get("grpc.health.v1.Health/Check").unwrap().descriptor.idempotent);
    }

    #[test]
    fn nonsense_is_no_descriptor_set() {
        assert!(matches!(Methods::read([b"nonsense".as_slice()]), Err(InvalidDescriptors::Descriptors(_))));
    }
}
