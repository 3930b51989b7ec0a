//! proto3 JSON <-> Protobuf, by descriptors.

use bytes::Bytes;
use connectrpc::ConnectError;
use prost::Message;
use prost_reflect::{DeserializeOptions, DynamicMessage, MessageDescriptor};

/// Reads a message. Fields that are not known are passed over: a client may be newer than the server. How deep it may nest
/// is bounded by `serde_json`, at 128.
pub(super) fn to_protobuf(descriptor: &MessageDescriptor, json: &[u8]) -> Result<Bytes, ConnectError> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(false);
    let message = DynamicMessage::deserialize_with_options(descriptor.clone(), &mut deserializer, &options)
        .and_then(|message| deserializer.end().map(|()| message))
        .map_err(|error| ConnectError::invalid_argument(format!("the message is not what the RPC takes: {error}")))?;
    Ok(message.encode_to_vec().into())
}

/// Writes a message. Fields that have no value, or their type's default, are left out.
pub(super) fn from_protobuf(descriptor: &MessageDescriptor, message: Bytes) -> Result<Bytes, ConnectError> {
    let message = DynamicMessage::decode(descriptor.clone(), message)
        .map_err(|error| ConnectError::internal(format!("the answer cannot be read: {error}")))?;
    serde_json::to_vec(&message)
        .map(Bytes::from)
        .map_err(|error| ConnectError::internal(format!("the answer cannot be written in JSON: {error}")))
}

#[cfg(test)]
mod tests {
    use connectrpc::ErrorCode;
    use prost_reflect::DescriptorPool;

    use super::*;

    fn descriptor(name: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
        pool.get_message_by_name(name).unwrap()
    }

    fn through(name: &str, json: &str) -> String {
        let descriptor = descriptor(name);
        let written = from_protobuf(&descriptor, to_protobuf(&descriptor, json.as_bytes()).unwrap()).unwrap();
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
        let deep = format!("{}{}", "{\"other\":".repeat(10_000), "}".repeat(10_000));
        let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for json in ["", "[]", "1", "{", "{}{}", "{} x", r#"{"reason":1}"#, r#"{"reason":"\ud800"}"#, &nested] {
            let error = to_protobuf(&descriptor, json.as_bytes()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{json:.40}");
        }
        // What is passed over may be deep; it is not read, and takes no stack.
        let _ = to_protobuf(&descriptor, deep.as_bytes());
    }
}
