//! Our descriptors against those inside the reference client, PyPI's gitpod-sdk: what both have is the same on the wire.

use std::{fmt::Debug, path::Path, process::Command};

use prost::Message;
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, MessageDescriptor, ServiceDescriptor};
use prost_types::{
    DescriptorProto, FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet, MethodDescriptorProto,
    OneofDescriptorProto,
    field_descriptor_proto::{Label, Type},
};

/// Our own service, and the one that has the same RPCs in the contract.
const RENAMED: (&str, &str) = ("gitpod.v1.TokenService", "gitpod.v1.UserService");

/// What it has beside them: of no interest to clients of the contract.
const OURS: [&str; 3] = ["UpdatePersonalAccessToken", "IntrospectToken", "BatchIntrospectTokens"];

/// What we add to a message or an enum of the contract is numbered from here.
const OURS_FROM: u32 = 1001;

#[test]
fn what_we_share_with_the_reference_client_is_the_same() {
    let differences = differences(latchkey::pb::FILE_DESCRIPTOR_SET, &reference());
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

#[test]
fn everything_in_our_protos_is_explained() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto");
    let mut files = vec![root];
    let mut lines = 0;
    while let Some(path) = files.pop() {
        if path.is_dir() {
            files.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let mut above = "";
        for line in text.lines().map(str::trim) {
            let is_field_or_value = line.rsplit_once(" = ").is_some_and(|(_, number)| {
                number.split(|c: char| !c.is_ascii_digit()).next().is_some_and(|digits| !digits.is_empty())
            });
            let is_named =
                ["message ", "enum ", "service ", "rpc ", "oneof "].iter().any(|word| line.starts_with(word));
            if !line.starts_with("//") && (is_field_or_value || is_named) {
                assert!(above.starts_with("//"), "{}: nothing explains {line}", path.display());
                lines += 1;
            }
            above = line;
        }
    }
    assert!(lines > 500, "only {lines} lines were looked at: are these the protos?");
}

/// The descriptors inside the reference client.
fn reference() -> Vec<u8> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let python = root.join("target/tools/venv/bin/python");
    assert!(python.exists(), "the reference client is not installed: run `make tools`");
    let output =
        Command::new(python).arg(root.join("tests/contract/descriptors.py")).output().expect("its Python starts");
    assert!(output.status.success(), "descriptors.py: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// Every way in which `ours` is not what `theirs` says, each naming what it is about.
fn differences(ours: &[u8], theirs: &[u8]) -> Vec<String> {
    let ours = DescriptorPool::decode(ours).expect("our descriptors are whole");
    let theirs = DescriptorPool::decode(theirs).expect("their descriptors are whole");
    let mut found = Differences(Vec::new());
    let mut shared = 0;
    for message in ours.all_messages().filter(|message| is_of_the_contract(message.package_name())) {
        if let Some(reference) = theirs.get_message_by_name(message.full_name()) {
            shared += 1;
            found.messages(&message, &reference);
        }
    }
    for this in ours.all_enums().filter(|this| is_of_the_contract(this.package_name())) {
        if let Some(reference) = theirs.get_enum_by_name(this.full_name()) {
            found.enums(&this, &reference);
        }
    }
    for service in ours.services().filter(|service| is_of_the_contract(service.parent_file().package_name())) {
        let name = if service.full_name() == RENAMED.0 { RENAMED.1 } else { service.full_name() };
        match theirs.get_service_by_name(name) {
            Some(reference) => found.services(&service, &reference),
            None => found.0.push(format!("{name}: the contract has no such service")),
        }
    }
    assert!(shared > 50, "only {shared} messages have the same name as one of theirs: is this the contract?");
    found.0
}

/// Envoy's part is held against Envoy: see `envoy_api.rs`.
fn is_of_the_contract(package: &str) -> bool {
    !package.starts_with("google.") && !package.starts_with("envoy.")
}

struct Differences(Vec<String>);

impl Differences {
    fn same<T: PartialEq + Debug>(&mut self, what: &str, ours: &T, theirs: &T) {
        if ours != theirs {
            self.0.push(format!("{what}: ours is {ours:?}, theirs is {theirs:?}"));
        }
    }

    /// Fields are paired by number and by name, so that neither can move.
    fn messages(&mut self, ours: &MessageDescriptor, theirs: &MessageDescriptor) {
        for field in ours.fields() {
            let name = field.full_name();
            let by_number = theirs.get_field(field.number());
            let by_name = theirs.get_field_by_name(field.name());
            if by_number.is_none() && by_name.is_none() && field.number() < OURS_FROM {
                self.0.push(format!("{name} = {}: what we add is numbered from {OURS_FROM} up", field.number()));
            }
            for reference in by_number.iter().chain(&by_name) {
                self.same(name, &Wire::of(&field), &Wire::of(reference));
            }
        }
    }

    fn enums(&mut self, ours: &EnumDescriptor, theirs: &EnumDescriptor) {
        for value in ours.values() {
            let by_number = theirs.get_value(value.number());
            let by_name = theirs.get_value_by_name(value.name());
            if by_number.is_none() && by_name.is_none() && value.number().unsigned_abs() < OURS_FROM {
                self.0.push(format!(
                    "{} = {}: what we add is numbered from {OURS_FROM} up",
                    value.full_name(),
                    value.number()
                ));
            }
            for reference in by_number.iter().chain(&by_name) {
                self.same(value.full_name(), &(value.number(), value.name()), &(reference.number(), reference.name()));
            }
        }
    }

    fn services(&mut self, ours: &ServiceDescriptor, theirs: &ServiceDescriptor) {
        let is_shared = |name: &str| ours.full_name() != RENAMED.0 || !OURS.contains(&name);
        for method in ours.methods().filter(|method| is_shared(method.name())) {
            let Some(reference) = theirs.methods().find(|reference| reference.name() == method.name()) else {
                self.0.push(format!("{}: {} has no such method", method.full_name(), theirs.full_name()));
                continue;
            };
            let [this, that] = [&method, &reference].map(|method| {
                let (input, output) = (method.input(), method.output());
                let types = (input.full_name().to_owned(), output.full_name().to_owned());
                (types, method.is_client_streaming(), method.is_server_streaming())
            });
            self.same(method.full_name(), &this, &that);
        }
    }
}

/// All of a field that is seen on the wire, in binary or in JSON, or by generated code as presence.
#[derive(Debug, PartialEq)]
struct Wire {
    number: u32,
    name: String,
    json_name: String,
    kind: Type,
    /// The full name of a message's or an enum's type.
    type_name: String,
    label: Label,
    packed: bool,
    /// The oneof that it is a member of, the hidden ones of `optional` fields included.
    oneof: Option<String>,
    optional: bool,
}

impl Wire {
    fn of(field: &FieldDescriptor) -> Self {
        Self {
            number: field.number(),
            name: field.name().to_owned(),
            json_name: field.json_name().to_owned(),
            kind: field.field_descriptor_proto().r#type(),
            type_name: field.field_descriptor_proto().type_name().to_owned(),
            label: field.field_descriptor_proto().label(),
            packed: field.is_packed(),
            oneof: field.containing_oneof().map(|oneof| oneof.name().to_owned()),
            optional: field.field_descriptor_proto().proto3_optional(),
        }
    }
}

/// A change to one file of our descriptors, and how the difference that it makes begins.
type Change = (&'static str, &'static str, fn(&mut FileDescriptorProto));

/// A wrong contract would pass a comparison that compares nothing.
#[test]
fn every_kind_of_difference_is_found() {
    let changes: [Change; 9] = [
        ("user", "gitpod.v1.PersonalAccessToken.id: ours is Wire { number: 9,", |file| {
            field(file, "PersonalAccessToken", "id").number = Some(9);
        }),
        ("user", "gitpod.v1.PersonalAccessToken.note: ours is Wire { number: 3, name: \"note\",", |file| {
            field(file, "PersonalAccessToken", "description").name = Some("note".to_owned());
        }),
        ("user", "gitpod.v1.PersonalAccessToken.read_only: ours is", |file| {
            field(file, "PersonalAccessToken", "read_only").set_type(Type::Int32);
        }),
        ("user", "gitpod.v1.PersonalAccessToken.user_id: ours is", |file| {
            field(file, "PersonalAccessToken", "user_id").set_label(Label::Repeated);
        }),
        ("user", "gitpod.v1.PersonalAccessToken.user_id: ours is", |file| {
            message(file, "PersonalAccessToken")
                .oneof_decl
                .push(OneofDescriptorProto { name: Some("_user_id".to_owned()), options: None });
            let field = field(file, "PersonalAccessToken", "user_id");
            (field.oneof_index, field.proto3_optional) = (Some(0), Some(true));
        }),
        ("user", "gitpod.v1.CreatePersonalAccessTokenResponse.personal_access_token = 2: what we add", |file| {
            field(file, "CreatePersonalAccessTokenResponse", "personal_access_token").number = Some(2);
        }),
        ("user", "gitpod.v1.USER_STATUS_GOOD: ours is (1, \"USER_STATUS_GOOD\")", |file| {
            let status = file.enum_type.iter_mut().find(|this| this.name() == "UserStatus").expect("it is there");
            status.value[1].name = Some("USER_STATUS_GOOD".to_owned());
        }),
        ("token", "gitpod.v1.TokenService.GetPersonalAccessToken: ours is", |file| {
            method(file, "GetPersonalAccessToken").output_type = Some(".gitpod.v1.PersonalAccessToken".to_owned());
        }),
        (
            "token",
            "gitpod.v1.TokenService.RevokePersonalAccessToken: gitpod.v1.UserService has no such method",
            |file| {
                method(file, "DeletePersonalAccessToken").name = Some("RevokePersonalAccessToken".to_owned());
            },
        ),
    ];
    let reference = reference();
    for (file, expected, change) in changes {
        let mut ours = FileDescriptorSet::decode(latchkey::pb::FILE_DESCRIPTOR_SET).unwrap();
        let name = format!("gitpod/v1/{file}.proto");
        change(ours.file.iter_mut().find(|file| file.name() == name).expect("the file is there"));
        let found = differences(&ours.encode_to_vec(), &reference);
        assert!(!found.is_empty() && found.iter().all(|one| one.starts_with(expected)), "{expected}: {found:#?}");
    }
}

fn message<'a>(file: &'a mut FileDescriptorProto, name: &str) -> &'a mut DescriptorProto {
    file.message_type.iter_mut().find(|message| message.name() == name).expect("the message is there")
}

fn field<'a>(file: &'a mut FileDescriptorProto, of: &str, name: &str) -> &'a mut FieldDescriptorProto {
    message(file, of).field.iter_mut().find(|field| field.name() == name).expect("the field is there")
}

fn method<'a>(file: &'a mut FileDescriptorProto, name: &str) -> &'a mut MethodDescriptorProto {
    file.service[0].method.iter_mut().find(|method| method.name() == name).expect("the method is there")
}
