//! What must not be found, in each form that it may be written in.

use latchkey::domain::token::CredentialKind;

use crate::support::token_text::TokenText;

/// Enough of a secret to know it by, also where it was cut: 15 bytes, which base64 writes in whole characters.
const ENOUGH: usize = 15;

/// The secrets of a run.
#[derive(Default)]
pub(super) struct Secrets(Vec<Secret>);

struct Secret {
    name: String,
    is_digest: bool,
    forms: Vec<String>,
}

impl Secrets {
    /// A token that somebody holds: its text, and the bytes in it that only they know.
    pub(super) fn add_token(&mut self, name: &str, text: &str) {
        // Its beginning says which key it was made with and its ID, which are public. The rest is looked for in two parts.
        let (_, rest) = text.split_at(40);
        self.add(&format!("the text of {name}"), rest.as_bytes(), false);
        self.add(&format!("the end of {name}"), &rest.as_bytes()[ENOUGH..], false);
        self.add(&format!("the secret bytes of {name}"), TokenText::read(text).secret(), false);
    }

    /// A signing key, as a line of the file of keys.
    pub(super) fn add_signing_key(&mut self, line: &str) {
        let (generation, digits) = line.trim().split_once(' ').unwrap();
        let bytes = (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap());
        let bytes: Vec<u8> = bytes.collect();
        assert_eq!(bytes.len(), 32);
        for (what, bytes) in [("bytes", bytes.as_slice()), ("digits", digits.as_bytes())] {
            self.add(&format!("the first {what} of signing key {generation}"), bytes, false);
            self.add(&format!("the next {what} of signing key {generation}"), &bytes[ENOUGH..], false);
        }
    }

    /// A digest, as PostgreSQL has it.
    pub(super) fn add_digest(&mut self, name: &str, bytes: &[u8]) {
        if !self.0.iter().any(|known| known.name == name) {
            self.add(name, bytes, true);
        }
    }

    fn add(&mut self, name: &str, bytes: &[u8], is_digest: bool) {
        self.0.push(Secret { name: name.to_owned(), is_digest, forms: forms(&bytes[..ENOUGH]) });
    }

    /// The names of those that are in a text or in a file.
    pub(super) fn found_in(&self, place: &[u8]) -> Vec<String> {
        let place = by_byte(place);
        let is_in = |secret: &&Secret| secret.forms.iter().any(|form| place.contains(form));
        let mut found: Vec<String> = self.0.iter().filter(is_in).map(|secret| secret.name.clone()).collect();
        // Those that this run does not know of, such as what the client makes for itself; the first 23 digits are public.
        for prefix in CredentialKind::ALL.map(CredentialKind::prefix) {
            let is_token = |rest: &str| rest.bytes().take_while(u8::is_ascii_alphanumeric).count() > 30;
            if place.split(prefix).skip(1).any(is_token) {
                found.push(format!("something that begins with {prefix}"));
            }
        }
        found
    }

    /// The same, for where digests belong.
    pub(super) fn found_beside_digests(&self, place: &[u8]) -> Vec<String> {
        let mut found = self.found_in(place);
        found.retain(|name| !self.0.iter().any(|secret| secret.is_digest && secret.name == *name));
        found
    }
}

/// Bytes as a text that has one character for each.
fn by_byte(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The ways in which programs write bytes.
fn forms(bytes: &[u8]) -> Vec<String> {
    let numbers = bytes.iter().map(u8::to_string).collect::<Vec<_>>();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let debug = format!("{:?}", bytes::Bytes::copy_from_slice(bytes));
    let mut forms = vec![
        by_byte(bytes),
        hex.to_uppercase(),
        hex,
        numbers.join(", "),
        numbers.join(","),
        bytes.escape_ascii().to_string(),
        debug.trim_start_matches("b\"").trim_end_matches('"').to_owned(),
    ];
    // Whatever comes before it decides how its bytes are parted.
    for skipped in 0..3 {
        let whole = (bytes.len() - skipped) / 3 * 3;
        let base64 = base64(&bytes[skipped..skipped + whole]);
        forms.push(base64.replace('+', "-").replace('/', "_"));
        forms.push(base64);
    }
    forms
}

/// Base64 (RFC 4648, section 4) of whole groups of three bytes.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digits = bytes.chunks_exact(3).flat_map(|group| {
        let number = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        [18, 12, 6, 0].map(|shift| char::from(ALPHABET[(number >> shift) as usize % 64]))
    });
    digits.collect()
}

#[test]
fn every_form_is_found() {
    let text = crate::support::keys::forged();
    let token = TokenText::read(&text);
    let mut secrets = Secrets::default();
    secrets.add_token("it", &text);
    let found = |place: &str| !secrets.found_in(place.as_bytes()).is_empty();
    let rest = &text[11..];
    for secret in [rest.as_bytes(), token.secret(), &text.as_bytes()[9..]] {
        let hex: String = secret.iter().map(|byte| format!("{byte:02X}")).collect();
        assert!(found(&hex) && found(&hex.to_lowercase()));
        assert!(found(&format!("{secret:?}")) && found(&serde_json::to_string(secret).unwrap()));
        assert!(found(&format!("{:?}", bytes::Bytes::copy_from_slice(secret))));
        assert!(!secrets.found_in(&[b"x", secret].concat()).is_empty());
        for before in ["", "a", "ab"] {
            let whole = [before.as_bytes(), secret, b"cd"].concat();
            assert!(found(&base64(&whole[..whole.len() / 3 * 3])), "{before:?}");
        }
    }
    assert!(found(rest) && found(&rest[..60]) && found(&rest[40..]));
    assert!(found(&format!("a {}", crate::support::keys::forged())), "also one that is not known");
    for harmless in
        ["gitpod_pat_", &text[..33], &token.id().to_string(), "it does not begin with gitpod_pat_ or gitpod_env_"]
    {
        assert!(!found(harmless), "{harmless}");
    }
}
