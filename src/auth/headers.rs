//! What the layer reads of a request.

use crate::domain::text::is_unprintable;

const USER_AGENT_LIMIT: usize = 255;

/// What the client calls itself: printable, and of a length that can be stored.
#[must_use]
pub fn user_agent(text: &[u8]) -> Option<String> {
    let cleaned: String = String::from_utf8_lossy(text)
        .chars()
        .filter(|character| !is_unprintable(*character))
        .take(USER_AGENT_LIMIT)
        .collect();
    (!cleaned.is_empty()).then_some(cleaned)
}
