//! Keyset pagination: a page says where the next one begins.

use uuid::Uuid;

/// How many entries a page has when the request does not say.
pub const DEFAULT_PAGE_SIZE: u16 = 25;
/// The most entries a page has; larger wishes are cut to it.
pub const MAX_PAGE_SIZE: u16 = 100;

/// Which way a list goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// Newest first.
    #[default]
    Descending,
    /// Oldest first.
    Ascending,
}

/// Why a page request is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPage {
    /// A negative size.
    #[error("must not be negative; 0 means {DEFAULT_PAGE_SIZE}, the most is {MAX_PAGE_SIZE}")]
    NegativeSize,
    /// A page token that this service did not give for this list.
    #[error("is not a token that this list gave; start again without one")]
    UnknownToken,
}

/// Where an entry stands in its list, as page tokens say it.
pub trait Key: Copy {
    /// The token that asks for the page after this entry.
    fn token(&self) -> String;

    /// Reads a token that such a list gave.
    ///
    /// # Errors
    /// [`InvalidPage::UnknownToken`]
    fn parse(token: &str) -> Result<Self, InvalidPage>;
}

/// Which page of a list is asked for. Where no other key or order is named, the list is newest first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRequest<K = PageKey> {
    size: u16,
    after: Option<K>,
}

/// The last entry of the page before, in a list by the time of creation, then by ID.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageKey {
    /// Its time of creation, in microseconds since 1970 (PostgreSQL's precision).
    pub created_at_micros: i64,
    /// Its ID.
    pub id: Uuid,
}

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T, K = PageKey> {
    /// The entries, in the list's order.
    pub entries: Vec<T>,
    /// Where the next page begins; none on the last.
    pub next: Option<K>,
}

impl<K: Key> PageRequest<K> {
    /// Reads the size and token of a request, as the contract's `PaginationRequest` has them.
    ///
    /// # Errors
    /// [`InvalidPage::NegativeSize`], or [`InvalidPage::UnknownToken`] for a token that is not ours.
    pub fn parse(page_size: i32, token: &str) -> Result<Self, InvalidPage> {
        let size = match page_size {
            0 => DEFAULT_PAGE_SIZE,
            size if size < 0 => return Err(InvalidPage::NegativeSize),
            size => u16::try_from(size).unwrap_or(MAX_PAGE_SIZE).min(MAX_PAGE_SIZE),
        };
        let after = if token.is_empty() { None } else { Some(K::parse(token)?) };
        Ok(Self { size, after })
    }

    /// The first page, of the default size.
    #[must_use]
    pub const fn first() -> Self {
        Self { size: DEFAULT_PAGE_SIZE, after: None }
    }

    /// The first page, of the most entries that one has.
    #[must_use]
    pub const fn largest() -> Self {
        Self { size: MAX_PAGE_SIZE, after: None }
    }

    /// The page after an entry, of the same size.
    #[must_use]
    pub const fn following(&self, after: K) -> Self {
        Self { size: self.size, after: Some(after) }
    }

    /// How many entries the page has at the most.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.size as usize
    }

    /// The entry that the page comes after.
    #[must_use]
    pub const fn after(&self) -> Option<K> {
        self.after
    }

    /// One more than a page holds: the row that says whether there is a next page.
    #[must_use]
    pub const fn fetch(&self) -> i64 {
        self.size as i64 + 1
    }

    /// Makes the page from the rows that [`PageRequest::fetch`] brought.
    pub fn page<T>(&self, mut rows: Vec<T>, key: impl Fn(&T) -> K) -> Page<T, K> {
        let more = rows.len() > self.size();
        rows.truncate(self.size());
        let next = if more { rows.last().map(key) } else { None };
        Page { entries: rows, next }
    }
}

impl Key for PageKey {
    /// 48 hexadecimal digits.
    fn token(&self) -> String {
        format!("{:016x}{:032x}", self.created_at_micros, self.id.as_u128())
    }

    fn parse(token: &str) -> Result<Self, InvalidPage> {
        let [micros, id] = numbers(token, [16, 32])?;
        let created_at_micros = u64::try_from(micros).map_err(|_| InvalidPage::UnknownToken)?.cast_signed();
        let time = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(created_at_micros) * 1000);
        if time.map_or(true, |time| time.year() < 1) {
            return Err(InvalidPage::UnknownToken);
        }
        Ok(Self { created_at_micros, id: Uuid::from_u128(id) })
    }
}

/// Reads numbers that are written one after the other with so many hexadecimal digits each: one spelling for each, and
/// nothing besides.
///
/// # Errors
/// [`InvalidPage::UnknownToken`]
pub fn numbers<const N: usize>(token: &str, digits: [usize; N]) -> Result<[u128; N], InvalidPage> {
    let lowercase_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    if token.len() != digits.iter().sum::<usize>() || !token.bytes().all(lowercase_hex) {
        return Err(InvalidPage::UnknownToken);
    }
    let mut rest = token;
    let mut numbers = [0; N];
    for (number, digits) in numbers.iter_mut().zip(digits) {
        let (text, others) = rest.split_at(digits);
        *number = u128::from_str_radix(text, 16).map_err(|_| InvalidPage::UnknownToken)?;
        rest = others;
    }
    Ok(numbers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_defaulted_clamped_or_refused() {
        let size = |asked| PageRequest::<PageKey>::parse(asked, "").map(|page| page.size());
        assert_eq!(size(0), Ok(25));
        assert_eq!(size(7), Ok(7));
        assert_eq!(size(1_000_000_000), Ok(100));
        assert_eq!(size(-1), Err(InvalidPage::NegativeSize));
    }

    #[test]
    fn a_token_leads_to_where_it_was_given() {
        let key = PageKey { created_at_micros: 1_767_225_600_123_456, id: Uuid::from_u128(7) };
        assert_eq!(PageRequest::parse(0, &key.token()).map(|page| page.after()), Ok(Some(key)));
    }

    #[test]
    fn other_tokens_are_refused() {
        let token = PageKey { created_at_micros: 1, id: Uuid::from_u128(7) }.token();
        for bad in [
            "x",
            &token[1..],
            &token.to_uppercase().replace('7', "G"),
            &"f".repeat(49),
            &format!("7{}", &"f".repeat(47)),
            "ü".repeat(24).as_str(),
        ] {
            assert_eq!(PageRequest::<PageKey>::parse(0, bad), Err(InvalidPage::UnknownToken), "{bad}");
        }
    }

    #[test]
    fn a_page_knows_whether_another_follows() {
        let request = PageRequest::parse(2, "").unwrap();
        let key = |n: &i64| PageKey { created_at_micros: *n, id: Uuid::nil() };
        assert_eq!(request.page(vec![3, 2, 1], key).next.map(|key| key.created_at_micros), Some(2));
        assert_eq!(request.page(vec![3, 2], key).next, None);
    }
}
