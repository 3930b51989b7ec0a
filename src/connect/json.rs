//! proto3 JSON <-> Protobuf, by descriptors.

use std::sync::Arc;

use buffa::DecodeOptions;
use buffa_descriptor::{
    DescriptorPool, MessageIndex,
    reflect::{DynamicMessage, DynamicMessageSeed},
};
use bytes::Bytes;
use connectrpc::ConnectError;
use serde::de::DeserializeSeed;

/// Characters of what is said of JSON that cannot be read.
const LONGEST_PROBLEM: usize = 300;

/// A type of message.
#[derive(Debug, Clone)]
pub(super) struct MessageType {
    pub(super) pool: Arc<DescriptorPool>,
    pub(super) index: MessageIndex,
}

/// Reads a message. Fields that are not known are passed over: a client may be newer than the server. Values of enums that are
/// not known are not: who asks for one kind alone must not be given all. Nor may a field come twice, under either of its names:
/// RFC 8259 leaves open which of the two counts, so who checks a message and who acts on it might read two different ones. How
/// deep a message may nest is bounded by `serde_json`, at 128.
pub(super) fn to_message(message: &MessageType, json: &[u8]) -> Result<DynamicMessage, ConnectError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let seed = DynamicMessageSeed::new(Arc::clone(&message.pool), message.index).ignore_unknown_fields(true);
    let message = seed.deserialize(&mut deserializer).and_then(|message| deserializer.end().map(|()| message));
    message.map_err(|error| {
        let problem = brief(error.to_string());
        ConnectError::invalid_argument(format!("the message is not what the RPC takes: {problem}"))
    })
}

/// What is wrong may name what was sent, however long that is; and gRPC says it in a header.
fn brief(mut problem: String) -> String {
    if let Some((end, _)) = problem.char_indices().nth(LONGEST_PROBLEM) {
        problem.truncate(end);
        problem.push('…');
    }
    problem
}

/// Writes a message. Fields that have no value, or their type's default, are left out.
pub(super) fn from_protobuf(message: &MessageType, encoded: &[u8]) -> Result<Bytes, ConnectError> {
    // It comes from a handler: what it may fill was bounded there.
    let options = DecodeOptions::new().with_element_memory_limit(usize::MAX);
    let message = DynamicMessage::decode_with_options(Arc::clone(&message.pool), message.index, encoded, &options)
        .map_err(|error| ConnectError::internal(format!("the answer cannot be read: {error}")))?;
    serde_json::to_vec(&message)
        .map(Bytes::from)
        .map_err(|error| ConnectError::internal(format!("the answer cannot be written in JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use connectrpc::ErrorCode;

    use super::*;

    fn of(set: &[u8], name: &str) -> MessageType {
        let pool = DescriptorPool::decode(set).unwrap();
        let index = pool.message_index(name).unwrap();
        MessageType { pool: Arc::new(pool), index }
    }

    fn descriptor(name: &str) -> MessageType {
        of(tonic_types::pb::FILE_DESCRIPTOR_SET, name)
    }

    fn through(name: &str, json: &str) -> String {
        let descriptor = descriptor(name);
        let message = to_message(&descriptor, json.as_bytes()).unwrap();
        let written = from_protobuf(&descriptor, &message.encode_to_vec()).unwrap();
        String::from_utf8(written.to_vec()).unwrap()
    }

    #[test]
    fn defaults_are_left_out_and_unknown_fields_passed_over() {
        assert_eq!(through("google.rpc.ErrorInfo", r#"{"reason":"R","domain":"","other":[{}]}"#), r#"{"reason":"R"}"#);
        assert_eq!(through("google.rpc.ErrorInfo", r#"{"metadata":{"a":"b"}}"#), r#"{"metadata":{"a":"b"}}"#);
        assert_eq!(through("google.rpc.RetryInfo", r#"{"retryDelay":"1.500s"}"#), r#"{"retryDelay":"1.500s"}"#);
        assert_eq!(through("google.rpc.RetryInfo", r#"{"retry_delay":"1s"}"#), r#"{"retryDelay":"1s"}"#);
    }

    #[test]
    fn what_is_no_message_is_an_invalid_argument() {
        let descriptor = descriptor("google.rpc.ErrorInfo");
        let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for json in ["", "[]", "1", "{", "{}{}", "{} x", r#"{"reason":1}"#, r#"{"reason":"\ud800"}"#, &nested] {
            let error = to_message(&descriptor, json.as_bytes()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{json:.40}");
        }
    }

    #[test]
    fn depth_is_bounded_where_it_is_read_and_no_matter_where_it_is_passed_over() {
        let own = prost_reflect::DescriptorPool::global().encode_to_vec();
        let nested =
            |name: &str, depth: usize| format!("{}null{}", format!("{{\"{name}\":").repeat(depth), "}".repeat(depth));
        let descriptor = of(&own, "google.protobuf.DescriptorProto");
        let lists = |depth: usize| format!("{}{}", "{\"nestedType\":[".repeat(depth), "]}".repeat(depth));
        assert!(to_message(&descriptor, lists(20).as_bytes()).is_ok());
        assert_eq!(to_message(&descriptor, lists(10_000).as_bytes()).unwrap_err().code, ErrorCode::InvalidArgument);
        assert!(to_message(&descriptor, nested("new", 10_000).as_bytes()).is_ok());
    }

    #[test]
    fn values_of_enums_are_not_passed_over_wherever_they_are() {
        // Descriptors describe themselves: they have enums in messages, in lists of them, and alone.
        let own = prost_reflect::DescriptorPool::global().encode_to_vec();
        let descriptor = of(&own, "google.protobuf.FileDescriptorProto");
        for (json, is_known) in [
            (r#"{"options":{"optimizeFor":"SPEED"},"new":"NO_SUCH"}"#, true),
            (r#"{"options":{"optimizeFor":"NO_SUCH"}}"#, false),
            (r#"{"options":{"optimize_for":"NO_SUCH"},"new":1}"#, false),
            (r#"{"messageType":[{"field":[{"type":"TYPE_BOOL","new":1}]}]}"#, true),
            (r#"{"messageType":[{"field":[{"type":"TYPE_BOOL"},{"type":"TYPE_NO_SUCH"}]}]}"#, false),
        ] {
            assert_eq!(to_message(&descriptor, json.as_bytes()).is_ok(), is_known, "{json}");
        }
    }

    #[test]
    fn fields_that_come_twice_are_refused_wherever_they_are() {
        for (message, json, is_twice) in [
            ("google.rpc.ErrorInfo", r#"{"reason":"a","domain":"a"}"#, false),
            ("google.rpc.ErrorInfo", r#"{"reason":"a","reason":"a"}"#, true),
            ("google.rpc.ErrorInfo", r#"{"reason":"a","\u0072eason":null}"#, true),
            ("google.rpc.RetryInfo", r#"{"retryDelay":"1s","retry_delay":"1s"}"#, true),
            ("google.rpc.BadRequest", r#"{"fieldViolations":[{"field":"a"},{"field":"a"}]}"#, false),
            ("google.rpc.BadRequest", r#"{"fieldViolations":[{"field":"a","field":"a"}]}"#, true),
            // In a map, `retryDelay` and `retry_delay` are two.
            ("google.rpc.ErrorInfo", r#"{"metadata":{"retryDelay":"a","retry_delay":"a"}}"#, false),
        ] {
            let problem = to_message(&descriptor(message), json.as_bytes()).err().map(|error| error.to_string());
            assert_eq!(
                problem.as_ref().is_some_and(|said| said.contains("duplicate field")),
                is_twice,
                "{json}: {problem:?}"
            );
        }
    }
}
