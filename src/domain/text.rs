//! Texts that people write: how long, and of what characters.

/// Why a text is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidText {
    /// Nothing but white space.
    #[error("must not be empty")]
    Empty,
    /// More characters (Unicode scalar values) than allowed.
    #[error("has {length} characters, the longest is {limit}")]
    TooLong {
        /// The characters counted.
        length: usize,
        /// The most that are allowed.
        limit: usize,
    },
    /// A control character, such as a line break.
    #[error("must not contain control characters (U+{0:04X})")]
    Control(u32),
}

/// Checks a text of one line: 1 to `limit` characters, no control characters (a list or a log shows it as it is).
///
/// # Errors
/// What is wrong with it.
pub fn line(text: &str, limit: usize) -> Result<(), InvalidText> {
    if text.trim().is_empty() {
        return Err(InvalidText::Empty);
    }
    let length = text.chars().count();
    if length > limit {
        return Err(InvalidText::TooLong { length, limit });
    }
    match text.chars().find(|character| is_unprintable(*character)) {
        Some(character) => Err(InvalidText::Control(u32::from(character))),
        None => Ok(()),
    }
}

/// Control characters, and those that reorder or hide the text around them (Unicode bidirectional controls).
#[must_use]
pub fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200E}' | '\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' | '\u{FEFF}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_one_to_limit_printable_characters() {
        assert_eq!(line("ä".repeat(255).as_str(), 255), Ok(()));
        assert_eq!(line("ä".repeat(256).as_str(), 255), Err(InvalidText::TooLong { length: 256, limit: 255 }));
        assert_eq!(line(" ", 255), Err(InvalidText::Empty));
        assert_eq!(line("", 255), Err(InvalidText::Empty));
        assert_eq!(line("a\nb", 255), Err(InvalidText::Control(10)));
        assert_eq!(line("a\u{202E}b", 255), Err(InvalidText::Control(0x202E)));
    }
}
