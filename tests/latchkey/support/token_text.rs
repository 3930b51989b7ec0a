//! The text of a token, taken apart and put together again: written for the tests, so that they hold the product to the
//! format and not to its own code.

use uuid::Uuid;

const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Characters before the body.
pub const PREFIX: usize = "gitpod_pat_".len();
/// Digits of the body.
pub const BODY: usize = 66;
/// Digits of the CRC.
pub const CRC: usize = 6;

/// A token, as its prefix and the bytes of its body. The check digits are made anew when it is written.
#[derive(Clone)]
pub struct TokenText {
    pub prefix: String,
    pub body: [u8; 49],
}

impl TokenText {
    /// Takes a whole token apart.
    pub fn read(text: &str) -> Self {
        assert_eq!(text.len(), PREFIX + BODY + CRC, "{text}");
        let mut body = [0_u8; 49];
        for digit in text[PREFIX..PREFIX + BODY].bytes() {
            let mut carry = ALPHABET.iter().position(|known| *known == digit).unwrap();
            for byte in body.iter_mut().rev() {
                let value = usize::from(*byte) * 62 + carry;
                *byte = u8::try_from(value % 256).unwrap();
                carry = value / 256;
            }
            assert_eq!(carry, 0);
        }
        Self { prefix: text[..PREFIX].to_owned(), body }
    }

    /// Writes it, with the check digits that go with it.
    pub fn write(&self) -> String {
        with_check_digits(&format!("{}{}", self.prefix, digits(&self.body, BODY)))
    }

    /// Another spelling of the same body: the number that is larger by 2^392 has the same 49 bytes at its end.
    pub fn write_otherwise(&self) -> String {
        let larger = [&[1], self.body.as_slice()].concat();
        with_check_digits(&format!("{}{}", self.prefix, digits(&larger, BODY)))
    }

    /// The token ID.
    pub fn id(&self) -> Uuid {
        Uuid::from_slice(&self.body[1..17]).unwrap()
    }

    /// The 24 bytes that only the holder knows.
    pub fn secret(&self) -> &[u8] {
        &self.body[17..41]
    }
}

/// The token ID inside a token.
pub fn token_id(text: &str) -> String {
    TokenText::read(text).id().to_string()
}

/// A text with the check digits that go with it.
pub fn with_check_digits(text: &str) -> String {
    format!("{text}{}", digits(&crc32fast::hash(text.as_bytes()).to_be_bytes(), CRC))
}

/// A text with another letter or digit in one place.
pub fn changed(text: &str, position: usize) -> String {
    let mut bytes = text.as_bytes().to_vec();
    bytes[position] = if bytes[position] == b'7' { b'8' } else { b'7' };
    String::from_utf8(bytes).unwrap()
}

fn digits(number: &[u8], length: usize) -> String {
    let mut number = number.to_vec();
    let mut digits = vec![b'0'; length];
    for digit in digits.iter_mut().rev() {
        let mut remainder = 0_usize;
        for byte in &mut number {
            let value = remainder * 256 + usize::from(*byte);
            *byte = u8::try_from(value / 62).unwrap();
            remainder = value % 62;
        }
        *digit = ALPHABET[remainder];
    }
    assert!(number.iter().all(|byte| *byte == 0), "the number has more digits");
    String::from_utf8(digits).unwrap()
}
