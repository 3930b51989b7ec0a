//! `gitpod audit-logs`: who did what, with which token.

use std::num::NonZeroUsize;

use clap::Args;
use latchkey::pb::gitpod::v1::{
    AuditLogOutcome, ListAuditLogsRequest, ResourceType, list_audit_logs_request::Filter,
    list_audit_logs_response::AuditLogEntry,
};
use uuid::Uuid;

use crate::{
    error::Failure,
    output::{self, Output},
    pages::fetch_all,
    printer::Printer,
    session::kind,
    target::Target,
};

/// Arguments of `audit-logs`.
#[derive(Debug, Args)]
pub(crate) struct AuditLogs {
    /// How many entries at most, the newest first [default: all]
    #[arg(long, value_name = "N")]
    limit: Option<NonZeroUsize>,
    /// Only what these users or service accounts did, by ID
    #[arg(long, value_name = "ID")]
    actor: Vec<Uuid>,
    /// Only what was done to these environments, tokens or users, by ID
    #[arg(long, value_name = "ID")]
    subject: Vec<Uuid>,
    #[command(flatten)]
    output: Output,
}

/// Lists entries of the audit log.
pub(crate) async fn run(arguments: AuditLogs, target: &Target, printer: &Printer) -> Result<(), Failure> {
    let connection = target.connect()?;
    let filter = Filter {
        actor_ids: arguments.actor.iter().map(Uuid::to_string).collect(),
        subject_ids: arguments.subject.iter().map(Uuid::to_string).collect(),
        ..Default::default()
    };
    let entries = fetch_all(arguments.limit.map(NonZeroUsize::get), async |pagination| {
        let request = ListAuditLogsRequest { pagination: Some(pagination), filter: Some(filter.clone()), sort: None };
        let page = connection.call(connection.events().list_audit_logs(request)).await?;
        Ok((page.entries, page.pagination))
    })
    .await?;
    let table = || {
        output::table(
            ["TIME", "ACTION", "SUBJECT", "ACTOR", "TOKEN", "FROM", "OUTCOME", "COUNT"],
            entries.iter().map(row),
        )
    };
    arguments.output.show(printer, || output::json_array(&entries), table)
}

fn row(entry: &AuditLogEntry) -> [String; 8] {
    let outcome = match entry.outcome() {
        AuditLogOutcome::Unspecified => "",
        AuditLogOutcome::Succeeded => "succeeded",
        AuditLogOutcome::Denied => "denied",
    };
    [
        output::moment(entry.created_at.as_ref()),
        entry.action.clone(),
        joined(&subject_kind(entry.subject_type()), &entry.subject_id),
        joined(kind(entry.actor_principal()), &entry.actor_id),
        entry.token_id.clone(),
        entry.peer_address.clone(),
        if entry.reason.is_empty() { outcome.to_owned() } else { format!("{outcome}: {}", entry.reason) },
        entry.count.to_string(),
    ]
}

fn joined(kind: &str, id: &str) -> String {
    format!("{kind} {id}").trim().to_owned()
}

/// `RESOURCE_TYPE_PERSONAL_ACCESS_TOKEN` is a "personal access token".
fn subject_kind(subject: ResourceType) -> String {
    let name = subject.as_str_name().trim_start_matches("RESOURCE_TYPE_");
    if subject == ResourceType::Unspecified { String::new() } else { name.to_lowercase().replace('_', " ") }
}
