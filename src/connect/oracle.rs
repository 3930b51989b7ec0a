//! The JSON of messages of every kind, against what prost-reflect, which others wrote, makes of them.

use std::{collections::BTreeMap, sync::Arc};

use prost::{Message, bytes::Bytes};
use prost_reflect::{DescriptorPool, DynamicMessage, FieldDescriptor, Kind, MapKey, ReflectMessage, Value};
use prost_types::{
    DescriptorProto, EnumDescriptorProto, EnumValueDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    MessageOptions, OneofDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

use super::json::{self, MessageType};

/// Each kind of field there is, and the type that its descriptor names.
const KINDS: [(Type, &str); 24] = [
    (Type::Double, ""),
    (Type::Float, ""),
    (Type::Int64, ""),
    (Type::Uint64, ""),
    (Type::Int32, ""),
    (Type::Fixed64, ""),
    (Type::Fixed32, ""),
    (Type::Bool, ""),
    (Type::String, ""),
    (Type::Bytes, ""),
    (Type::Uint32, ""),
    (Type::Sfixed32, ""),
    (Type::Sfixed64, ""),
    (Type::Sint32, ""),
    (Type::Sint64, ""),
    (Type::Enum, ".every.Colour"),
    (Type::Message, ".every.Every"),
    (Type::Message, ".google.protobuf.Timestamp"),
    (Type::Message, ".google.protobuf.Duration"),
    (Type::Message, ".google.protobuf.FieldMask"),
    (Type::Message, ".google.protobuf.Value"),
    (Type::Message, ".google.protobuf.Int64Value"),
    (Type::Message, ".google.protobuf.StringValue"),
    (Type::Message, ".google.protobuf.Any"),
];

/// A message with every kind of field: alone, optional, repeated, in a oneof, and as the values of a map.
fn every() -> DescriptorPool {
    let field = |name: String, number: usize, (kind, type_name): (Type, &str), label: Label| FieldDescriptorProto {
        name: Some(name),
        number: Some(i32::try_from(number).unwrap()),
        r#type: Some(kind.into()),
        type_name: Some(type_name.to_owned()).filter(|name| !name.is_empty()),
        label: Some(label.into()),
        ..FieldDescriptorProto::default()
    };
    let mut message = DescriptorProto { name: Some("Every".to_owned()), ..DescriptorProto::default() };
    message.oneof_decl.push(OneofDescriptorProto { name: Some("choice".to_owned()), ..Default::default() });
    for (index, kind) in KINDS.into_iter().enumerate() {
        let number = 10 * (index + 1);
        message.field.push(field(format!("one_{index}"), number, kind, Label::Optional));
        message.field.push(field(format!("many_{index}"), number + 1, kind, Label::Repeated));
        let mut choice = field(format!("choice_{index}"), number + 2, kind, Label::Optional);
        choice.oneof_index = Some(0);
        message.field.push(choice);
        let mut optional = field(format!("optional_{index}"), number + 3, kind, Label::Optional);
        optional.proto3_optional = Some(true);
        optional.oneof_index = Some(i32::try_from(index + 1).unwrap());
        message.field.push(optional);
        message
            .oneof_decl
            .push(OneofDescriptorProto { name: Some(format!("_optional_{index}")), ..Default::default() });
        let entry = format!("Map{index}Entry");
        let of_map = (Type::Message, format!(".every.Every.{entry}"));
        message.field.push(field(format!("map_{index}"), number + 4, (of_map.0, &of_map.1), Label::Repeated));
        message.nested_type.push(DescriptorProto {
            name: Some(entry),
            field: vec![
                field("key".to_owned(), 1, (Type::String, ""), Label::Optional),
                field("value".to_owned(), 2, kind, Label::Optional),
            ],
            options: Some(MessageOptions { map_entry: Some(true), ..MessageOptions::default() }),
            ..DescriptorProto::default()
        });
    }
    let value = |name: &str, number| EnumValueDescriptorProto {
        name: Some(name.to_owned()),
        number: Some(number),
        ..EnumValueDescriptorProto::default()
    };
    let colours = EnumDescriptorProto {
        name: Some("Colour".to_owned()),
        value: vec![value("NONE", 0), value("RED", 1), value("BELOW", -1)],
        ..EnumDescriptorProto::default()
    };
    let mut pool = DescriptorPool::global();
    let dependency = pool.files().map(|file| file.name().to_owned()).collect();
    let file = FileDescriptorProto {
        name: Some("every.proto".to_owned()),
        package: Some("every".to_owned()),
        syntax: Some("proto3".to_owned()),
        message_type: vec![message],
        enum_type: vec![colours],
        dependency,
        ..FileDescriptorProto::default()
    };
    pool.add_file_descriptor_proto(file).unwrap();
    pool
}

/// Values that a field of this kind may have, at the ends of what it may.
fn values(pool: &DescriptorPool, kind: &Kind) -> Vec<Value> {
    let message = |name: &str, json: &str| {
        let descriptor = pool.get_message_by_name(name).unwrap();
        DynamicMessage::deserialize(descriptor, &mut serde_json::Deserializer::from_str(json)).unwrap()
    };
    let messages =
        |name: &str, all: &[&str]| all.iter().map(|json| Value::Message(message(name, json))).collect::<Vec<_>>();
    match kind {
        Kind::Double => [0.0, -0.0, 1.5, 1e300, 5e-324, f64::MAX, f64::NAN, f64::INFINITY, f64::NEG_INFINITY]
            .map(Value::F64)
            .to_vec(),
        // Others write fewer digits of the rest.
        Kind::Float => [0.0, 1.5, 16_777_216.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY].map(Value::F32).to_vec(),
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => [0, 1, -1, i32::MIN, i32::MAX].map(Value::I32).to_vec(),
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => [0, 1, -1, i64::MIN, i64::MAX].map(Value::I64).to_vec(),
        Kind::Uint32 | Kind::Fixed32 => [0, 1, u32::MAX].map(Value::U32).to_vec(),
        Kind::Uint64 | Kind::Fixed64 => [0, 1, u64::MAX].map(Value::U64).to_vec(),
        Kind::Bool => [false, true].map(Value::Bool).to_vec(),
        Kind::String => ["", "a", "\"\\\n\u{0}\u{1f}\u{7f}", "\u{2028}é漢😀", "</script>"]
            .map(|text| Value::String(text.to_owned()))
            .to_vec(),
        Kind::Bytes => [&b""[..], b"a", b"ab", b"abc", b"\xff\xfe\xfd\xfb"]
            .map(|bytes| Value::Bytes(Bytes::from_static(bytes)))
            .to_vec(),
        Kind::Enum(_) => [0, 1, -1, 7].map(Value::EnumNumber).to_vec(),
        Kind::Message(of) => match of.full_name() {
            name @ "every.Every" => messages(name, &["{}", r#"{"one8":"deeper","many4":[1,0]}"#]),
            name @ "google.protobuf.Timestamp" => messages(
                name,
                &[
                    r#""1970-01-01T00:00:00Z""#,
                    r#""0001-01-01T00:00:00Z""#,
                    r#""9999-12-31T23:59:59.999999999Z""#,
                    r#""1969-12-31T23:59:59.5Z""#,
                    r#""2024-02-29T12:00:00.000001Z""#,
                ],
            ),
            name @ "google.protobuf.Duration" => {
                messages(name, &[r#""0s""#, r#""1.5s""#, r#""-0.000000001s""#, r#""315576000000s""#, r#""-3.000001s""#])
            }
            name @ "google.protobuf.FieldMask" => messages(name, &[r#""""#, r#""a,bC.dE""#]),
            name @ "google.protobuf.Value" => {
                messages(name, &["null", "true", "1.5", r#""a""#, "[null,[],{}]", r#"{"a":{"b":[1]}}"#])
            }
            name @ "google.protobuf.Int64Value" => messages(name, &[r#""0""#, r#""-9223372036854775808""#]),
            name @ "google.protobuf.StringValue" => messages(name, &[r#""""#, r#""a""#]),
            name @ "google.protobuf.Any" => messages(
                name,
                &[
                    r#"{"@type":"type.googleapis.com/google.protobuf.Duration","value":"1s"}"#,
                    r#"{"@type":"type.googleapis.com/every.Every","one4":1}"#,
                ],
            ),
            other => panic!("no values of {other}"),
        },
    }
}

/// Messages with one field, of each kind and value.
fn messages(pool: &DescriptorPool) -> Vec<DynamicMessage> {
    let every = pool.get_message_by_name("every.Every").unwrap();
    let mut all = vec![DynamicMessage::new(every.clone())];
    for field in every.fields() {
        all.extend(samples(pool, &field).into_iter().map(|value| {
            let mut message = DynamicMessage::new(every.clone());
            message.set_field(&field, value);
            message
        }));
    }
    all
}

fn samples(pool: &DescriptorPool, field: &FieldDescriptor) -> Vec<Value> {
    let kind = field.kind();
    if let Some(entry) = kind.as_message().filter(|_| field.is_map()) {
        let named = |value| Value::Map([(MapKey::String("a.B_c\"".to_owned()), value)].into());
        // As a value of a map, a zero loses its sign.
        let is_negative_zero =
            |value: &Value| matches!(value, Value::F64(zero) if zero.to_bits() == (-0.0_f64).to_bits());
        let values = values(pool, &entry.map_entry_value_field().kind()).into_iter();
        return values.filter(|value| !is_negative_zero(value)).map(named).collect();
    }
    let values = values(pool, &kind);
    if field.is_list() { vec![Value::List(values)] } else { values }
}

fn as_ours(pool: &DescriptorPool) -> MessageType {
    let own = buffa_descriptor::DescriptorPool::decode(&pool.encode_to_vec()).unwrap();
    let index = own.message_index("every.Every").unwrap();
    MessageType { pool: Arc::new(own), index }
}

#[test]
fn what_is_written_and_read_is_what_others_write_and_read() {
    let pool = every();
    let own = as_ours(&pool);
    let messages = messages(&pool);
    assert!(messages.len() > 300, "{}", messages.len());
    for message in messages {
        let encoded = message.encode_to_vec();
        let written = json::from_protobuf(&own, &encoded).unwrap();
        let text = str::from_utf8(&written).unwrap();
        assert_eq!(text, serde_json::to_string(&message).unwrap(), "{message}");
        // Which default values are written, in maps, is anybody's choice: others' reading of it is the same.
        let read = json::to_message(&own, &written).unwrap().encode_to_vec();
        let read = DynamicMessage::decode(message.descriptor(), read.as_slice()).unwrap();
        assert_eq!(read.encode_to_vec(), encoded, "{text}");
    }
}

/// Texts that the two take differently, and what proto3 JSON says of them.
const TAKEN_DIFFERENTLY: [&str; 8] = [
    // A zero with a sign is one of its own.
    "-0",
    // Whole numbers may be written as such with a fraction of 0 and an exponent, in quotes as well as without.
    r#""1.0""#,
    r#""1e2""#,
    // One more than there is: prost-reflect makes it the most.
    "18446744073709551616",
    // Times are in nanoseconds: prost-reflect leaves away what is less.
    r#""2024-01-01T00:00:00.0000000001Z""#,
    r#""1.0000000001s""#,
    // Nothing after the point is not meant to be one, and harms nobody.
    r#""1.s""#,
    // An Any without a type is empty.
    "{}",
];

#[test]
fn odd_texts_are_taken_as_others_take_them() {
    let pool = every();
    let own = as_ours(&pool);
    let descriptor = pool.get_message_by_name("every.Every").unwrap();
    #[rustfmt::skip]
    let odd = [
        "null", "true", "0", "1", "1.0", "1e2", "1.5", "0.1", "3.4028235e38", "1e39", "-1", "1e400", "2147483648", "9223372036854775808",
        r#""""#, r#""1""#, r#"" 1""#, r#""1 ""#, r#""+1""#, r#""01""#, r#""0x1""#, r#""NaN""#, r#""nan""#, r#""-Infinity""#,
        r#""inf""#, r#""true""#, r#""RED""#, r#""red""#, r#""YQ==""#, r#""YQ""#, r#""-_8=""#, r#""-_8""#, r#""+/8""#, r#""Y Q""#,
        r#""Y""#, r#""1s""#, r#"".5s""#, r#""-1.5s""#, r#""315576000001s""#, r#""2024-01-01T00:00:00Z""#,
        r#""2024-01-01T00:00:00+01:00""#, r#""2024-01-01t00:00:00z""#, r#""2024-01-01T24:00:00Z""#,
        r#""2024-02-30T00:00:00Z""#, r#""2024-01-01T00:00:00""#, r#""2024-01-01""#, r#""0000-01-01T00:00:00Z""#,
        r#""10000-01-01T00:00:00Z""#, r#""a_b""#, "[]", "[null]", r#"[1,"1"]"#,
    ];
    let mut differ = BTreeMap::new();
    for field in descriptor.fields().filter(|field| field.name().starts_with("one_")) {
        // It takes nearly every text for a name of a field.
        if field.kind().as_message().is_some_and(|message| message.full_name() == "google.protobuf.FieldMask") {
            continue;
        }
        for value in odd.into_iter().chain(TAKEN_DIFFERENTLY) {
            let text = format!("{{\"{}\":{value}}}", field.json_name());
            let theirs =
                DynamicMessage::deserialize(descriptor.clone(), &mut serde_json::Deserializer::from_str(&text));
            let theirs = theirs.ok().map(|message| message.encode_to_vec());
            let ours = json::to_message(&own, text.as_bytes()).ok().map(|message| message.encode_to_vec());
            if theirs != ours {
                differ.insert(value, format!("{:?} {text}: {theirs:?}, {ours:?}", field.kind()));
            }
        }
    }
    let mut known = TAKEN_DIFFERENTLY.to_vec();
    known.sort_unstable();
    assert_eq!(differ.keys().copied().collect::<Vec<_>>(), known, "{differ:#?}");
}
