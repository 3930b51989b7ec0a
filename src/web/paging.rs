//! The way from one page of a list to the next.

use crate::domain::page::{Key, PageRequest};

/// Links of a page of a list: to the first one, and to the next.
pub(super) struct Paging {
    /// Where the first page is; none on it.
    pub(super) first: Option<String>,
    /// Where the next page is; none on the last.
    pub(super) next: Option<String>,
}

impl Paging {
    /// Of a list at an address, which may have a query.
    pub(super) fn new<K: Key>(list: &str, asked: &PageRequest<K>, next: Option<K>) -> Self {
        let and = if list.contains('?') { '&' } else { '?' };
        Self {
            first: asked.after().is_some().then(|| list.to_owned()),
            next: next.map(|key| format!("{list}{and}page_token={}", key.token())),
        }
    }

    pub(super) fn is_first(&self) -> bool {
        self.first.is_none()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::domain::page::PageKey;

    #[test]
    fn a_page_leads_on_and_to_the_beginning() {
        let key = PageKey { created_at_micros: 1, id: Uuid::from_u128(7) };
        let links = |list, asked, next| {
            let paging = Paging::new(list, asked, next);
            assert_eq!(paging.is_first(), paging.first.is_none());
            (paging.first, paging.next)
        };
        let first = PageRequest::first();
        assert_eq!(links("/a", &first, None), (None, None));
        let token = key.token();
        assert_eq!(links("/a", &first, Some(key)), (None, Some(format!("/a?page_token={token}"))));
        let second = first.following(key);
        let expected = (Some("/a?b=c".to_owned()), Some(format!("/a?b=c&page_token={token}")));
        assert_eq!(links("/a?b=c", &second, Some(key)), expected);
    }
}
