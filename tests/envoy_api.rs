//! Our part of Envoy's API against the descriptors inside of Envoy: whatever we have is the same on the wire.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by breaking off")]

use std::{collections::BTreeMap, fs, path::Path};

use prost::Message;
use prost_types::{DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet};

const OURS: &str = "envoy/service/auth/v3/external_auth.proto";

/// Where Envoy has what is in our one file.
const THEIRS: [&str; 6] = [
    OURS,
    "envoy/service/auth/v3/attribute_context.proto",
    "envoy/config/core/v3/address.proto",
    "envoy/config/core/v3/base.proto",
    "envoy/type/v3/http_status.proto",
    "google/rpc/status.proto",
];

#[test]
fn what_we_have_of_envoys_api_is_as_envoy_has_it() {
    let ours = ours();
    let theirs = theirs();
    let different: Vec<&String> = ours.iter().filter(|one| !theirs.contains(one)).collect();
    assert!(different.is_empty(), "not so in Envoy: {different:#?}");
    assert!(ours.len() > 40, "only {} lines: is this our file?", ours.len());
}

/// A comparison that compares nothing would find no difference.
#[test]
fn a_difference_is_found() {
    let theirs = theirs();
    for (change, expected) in [
        (("headers_to_remove", 5), "OkHttpResponse.headers_to_remove = 9: Repeated String"),
        (("header_map", 13), "AttributeContext.HttpRequest.header_map = 9: Optional HeaderMap"),
    ] {
        let ((name, number), mut file) = (change, our_file());
        let field = fields(&mut file.message_type).into_iter().find(|field| field.name() == name).unwrap();
        assert_eq!(field.number(), number);
        field.number = Some(9);
        let different: Vec<String> = lines(&file).into_iter().filter(|one| !theirs.contains(one)).collect();
        assert_eq!(different, [expected]);
    }
}

fn fields(messages: &mut [DescriptorProto]) -> Vec<&mut FieldDescriptorProto> {
    let mut found = Vec::new();
    for DescriptorProto { field, nested_type, .. } in messages {
        found.extend(field.iter_mut().chain(fields(nested_type)));
    }
    found
}

fn our_file() -> FileDescriptorProto {
    let all = FileDescriptorSet::decode(latchkey::pb::FILE_DESCRIPTOR_SET).unwrap();
    all.file.into_iter().find(|file| file.name() == OURS).expect("the file is there")
}

fn ours() -> Vec<String> {
    lines(&our_file())
}

fn theirs() -> Vec<String> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/envoy");
    let program = fs::read(&program).unwrap_or_else(|error| panic!("{}: {error}: run 'make tools'", program.display()));
    let mut files: BTreeMap<String, FileDescriptorProto> = BTreeMap::new();
    // A file begins with its name, a field of number 1: a line feed, the length, the text.
    let mut at = 0;
    for part in program.split(|byte| *byte == b'\n') {
        let name = part.split_first().and_then(|(length, rest)| rest.get(..usize::from(*length)));
        if let Some(name) = name.and_then(|name| THEIRS.iter().find(|known| known.as_bytes() == name))
            && let Ok(file) = FileDescriptorProto::decode(whole(&program[at - 1..]))
            && !file.message_type.is_empty()
        {
            files.insert((*name).to_owned(), file);
        }
        at += part.len() + 1;
    }
    assert_eq!(files.len(), THEIRS.len(), "Envoy has {:?}", files.keys());
    files.values().flat_map(lines).collect()
}

/// The bytes of a file's descriptor, of which the end is not told: fields of it come in the order of their numbers.
fn whole(bytes: &[u8]) -> &[u8] {
    let (mut rest, mut last) = (bytes, 0);
    loop {
        let end = bytes.len() - rest.len();
        let Ok(tag) = prost::encoding::decode_varint(&mut rest) else { return &bytes[..end] };
        let (number, is_text) = (tag >> 3, tag & 7 == 2);
        if number == 0 || number > 14 || number < last || tag & 7 != 2 && tag & 7 != 0 {
            return &bytes[..end];
        }
        let Ok(value) = prost::encoding::decode_varint(&mut rest) else { return &bytes[..end] };
        if is_text {
            let Some((_, after)) = usize::try_from(value).ok().and_then(|length| rest.split_at_checked(length)) else {
                return &bytes[..end];
            };
            rest = after;
        }
        // Public and weak imports (10, 11) come with the imports (3).
        last = if number == 10 || number == 11 { last } else { number };
    }
}

/// Everything that is seen on the wire, or by code that is generated, each in a line. Packages are left out.
fn lines(file: &FileDescriptorProto) -> Vec<String> {
    let mut lines = Vec::new();
    for service in &file.service {
        for method in &service.method {
            let (input, output) = (short(method.input_type()), short(method.output_type()));
            let name = format!("{}.{}/{}", file.package(), service.name(), method.name());
            let streams = (method.client_streaming(), method.server_streaming());
            lines.push(format!("{name}({input}) {output} {streams:?}"));
        }
    }
    messages(&file.message_type, "", &mut lines);
    enums(&file.enum_type, "", &mut lines);
    lines
}

fn messages(all: &[DescriptorProto], within: &str, lines: &mut Vec<String>) {
    for message in all {
        let name = format!("{within}{}", message.name());
        for field in &message.field {
            let kind = match field.type_name() {
                "" => format!("{:?}", field.r#type()),
                other => short(other).to_owned(),
            };
            let oneof = field
                .oneof_index
                .map_or("", |index| message.oneof_decl[usize::try_from(index).expect("it is one of them")].name());
            let place = format!("{name}.{} = {}", field.name(), field.number());
            lines.push(format!("{place}: {:?} {kind} {oneof}", field.label()).trim_end().to_owned());
        }
        messages(&message.nested_type, &format!("{name}."), lines);
        enums(&message.enum_type, &format!("{name}."), lines);
    }
}

fn enums(all: &[EnumDescriptorProto], within: &str, lines: &mut Vec<String>) {
    for this in all {
        for value in &this.value {
            lines.push(format!("{within}{}.{} = {}", this.name(), value.name(), value.number()));
        }
    }
}

/// The name of a type without its package.
fn short(name: &str) -> &str {
    let at = name.find(|c: char| c.is_ascii_uppercase()).expect("types begin with a capital");
    &name[at..]
}
