//! Every page that there is to see: of which template, for whom, where, and how somebody comes to it.

use Look::{Admin, Member, Nobody};
use Step::{Click, Fill, Goto, Press, SendTwice};
use Where::{Away, Cleartext, Closed, Links, Providers};

/// A page that is looked at.
pub(super) struct View {
    /// What its picture is called.
    pub(super) name: &'static str,
    /// What it is made of, in `src/web/templates`.
    pub(super) template: &'static str,
    pub(super) look: Look,
    pub(super) place: Where,
    /// The last one leads to the page.
    pub(super) steps: &'static [Step],
    /// Words that tell it from others.
    pub(super) shows: &'static str,
}

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    Admin,
    Member,
    /// Not signed in.
    Nobody,
}

/// At which server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Where {
    /// People sign in by links.
    Links,
    /// People sign in by one of two providers.
    Providers,
    /// The first one, with a database that does not answer.
    Away,
    /// What is sent there can be read on the way.
    Cleartext,
    /// There is no way to sign in.
    Closed,
}

/// One step on the way to a page. In texts, `@token`, `@code` and `@link` stand for what differs each time.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Goto(&'static str),
    Fill(&'static str, &'static str),
    Press(&'static str),
    Click(&'static str),
    /// Sends the form of the page, and then once more.
    SendTwice,
}

const fn view(
    name: &'static str,
    template: &'static str,
    look: Look,
    place: Where,
    steps: &'static [Step],
    shows: &'static str,
) -> View {
    View { name, template, look, place, steps, shows }
}

const TOKENS: &str = "/settings/personal-access-tokens";
const NEW: &str = "/settings/personal-access-tokens/new";
const USER: &str = "/admin/users/0198a000-0000-7000-8000-000000000021";
const SUSPENDED: &str = "/admin/users/0198a000-0000-7000-8000-000000000022";
const ACCOUNT: &str = "/admin/service-accounts/0198a000-0000-7000-8000-000000000023";
const AUTHORIZE: &str = "/oauth2/authorize?client_id=gitpod-cli&response_type=code&redirect_uri=http%3A%2F%2F127.0.0.1%3A49152%2Fcallback\
     &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&code_challenge_method=S256&state=af0ifjsldkj&host_name=laptop";

/// In the order in which they are looked at: the page that makes a token comes last of those that show tokens.
#[rustfmt::skip]
pub(super) const VIEWS: &[View] = &[
    view("tokens", "tokens/list.html", Admin, Links, &[Goto(TOKENS)], "CI of the website"),
    view("tokens-expired", "tokens/list.html", Admin, Links, &[Goto("/settings/personal-access-tokens?state=expired")], "Import of last year"),
    view("tokens-revoked", "tokens/list.html", Admin, Links, &[Goto("/settings/personal-access-tokens?state=revoked")], "Old laptop"),
    view("no-tokens", "tokens/list.html", Member, Links, &[Goto(TOKENS)], "No tokens yet"),
    view("new-token", "tokens/new.html", Admin, Links, &[Goto(NEW)], "What it is for"),
    view("new-token-refused", "tokens/new.html", Admin, Links, &[Goto(NEW), Fill("Description", " "), Press("Create")], "must not be empty"),
    view("token", "tokens/show.html", Admin, Links, &[Goto("/settings/personal-access-tokens/@token")], "Save the description"),
    view("token-revoked", "tokens/show.html", Admin, Links, &[Goto("/settings/personal-access-tokens/0198a000-0000-7000-8000-000000000043")], "Old laptop"),
    view("revoke-token", "tokens/revoke.html", Admin, Links, &[Goto("/settings/personal-access-tokens/@token/revoke")], "Revoke “CI of the website”?"),
    view("sessions", "sessions.html", Admin, Links, &[Goto("/settings/sessions")], "This one"),
    view("environments", "environments/list.html", Admin, Links, &[Goto("/environments")], "website"),
    view("no-environments", "environments/list.html", Member, Links, &[Goto("/environments")], "No environments yet"),
    view("environment", "environments/show.html", Admin, Links, &[Goto("/details/0198a000-0000-7000-8000-000000000011")], "environment_create"),
    view("failed-environment", "environments/show.html", Admin, Links, &[Goto("/details/0198a000-0000-7000-8000-000000000013")], "What went wrong"),
    view("delete-environment", "environments/delete.html", Admin, Links, &[Goto("/details/0198a000-0000-7000-8000-000000000012/delete")], "Delete “billing”?"),
    view("audit-logs", "audit_logs/list.html", Admin, Links, &[Goto("/audit-logs?subject_type=environment")], "environment_create"),
    view("audit-log-entry", "audit_logs/list.html", Admin, Links, &[Goto("/audit-logs?subject_type=environment"), Click("summary >> nth=0")], "Done to"),
    view("audit-logs-refused", "audit_logs/list.html", Member, Links, &[Goto("/audit-logs?subject=website")], "An ID is a UUID"),
    view("users", "admin/users.html", Admin, Links, &[Goto("/admin/users")], "noor@example.com"),
    view("user", "admin/user.html", Admin, Links, &[Goto(USER)], "Deploys of billing"),
    view("suspended-user", "admin/user.html", Admin, Links, &[Goto(SUSPENDED)], "Let them act again"),
    view("suspend-user", "admin/suspend.html", Admin, Links, &[Goto("/admin/users/0198a000-0000-7000-8000-000000000021/suspend")], "Suspend Noor Haddad?"),
    view("invitations", "admin/invitations.html", Admin, Providers, &[Goto("/admin/invitations")], "Invite somebody"),
    view("no-provider", "admin/invitations.html", Admin, Links, &[Goto("/admin/invitations")], "There is no OpenID provider here"),
    view("service-accounts", "admin/service_accounts.html", Admin, Links, &[Goto("/admin/service-accounts")], "gateway"),
    view("service-accounts-refused", "admin/service_accounts.html", Admin, Links, &[Goto("/admin/service-accounts"), Fill("Name", " "), Press("Add")], "The name must"),
    view("service-account", "admin/service_account.html", Admin, Links, &[Goto(ACCOUNT)], "In front of the shop"),
    view("new-service-token", "tokens/new.html", Admin, Links, &[Goto("/admin/service-accounts/0198a000-0000-7000-8000-000000000023/tokens/new")], "New token for gateway"),
    view("created-token", "tokens/created.html", Admin, Links, &[Goto(NEW), Fill("Description", "Backup of the shop"), Press("Create")], "Copy the new token"),
    view("new-token-twice-refused", "tokens/made.html", Admin, Links, &[Goto(NEW), Fill("Description", "Mirror of the shop"), SendTwice], "Made already"),
    view("projects", "projects.html", Admin, Links, &[Goto("/projects")], "There are no projects here"),
    view("device", "logins/type.html", Admin, Links, &[Goto("/device")], "it shows a code"),
    view("device-refused", "logins/type.html", Admin, Links, &[Goto("/device"), Fill("Code", "BCDF GHJ"), Press("Continue")], "That is no code"),
    view("device-ask", "logins/ask.html", Admin, Links, &[Goto("/device"), Fill("Code", "@code"), Press("Continue")], "Sign a program in?"),
    view("device-answered", "logins/type.html", Admin, Links, &[Goto("/device"), Fill("Code", "@code"), Press("Continue"), Press("Approve")], "The program is signed in."),
    view("authorize", "logins/authorize.html", Admin, Links, &[Goto(AUTHORIZE)], "Waits at"),
    view("authorize-refused", "logins/wrong.html", Admin, Links, &[Goto("/oauth2/authorize?client_id=another")], "Not understood"),
    view("sign-out", "sign_in/out.html", Admin, Links, &[Goto("/sign-out")], "Sign out of this browser"),
    view("sign-in", "sign_in/show.html", Nobody, Links, &[Goto("/sign-in")], "You sign in here by a link"),
    view("sign-in-link", "sign_in/link.html", Nobody, Links, &[Goto("@link")], "It can be used once"),
    view("sign-in-providers", "sign_in/show.html", Nobody, Providers, &[Goto("/sign-in")], "Continue with Acme"),
    view("leaving", "sign_in/leaving.html", Nobody, Providers, &[Goto("/sign-in"), Press("Continue with Acme")], "You go on at Acme"),
    view("sign-in-cleartext", "sign_in/show.html", Nobody, Cleartext, &[Goto("/sign-in")], "can be read on the way"),
    view("sign-in-closed", "sign_in/show.html", Nobody, Closed, &[Goto("/sign-in")], "There is no way to sign in here yet"),
    view("not-found", "failure.html", Admin, Links, &[Goto("/nowhere")], "There is no such page here"),
    view("not-allowed", "failure.html", Member, Links, &[Goto("/admin/users")], "Not allowed"),
    view("not-now", "failure.html", Admin, Away, &[Goto(TOKENS)], "Who you are cannot be looked up"),
];
