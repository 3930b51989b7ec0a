//! Metadata, trailers and errors as the suite defines them, and as tonic takes them.

use base64::{
    Engine,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use latchkey::connect::Trailers;
use prost::Message;
use prost_types::Any;
use tonic::{
    Code, Status,
    metadata::{AsciiMetadataKey, BinaryMetadataKey, KeyAndValueRef, MetadataMap, MetadataValue},
};

use crate::pb::{Error, Header, conformance_payload::RequestInfo};

/// The suite sends padded and unpadded values.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A message as the suite wants to have it back.
pub(crate) fn any<M: Message>(name: &str, message: &M) -> Any {
    let type_url = format!("type.googleapis.com/connectrpc.conformance.v1.{name}");
    Any { type_url, value: message.encode_to_vec() }
}

/// What the suite wants to know of a request.
pub(crate) fn request_info(metadata: &MetadataMap, requests: Vec<Any>) -> RequestInfo {
    let mut request_headers: Vec<Header> = Vec::new();
    for entry in metadata.iter() {
        let (name, value) = match entry {
            KeyAndValueRef::Ascii(name, value) => (name.as_str(), value.as_bytes()),
            KeyAndValueRef::Binary(name, value) => (name.as_str(), value.as_encoded_bytes()),
        };
        let value = String::from_utf8_lossy(value).into_owned();
        match request_headers.iter_mut().find(|header| header.name == name) {
            Some(header) => header.value.push(value),
            None => request_headers.push(Header { name: name.to_owned(), value: vec![value] }),
        }
    }
    RequestInfo { request_headers, timeout_ms: timeout(metadata), requests, connect_get_info: None }
}

fn timeout(metadata: &MetadataMap) -> Option<i64> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (number, unit) = text.split_at(text.len() - 1);
    let number: i64 = number.parse().ok()?;
    match unit {
        "H" => Some(number * 60 * 60 * 1000),
        "M" => Some(number * 60 * 1000),
        "S" => Some(number * 1000),
        "m" => Some(number),
        "u" => Some(number / 1000),
        "n" => Some(number / 1_000_000),
        other => panic!("{other}"),
    }
}

/// Adds what the suite wants to have said.
pub(crate) fn append(metadata: &mut MetadataMap, headers: &[Header]) {
    for header in headers {
        let name = header.name.to_lowercase();
        for value in &header.value {
            if name.ends_with("-bin") {
                let value = MetadataValue::from_bytes(&BASE64.decode(value).unwrap());
                metadata.append_bin(BinaryMetadataKey::from_bytes(name.as_bytes()).unwrap(), value);
            } else {
                metadata.append(AsciiMetadataKey::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
            }
        }
    }
}

/// Trailers of an answer that succeeds.
pub(crate) fn trailers(headers: &[Header]) -> Trailers {
    let mut metadata = MetadataMap::new();
    append(&mut metadata, headers);
    Trailers(metadata.into_headers())
}

/// The error that the suite wants, with one more detail if there is one.
pub(crate) fn status(error: &Error, more: Option<Any>, metadata: MetadataMap) -> Status {
    let details = error.details.iter().cloned().chain(more).collect();
    let message = error.message.clone().unwrap_or_default();
    let details = tonic_types::pb::Status { code: error.code, message: message.clone(), details };
    Status::with_details_and_metadata(Code::from_i32(error.code), message, details.encode_to_vec().into(), metadata)
}
