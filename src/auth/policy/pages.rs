//! Who may ask for which page. What has no row is no page.

use http::Method;

use super::{Access, Door, Policy, Streams, Who};

/// The policy of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePolicy {
    /// By which method of HTTP it is asked for. What is asked for by GET may be asked for by HEAD.
    pub method: Method,
    /// What the policy says. Its name is the path without the first slash, with `{}` for a part that differs.
    pub policy: Policy,
}

const fn get(path: &'static str) -> PagePolicy {
    PagePolicy { method: Method::GET, policy: page(path, Who::Caller, Access::Read) }
}

const fn post(path: &'static str) -> PagePolicy {
    PagePolicy { method: Method::POST, policy: page(path, Who::Caller, Access::Write) }
}

const fn public(method: Method, path: &'static str, access: Access) -> PagePolicy {
    PagePolicy { method, policy: page(path, Who::Public, access) }
}

const fn page(path: &'static str, who: Who, access: Access) -> Policy {
    // What is typed into a form may be anything.
    Policy { rpc: path, who, access, secret_in_request: true, streams: Streams::Nothing, door: Door::Page }
}

/// Every page, and what its forms send.
pub const PAGE_POLICIES: &[PagePolicy] = &[
    get(""),
    get("projects"),
    get("settings"),
    get("settings/personal-access-tokens"),
    post("settings/personal-access-tokens"),
    get("settings/personal-access-tokens/new"),
    get("settings/personal-access-tokens/{}"),
    post("settings/personal-access-tokens/{}"),
    get("settings/personal-access-tokens/{}/revoke"),
    post("settings/personal-access-tokens/{}/revoke"),
    get("settings/sessions"),
    post("settings/sessions/{}/revoke"),
    get("environments"),
    PagePolicy {
        method: Method::GET,
        policy: Policy { streams: Streams::Answers, ..page("environments/events", Who::Caller, Access::Read) },
    },
    get("details/{}"),
    post("details/{}/start"),
    post("details/{}/stop"),
    get("details/{}/delete"),
    post("details/{}/delete"),
    get("audit-logs"),
    // For admins alone, which the use cases see to.
    get("admin/users"),
    get("admin/users/{}"),
    get("admin/users/{}/suspend"),
    post("admin/users/{}/suspend"),
    post("admin/users/{}/unsuspend"),
    get("admin/invitations"),
    post("admin/invitations"),
    post("admin/invitations/withdraw"),
    get("admin/service-accounts"),
    post("admin/service-accounts"),
    get("admin/service-accounts/{}"),
    post("admin/service-accounts/{}/tokens"),
    get("admin/service-accounts/{}/tokens/new"),
    // Where people say yes or no to a program that wants to act for them.
    get("device"),
    post("device"),
    post("device/answer"),
    get("oauth2/authorize"),
    post("oauth2/authorize"),
    get("sign-out"),
    post("sign-out"),
    // Whoever is here has no session yet.
    public(Method::GET, "sign-in", Access::Read),
    public(Method::GET, "sign-in/link", Access::Read),
    public(Method::POST, "sign-in/link", Access::Write),
    public(Method::POST, "sign-in/{}", Access::Write),
    // A provider sends the browser here, by GET: the cookie of the attempt says that it was begun here.
    public(Method::GET, "sign-in/{}/callback", Access::Read),
    public(Method::GET, "assets/{}", Access::Read),
];

/// The policy of the page that a method and a path name.
pub(super) fn of(method: &Method, path: &str) -> Option<&'static Policy> {
    let path = path.strip_prefix('/')?;
    let method = if *method == Method::HEAD { &Method::GET } else { method };
    // What is named in full comes first.
    let of_method = || PAGE_POLICIES.iter().filter(|page| page.method == *method).map(|page| &page.policy);
    of_method().find(|policy| policy.rpc == path).or_else(|| of_method().find(|policy| matches(policy.rpc, path)))
}

/// Whether a path is one of a pattern: part by part, and no part is empty.
fn matches(pattern: &str, path: &str) -> bool {
    let (mut pattern, mut path) = (pattern.split('/'), path.split('/'));
    loop {
        match (pattern.next(), path.next()) {
            (None, None) => return true,
            (Some("{}"), Some(part)) if !part.is_empty() => {}
            (Some(expected), Some(part)) if expected == part => {}
            (None | Some(_), None | Some(_)) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(method: &Method, path: &str) -> Option<&'static str> {
        of(method, path).map(|policy| policy.rpc)
    }

    #[test]
    fn pages_are_matched_whole_and_by_their_method() {
        let (get, post) = (&Method::GET, &Method::POST);
        assert_eq!(name(get, "/"), Some(""));
        assert_eq!(name(get, "/settings/personal-access-tokens"), Some("settings/personal-access-tokens"));
        assert_eq!(name(get, "/settings/personal-access-tokens/new"), Some("settings/personal-access-tokens/new"));
        assert_eq!(name(get, "/settings/personal-access-tokens/x"), Some("settings/personal-access-tokens/{}"));
        assert_eq!(name(&Method::HEAD, "/settings"), Some("settings"));
        assert_eq!(
            name(post, "/settings/personal-access-tokens/x/revoke"),
            Some("settings/personal-access-tokens/{}/revoke")
        );
        for path in [
            "",
            "settings",
            "/settings/",
            "/settings/personal-access-tokens/",
            "/settings/personal-access-tokens//revoke",
            "/assets/a/b",
        ] {
            assert_eq!(name(get, path), None, "{path}");
        }
        assert_eq!(name(post, "/settings"), None);
        assert_eq!(name(&Method::DELETE, "/settings"), None);
    }

    #[test]
    fn what_changes_something_is_posted_and_pages_are_written_once() {
        for (index, page) in PAGE_POLICIES.iter().enumerate() {
            assert_eq!(page.policy.access == Access::Write, page.method == Method::POST, "{}", page.policy.rpc);
            assert!(
                PAGE_POLICIES[index + 1..]
                    .iter()
                    .all(|other| other.method != page.method || other.policy.rpc != page.policy.rpc)
            );
            assert!(
                page.policy.door == Door::Page && super::super::of_path(&format!("/{}", page.policy.rpc)).is_none()
            );
        }
    }
}
