//! The methods that there are, as their descriptors say.

use std::{collections::HashMap, sync::Arc};

use buffa::DecodeOptions;
use buffa_descriptor::{
    DescriptorPool, PoolError,
    generated::descriptor::{FileDescriptorSet, method_options::IdempotencyLevel},
};
use connectrpc::{MethodDescriptor, MethodKind};
use http::{Uri, uri::InvalidUri};

use super::{json::MessageType, page_query::Pagination};

/// The descriptors do not say what is served.
#[derive(Debug, thiserror::Error)]
pub enum InvalidDescriptors {
    /// They are no descriptors, or do not go together.
    #[error("the descriptors are not complete: {0}")]
    Descriptors(#[from] PoolError),
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
    pub(super) input: MessageType,
    pub(super) output: MessageType,
    /// Where its input says which page of a list is wanted, if it lists.
    pub(super) pagination: Option<Pagination>,
}

/// Every method, by its path without the slash in front: `package.Service/Method`.
#[derive(Debug, Clone)]
pub(super) struct Methods {
    by_path: Arc<HashMap<String, Arc<Method>>>,
    pool: Arc<DescriptorPool>,
}

impl Methods {
    /// Reads encoded `google.protobuf.FileDescriptorSet`s. Files that more than one of them has count once.
    pub(super) fn read<'a>(sets: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, InvalidDescriptors> {
        let mut pool = DescriptorPool::default();
        // Whoever serves has made them.
        let options = DecodeOptions::new().with_element_memory_limit(usize::MAX);
        for set in sets {
            let set: FileDescriptorSet = options.decode_from_slice(set).map_err(PoolError::from)?;
            pool.add_file_descriptor_set(set)?;
        }
        let pool = Arc::new(pool);
        let message_type = |index| MessageType { pool: Arc::clone(&pool), index };
        let mut by_path = HashMap::new();
        for service in pool.services() {
            for method in service.methods() {
                let path = format!("{}/{}", service.full_name(), method.name());
                let level = method.options().and_then(|options| options.idempotency_level);
                let kind = match (method.is_client_streaming(), method.is_server_streaming()) {
                    (false, false) => MethodKind::Unary,
                    (false, true) => MethodKind::ServerStreaming,
                    (true, false) => MethodKind::ClientStreaming,
                    (true, true) => MethodKind::BidiStreaming,
                };
                // Only what has no side effects may be asked for by GET, and only if one message is asked for one.
                let by_get = kind == MethodKind::Unary && level == Some(IdempotencyLevel::NO_SIDE_EFFECTS);
                let input = message_type(method.input());
                let method = Method {
                    descriptor: MethodDescriptor::from_kind(kind).with_idempotent(by_get),
                    uri: format!("/{path}").parse()?,
                    pagination: Pagination::of(&input),
                    input,
                    output: message_type(method.output()),
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

    /// The type of this name, if the descriptors have it.
    pub(super) fn message_type(&self, name: &str) -> Option<MessageType> {
        Some(MessageType { pool: Arc::clone(&self.pool), index: self.pool.message_index(name)? })
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
