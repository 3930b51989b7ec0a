//! Text of strangers (a remote's, git's, a process's inside an environment), made fit to be shown.

use crate::domain::text::is_unprintable;

/// The most characters of a stranger's text that are shown.
pub(crate) const EXCERPT_LIMIT: usize = 300;

/// One line of at most `limit` characters: whatever would break the line, reorder it or hide in it becomes a space,
/// and runs of spaces become one. A text that was cut ends in `…`.
pub(crate) fn excerpt(text: &str, limit: usize) -> String {
    let mut line = String::new();
    let mut length = 0;
    let mut gap = false;
    for character in text.chars() {
        if character.is_whitespace() || is_unprintable(character) {
            gap = length > 0;
            continue;
        }
        let needed = if gap { 2 } else { 1 };
        if length + needed > limit {
            // Room for the mark: a text that fills the limit gives up its last character.
            if length >= limit {
                line.pop();
            }
            line.push('…');
            return line;
        }
        if gap {
            line.push(' ');
            gap = false;
        }
        line.push(character);
        length += needed;
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_strangers_text_becomes_one_bounded_line() {
        for (text, limit, line) in [
            ("", 10, ""),
            ("  a\r\n\tb \u{1b}[31mred\u{202e}x  ", 40, "a b [31mred x"),
            ("abcdef", 6, "abcdef"),
            ("abcdefg", 6, "abcde…"),
            ("abcde f", 6, "abcde…"),
            ("äöüäöü", 3, "äö…"),
            ("\0\u{7}", 3, ""),
        ] {
            assert_eq!(excerpt(text, limit), line, "{text:?}");
        }
        assert_eq!(excerpt(&"x".repeat(10_000), EXCERPT_LIMIT).chars().count(), EXCERPT_LIMIT);
    }
}
