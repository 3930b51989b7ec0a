//! The audit log: one's own entries, or as an admin everybody's.

use std::collections::{BTreeSet, HashMap};

use askama::Template;
use axum::{body::Body, extract::State};
use http::Response;
use time::{Date, OffsetDateTime, macros::format_description};
use url::form_urlencoded;
use uuid::Uuid;

use super::{
    Pages, answer,
    failure::Failure,
    frame::{Frame, Section},
    moment::Moment,
    paging::Paging,
    visit::Visit,
};
use crate::domain::{
    audit::{AuditEntry, AuditFilter, Doer, Outcome, SubjectType},
    clock::{Clock, SystemClock},
    ids::PrincipalId,
    page::{Order, PageRequest},
    principal::PrincipalKind,
};

/// An entry on a page.
pub(super) struct Row {
    pub(super) at: Moment,
    pub(super) action: String,
    pub(super) rpc: String,
    pub(super) is_denied: bool,
    pub(super) reason: String,
    pub(super) count: i64,
    /// What whoever did it is called.
    pub(super) name: String,
    /// Who that is, and where there is more about them.
    pub(super) actor: Option<(String, Option<String>)>,
    pub(super) token_id: Option<String>,
    pub(super) session_id: Option<String>,
    /// What it was done to, and where that is.
    pub(super) subject: Option<(&'static str, String, Option<String>)>,
    pub(super) peer: Option<String>,
    pub(super) user_agent: Option<String>,
    pub(super) request_id: Option<String>,
    pub(super) id: String,
}

impl Row {
    fn new(entry: AuditEntry, names: &HashMap<PrincipalId, String>, is_admin: bool, now: OffsetDateTime) -> Self {
        let subject = entry.subject.map(|subject| {
            let folder = match subject.subject_type {
                SubjectType::PersonalAccessToken => Some("/settings/personal-access-tokens"),
                SubjectType::Environment => Some("/details"),
                SubjectType::User => is_admin.then_some(USERS),
                SubjectType::ServiceAccount => is_admin.then_some(SERVICE_ACCOUNTS),
                SubjectType::Organization | SubjectType::Session | SubjectType::LoginRequest => None,
            };
            let page = folder.map(|folder| format!("{folder}/{}", subject.id));
            (subject.subject_type.as_str(), subject.id.to_string(), page)
        });
        let name = match entry.actor {
            // Whoever has no row any more has an ID all the same.
            Doer::Principal(id, _) => names.get(&id).cloned().unwrap_or_else(|| id.to_string()),
            Doer::Operator => "the operator".to_owned(),
            Doer::Stranger => "nobody who is known here".to_owned(),
        };
        let actor = entry.actor.principal().map(|(id, kind)| {
            let folder = match kind {
                PrincipalKind::User => USERS,
                PrincipalKind::ServiceAccount => SERVICE_ACCOUNTS,
            };
            (id.to_string(), is_admin.then(|| format!("{folder}/{id}")))
        });
        Self {
            at: Moment::new(entry.created_at, now),
            action: entry.action,
            rpc: entry.rpc,
            is_denied: entry.outcome == Outcome::Denied,
            reason: entry.reason,
            count: entry.count,
            name,
            actor,
            token_id: entry.token_id.map(|id| id.to_string()),
            session_id: entry.session_id.map(|id| id.to_string()),
            subject,
            peer: entry.peer.map(|peer| peer.to_string()),
            user_agent: entry.user_agent,
            request_id: entry.request_id.map(|id| id.to_string()),
            id: entry.id.to_string(),
        }
    }
}

const USERS: &str = "/admin/users";
const SERVICE_ACCOUNTS: &str = "/admin/service-accounts";

/// Entries as they are shown, with the names of who did it.
async fn rows(pages: &Pages, visit: &Visit, entries: Vec<AuditEntry>) -> Result<Vec<Row>, Failure> {
    let who: BTreeSet<PrincipalId> = entries.iter().filter_map(|entry| Some(entry.actor.principal()?.0)).collect();
    let who: Vec<PrincipalId> = who.into_iter().collect();
    let names = pages.users.names(visit.actor(), &who).await?;
    let (is_admin, now) = (visit.actor().is_admin(), SystemClock.now());
    Ok(entries.into_iter().map(|entry| Row::new(entry, &names, is_admin, now)).collect())
}

#[derive(Template)]
#[template(path = "audit_logs/list.html", config = "src/web/askama.toml")]
struct List {
    frame: Frame,
    entries: Vec<Row>,
    is_everybodys: bool,
    filter: Asked,
    problem: Option<&'static str>,
    subject_types: Vec<&'static str>,
    paging: Paging,
}

/// What is asked for, as it stands in the form.
struct Asked {
    subject_type: String,
    subject: String,
    actor: String,
    from: String,
    to: String,
}

impl Asked {
    fn of(visit: &Visit) -> Self {
        let text = |name: &str| visit.query(name).trim().to_owned();
        Self {
            subject_type: text("subject_type"),
            subject: text("subject"),
            actor: text("actor"),
            from: text("from"),
            to: text("to"),
        }
    }

    /// The same for the log, or what is wrong with it.
    fn filter(&self) -> Result<AuditFilter, &'static str> {
        let id = |text: &str| -> Result<Vec<Uuid>, &'static str> {
            if text.is_empty() {
                return Ok(Vec::new());
            }
            text.parse()
                .map(|id| vec![id])
                .map_err(|_| "An ID is a UUID, such as 01990000-0000-7000-8000-000000000000.")
        };
        let subject_types: Vec<_> =
            SubjectType::ALL.into_iter().filter(|subject| subject.as_str() == self.subject_type).collect();
        if subject_types.is_empty() && !self.subject_type.is_empty() {
            return Err("There is nothing of that kind in the log.");
        }
        Ok(AuditFilter {
            actor_ids: id(&self.actor)?.into_iter().map(Into::into).collect(),
            subject_ids: id(&self.subject)?,
            subject_types,
            from: day(&self.from)?,
            // The last day is one of those that are asked for; after the last one that there is comes none.
            to: day(&self.to)?.and_then(|day| day.checked_add(time::Duration::DAY)),
            ..AuditFilter::default()
        })
    }

    /// Where the same is asked for.
    fn address(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        for (name, value) in [
            ("subject_type", &self.subject_type),
            ("subject", &self.subject),
            ("actor", &self.actor),
            ("from", &self.from),
            ("to", &self.to),
        ] {
            if !value.is_empty() {
                query.append_pair(name, value);
            }
        }
        let query = query.finish();
        if query.is_empty() { "/audit-logs".to_owned() } else { format!("/audit-logs?{query}") }
    }
}

/// The beginning of a day, in UTC.
fn day(text: &str) -> Result<Option<OffsetDateTime>, &'static str> {
    if text.is_empty() {
        return Ok(None);
    }
    // Neither PostgreSQL nor a clock has all the years that can be written.
    let day = Date::parse(text, format_description!("[year]-[month]-[day]")).ok().filter(|day| day.year() >= 1);
    day.map(|day| Some(day.midnight().assume_utc())).ok_or("A day is written as 2026-03-31.")
}

/// `/audit-logs`
pub(super) async fn list(State(pages): State<Pages>, visit: Visit) -> Result<Response<Body>, Failure> {
    let asked = Asked::of(&visit);
    let page = visit.page();
    let (filter, problem) = match asked.filter() {
        Ok(filter) => (Some(filter), None),
        Err(problem) => (None, Some(problem)),
    };
    let (entries, next) = match filter {
        Some(filter) => {
            let found = pages.audit_logs.list(visit.actor(), filter, Order::Descending, &page).await?;
            (rows(&pages, &visit, found.entries).await?, found.next)
        }
        None => (Vec::new(), None),
    };
    let paging = Paging::new(&asked.address(), &page, next);
    answer::ok(&List {
        frame: visit.frame(Section::AuditLogs, "Audit log").await?,
        entries,
        is_everybodys: visit.actor().is_admin(),
        filter: asked,
        problem,
        subject_types: SubjectType::ALL.into_iter().map(SubjectType::as_str).collect(),
        paging,
    })
}

/// The latest entries of what was done to one thing, which the visitor may see, and whether there are earlier ones.
pub(super) async fn of_subject(pages: &Pages, visit: &Visit, subject: Uuid) -> Result<(Vec<Row>, bool), Failure> {
    let filter = AuditFilter { subject_ids: vec![subject], ..AuditFilter::default() };
    let found = pages.audit_logs.list(visit.actor(), filter, Order::Descending, &PageRequest::first()).await?;
    Ok((rows(pages, visit, found.entries).await?, found.next.is_some()))
}
