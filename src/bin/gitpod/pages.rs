//! Lists, page by page to their end.

use latchkey::{
    domain::page::MAX_PAGE_SIZE,
    pb::gitpod::v1::{PaginationRequest, PaginationResponse},
};

use crate::error::Failure;

/// One page: its entries, and where the next one starts.
pub(crate) type Page<T> = (Vec<T>, Option<PaginationResponse>);

/// Fetches the pages of a list until its end, or until there are `limit` entries.
///
/// # Errors
/// That of `fetch`, and [`Failure::Failed`] when a page says that it comes after itself.
pub(crate) async fn fetch_all<T>(
    limit: Option<usize>,
    mut fetch: impl AsyncFnMut(PaginationRequest) -> Result<Page<T>, Failure>,
) -> Result<Vec<T>, Failure> {
    let limit = limit.unwrap_or(usize::MAX);
    let mut entries = Vec::new();
    let mut token = String::new();
    while entries.len() < limit {
        let wanted = limit - entries.len();
        let page_size = i32::try_from(wanted).unwrap_or(i32::MAX).min(i32::from(MAX_PAGE_SIZE));
        let (page, next) = fetch(PaginationRequest { page_size, token: token.clone() }).await?;
        entries.extend(page);
        let next_token = next.map(|next| next.next_token).unwrap_or_default();
        if next_token.is_empty() {
            break;
        }
        if next_token == token {
            return Err(Failure::Failed("the server gives the same page of the list again and again".to_owned()));
        }
        token = next_token;
    }
    entries.truncate(limit);
    Ok(entries)
}
