//! proto3 JSON <-> Protobuf, by descriptors.

use bytes::Bytes;
use connectrpc::ConnectError;
use prost_reflect::{DeserializeOptions, DynamicMessage, Kind, MessageDescriptor};
use serde_json::Value;

use super::duplicates;

/// Characters of what is said of JSON that cannot be read.
const LONGEST_PROBLEM: usize = 300;

/// Reads a message. Fields that are not known are passed over: a client may be newer than the server. Values of enums that are
/// not known are not: who asks for one kind alone must not be given all. Nor may a field come twice. How deep a message may
/// nest is bounded by `serde_json`, at 128.
pub(super) fn to_message(descriptor: &MessageDescriptor, json: &[u8]) -> Result<DynamicMessage, ConnectError> {
    let message = read(descriptor, json, true).or_else(|error| {
        // What is not known is passed over in both or in neither.
        let message = read(descriptor, json, false)?;
        let value: Value = serde_json::from_slice(json)?;
        if names_unknown_enum_value(descriptor, &value) { Err(error) } else { Ok(message) }
    });
    let message = message.and_then(|message| duplicates::refuse(descriptor, json).map(|()| message));
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

fn read(descriptor: &MessageDescriptor, json: &[u8], all_known: bool) -> serde_json::Result<DynamicMessage> {
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let options = DeserializeOptions::new().deny_unknown_fields(all_known);
    let message = DynamicMessage::deserialize_with_options(descriptor.clone(), &mut deserializer, &options)?;
    deserializer.end()?;
    Ok(message)
}

/// Whether a field of the message, or of one in it, has a value that its enum has no name for.
fn names_unknown_enum_value(descriptor: &MessageDescriptor, json: &Value) -> bool {
    let Value::Object(fields) = json else { return false };
    fields.iter().any(|(name, value)| {
        let field = descriptor.get_field_by_json_name(name).or_else(|| descriptor.get_field_by_name(name));
        field.is_some_and(|field| match (field.kind(), value) {
            (Kind::Message(entry), Value::Object(entries)) if field.is_map() => {
                entries.values().any(|value| is_unknown(&entry.map_entry_value_field().kind(), value))
            }
            (kind, Value::Array(values)) if field.is_list() => values.iter().any(|value| is_unknown(&kind, value)),
            (kind, value) => is_unknown(&kind, value),
        })
    })
}

fn is_unknown(kind: &Kind, value: &Value) -> bool {
    match (kind, value) {
        (Kind::Enum(known), Value::String(name)) => known.get_value_by_name(name).is_none(),
        (Kind::Message(descriptor), value) => names_unknown_enum_value(descriptor, value),
        _ => false,
    }
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
    use prost::Message;
    use prost_reflect::DescriptorPool;

    use super::*;

    fn descriptor(name: &str) -> MessageDescriptor {
        let pool = DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
        pool.get_message_by_name(name).unwrap()
    }

    fn through(name: &str, json: &str) -> String {
        let descriptor = descriptor(name);
        let written =
            from_protobuf(&descriptor, to_message(&descriptor, json.as_bytes()).unwrap().encode_to_vec().into())
                .unwrap();
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
        let deep = format!("{}1{}", "{\"other\":".repeat(10_000), "}".repeat(10_000));
        let nested = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        for json in ["", "[]", "1", "{", "{}{}", "{} x", r#"{"reason":1}"#, r#"{"reason":"\ud800"}"#, &nested, &deep] {
            let error = to_message(&descriptor, json.as_bytes()).unwrap_err();
            assert_eq!(error.code, ErrorCode::InvalidArgument, "{json:.40}");
        }
    }

    #[test]
    fn values_of_enums_are_not_passed_over_wherever_they_are() {
        // Descriptors describe themselves: they have enums in messages, in lists of them, and alone.
        let pool = DescriptorPool::global();
        let descriptor = pool.get_message_by_name("google.protobuf.FileDescriptorProto").unwrap();
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
}
