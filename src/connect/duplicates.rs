//! Names that come twice in an object of JSON. RFC 8259 leaves open which of the two counts, so who checks a message and who acts on
//! it may read two different ones (RFC 7493, section 2.3, and proto3 JSON of other languages refuse them). A field has two names,
//! `pageSize` and `page_size`, which are one here.

use std::{collections::HashSet, fmt};

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};

/// Reads a value to its end, and fails at the first name that comes twice.
///
/// # Errors
/// What is wrong with the JSON, or the name.
pub(super) fn refuse(descriptor: &MessageDescriptor, json: &[u8]) -> serde_json::Result<()> {
    Walk(Some(Shape::Message(descriptor.clone()))).deserialize(&mut serde_json::Deserializer::from_slice(json))
}

/// What an object is, as far as its names are those of fields.
#[derive(Clone)]
enum Shape {
    Message(MessageDescriptor),
    /// A map, whose names are anybody's; and what its values are.
    Map(Kind),
}

#[derive(Clone)]
struct Walk(Option<Shape>);

impl Shape {
    fn of_kind(kind: &Kind) -> Option<Self> {
        // Those of protobuf itself have a JSON of their own.
        let message = kind.as_message().filter(|message| !message.full_name().starts_with("google.protobuf."))?;
        Some(Self::Message(message.clone()))
    }

    fn of_field(field: &FieldDescriptor) -> Option<Self> {
        let kind = field.kind();
        match kind.as_message() {
            Some(entry) if field.is_map() => Some(Self::Map(entry.map_entry_value_field().kind())),
            Some(_) | None => Self::of_kind(&kind),
        }
    }
}

impl<'de> DeserializeSeed<'de> for Walk {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<(), A::Error> {
        let mut seen = HashSet::new();
        while let Some(name) = object.next_key::<String>()? {
            let (name, shape) = match &self.0 {
                Some(Shape::Message(message)) => {
                    let field = message.get_field_by_json_name(&name).or_else(|| message.get_field_by_name(&name));
                    let shape = field.as_ref().and_then(Shape::of_field);
                    (field.map_or(name, |field| field.name().to_owned()), shape)
                }
                Some(Shape::Map(kind)) => (name, Shape::of_kind(kind)),
                None => (name, None),
            };
            object.next_value_seed(Walk(shape))?;
            if let Some(name) = seen.replace(name) {
                return Err(A::Error::custom(format_args!("`{name}` comes more than once")));
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(self.clone())?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    #[test]
    fn names_that_come_twice_are_found_wherever_they_are() {
        let pool = DescriptorPool::decode(tonic_types::pb::FILE_DESCRIPTOR_SET).unwrap();
        for (message, json, twice) in [
            ("google.rpc.QuotaFailure", "{}", None),
            ("google.rpc.ErrorInfo", r#"{"reason":"a","domain":"a"}"#, None),
            ("google.rpc.ErrorInfo", r#"{"reason":"a","reason":"a"}"#, Some("reason")),
            ("google.rpc.ErrorInfo", r#"{"reason":"a","\u0072eason":null}"#, Some("reason")),
            ("google.rpc.RetryInfo", r#"{"retryDelay":"1s","retry_delay":"1s"}"#, Some("retry_delay")),
            ("google.rpc.BadRequest", r#"{"fieldViolations":[{"field":"a"},{"field":"a"}]}"#, None),
            ("google.rpc.BadRequest", r#"{"fieldViolations":[{"field":"a","field":"a"}]}"#, Some("field")),
            // In a map, `retryDelay` and `retry_delay` are two.
            ("google.rpc.ErrorInfo", r#"{"metadata":{"retryDelay":"a","retry_delay":"a"}}"#, None),
            ("google.rpc.ErrorInfo", r#"{"metadata":{"a":"a","a":"b"}}"#, Some("a")),
            // And in what nobody knows.
            ("google.rpc.ErrorInfo", r#"{"new":[{"b":1,"c":[true,null,1.5,-1],"b":1}]}"#, Some("b")),
        ] {
            let found = refuse(&pool.get_message_by_name(message).unwrap(), json.as_bytes()).map_err(|e| e.to_string());
            match twice {
                None => assert_eq!(found, Ok(()), "{json}"),
                Some(name) => {
                    let said = found.expect_err(json);
                    assert!(said.starts_with(&format!("`{name}` comes more than once")), "{json}: {said}");
                }
            }
        }
    }
}
