//! HTTP/2 as a liar speaks it: frames (RFC 9113, section 4) and header fields (RFC 7541, section 6.2.2), byte by byte.

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;

/// A frame on the stream of the first request, or on the connection.
pub(super) fn frame(kind: u8, flags: u8, payload: &[u8]) -> Vec<u8> {
    let stream: u32 = if matches!(kind, PING | GOAWAY) { 0 } else { 1 };
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// What every server begins with: its settings, none.
pub(super) fn settings() -> Vec<u8> {
    vec![0, 0, 0, 4, 0, 0, 0, 0, 0]
}

/// A block of header fields, none of which is compressed.
pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.extend(number(text.len()));
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A number in seven bits, and in as many bytes more as it takes.
fn number(mut value: usize) -> Vec<u8> {
    if value < 127 {
        return vec![u8::try_from(value).unwrap()];
    }
    let mut bytes = vec![127];
    value -= 127;
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
    bytes
}

/// The headers that an answer of gRPC begins with, and more.
pub(super) fn begin(more: &[(&str, &str)]) -> Vec<u8> {
    let usual = [(":status", "200"), ("content-type", "application/grpc")];
    frame(HEADERS, END_HEADERS, &fields(&[&usual, more].concat()))
}

/// A whole answer without a message: headers alone.
pub(super) fn refusal(headers: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, END_HEADERS | END_STREAM, &fields(headers))
}

/// A message of gRPC, in one frame of data.
pub(super) fn message(bytes: &[u8]) -> Vec<u8> {
    frame(DATA, 0, &announced(u32::try_from(bytes.len()).unwrap(), bytes))
}

/// The beginning of a message that is said to be this long.
pub(super) fn announced(length: u32, bytes: &[u8]) -> Vec<u8> {
    [&[0], length.to_be_bytes().as_slice(), bytes].concat()
}

/// The trailers of a call that went well.
pub(super) fn end() -> Vec<u8> {
    refusal(&[("grpc-status", "0")])
}
