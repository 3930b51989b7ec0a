//! How data is shown: tables for people, JSON and YAML for scripts.

use std::sync::{Arc, LazyLock};

use buffa_descriptor::{DescriptorPool, reflect::DynamicMessage};
use clap::{Args, ValueEnum};
use comfy_table::{ContentArrangement, Table, presets};
use latchkey::{
    domain::clock::{Clock, SystemClock, is_expired},
    pb::{
        self,
        gitpod::v1::{
            CreatePersonalAccessTokenResponse, Environment, EnvironmentClass, GetAuthenticatedIdentityResponse,
            PersonalAccessToken, User, list_audit_logs_response::AuditLogEntry,
        },
    },
};
use prost_types::Timestamp;
use serde_json::Value;
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use crate::{
    error::Failure,
    printer::{Printer, one_line},
};

/// In which form data is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// The API's own JSON (proto3 JSON); a list is an array
    Json,
    /// The same as YAML
    Yaml,
    /// For people
    Table,
}

/// The choice of the form.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// In which form the data is printed
    #[arg(short = 'o', long = "output", value_enum, default_value_t = Format::Table, value_name = "FORMAT")]
    format: Format,
}

impl From<Format> for Output {
    fn from(format: Format) -> Self {
        Self { format }
    }
}

impl Output {
    /// Whether it is for people.
    pub(crate) fn is_table(self) -> bool {
        self.format == Format::Table
    }

    /// Prints data in the form that was asked for.
    ///
    /// # Errors
    /// When it cannot be printed, or `data` cannot be made.
    pub(crate) fn show(
        self,
        printer: &Printer,
        data: impl FnOnce() -> Result<Value, Failure>,
        table: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        match self.format {
            Format::Json => printer.data(&serde_json::to_string_pretty(&data()?).map_err(|e| unshowable(&e))?),
            Format::Yaml => printer.data(&serde_norway::to_string(&data()?).map_err(|e| unshowable(&e))?),
            Format::Table => match table() {
                empty if empty.is_empty() => Ok(()),
                table => printer.data(&table),
            },
        }
    }
}

fn unshowable(error: &dyn std::error::Error) -> Failure {
    Failure::Failed(format!("the server's answer cannot be shown: {error}"))
}

static DESCRIPTORS: LazyLock<Arc<DescriptorPool>> = LazyLock::new(|| {
    DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).expect("the descriptor set is written by the build script").into()
});

/// A message of the contract, with its full name in it.
pub(crate) trait Described: prost::Message {
    /// The full name.
    const NAME: &'static str;
}

macro_rules! described {
    ($($message:ty => $name:literal,)*) => {$(
        impl Described for $message {
            const NAME: &'static str = $name;
        }
    )*};
}

described! {
    Environment => "gitpod.v1.Environment",
    EnvironmentClass => "gitpod.v1.EnvironmentClass",
    PersonalAccessToken => "gitpod.v1.PersonalAccessToken",
    CreatePersonalAccessTokenResponse => "gitpod.v1.CreatePersonalAccessTokenResponse",
    AuditLogEntry => "gitpod.v1.ListAuditLogsResponse.AuditLogEntry",
    GetAuthenticatedIdentityResponse => "gitpod.v1.GetAuthenticatedIdentityResponse",
    User => "gitpod.v1.User",
}

/// A message as proto3 JSON: lowerCamelCase names, enums by name, fields at their defaults left out.
///
/// # Errors
/// [`Failure::Failed`] for what JSON cannot say, such as a time beyond the year 9999.
pub(crate) fn json<M: Described>(message: &M) -> Result<Value, Failure> {
    let index = DESCRIPTORS.message_index(M::NAME).expect("the name is in the descriptor set");
    let dynamic = DynamicMessage::decode(Arc::clone(&DESCRIPTORS), index, &message.encode_to_vec())
        .map_err(|error| unshowable(&error))?;
    serde_json::to_value(&dynamic).map_err(|error| unshowable(&error))
}

/// Messages as a JSON array.
///
/// # Errors
/// As [`json`].
pub(crate) fn json_array<M: Described>(messages: &[M]) -> Result<Value, Failure> {
    messages.iter().map(json).collect::<Result<_, _>>().map(Value::Array)
}

/// A table with a line for each entry; empty without entries.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = plain_table();
    table.set_header(header);
    table.add_rows(rows.into_iter().map(|row| row.map(|cell| one_line(&cell))));
    if table.is_empty() { String::new() } else { trimmed(&table) }
}

/// A table of names and values, for one thing; what has no value is left out.
pub(crate) fn details<const N: usize>(rows: [(&str, String); N]) -> String {
    let mut table = plain_table();
    for (name, value) in rows.into_iter().filter(|(_, value)| !value.is_empty()) {
        table.add_row([name.to_owned(), one_line(&value)]);
    }
    trimmed(&table)
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    // One entry, one line, whole: IDs are there to be copied, and lines for `grep`.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

/// The table without the blanks at both ends of its lines.
fn trimmed(table: &Table) -> String {
    let text = table.to_string();
    let lines = text.lines().map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end());
    lines.collect::<Vec<_>>().join("\n")
}

const TIME: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]Z");

/// A moment, in UTC; empty when there is none.
pub(crate) fn moment(timestamp: Option<&Timestamp>) -> String {
    timestamp.and_then(parsed).and_then(|time| time.format(TIME).ok()).unwrap_or_default()
}

/// A moment from which on something is refused, and whether it has come.
pub(crate) fn expiry(timestamp: Option<&Timestamp>) -> String {
    let expired = timestamp.and_then(parsed).is_some_and(|time| is_expired(time, SystemClock.now()));
    format!("{}{}", moment(timestamp), if expired { " (expired)" } else { "" })
}

fn parsed(timestamp: &Timestamp) -> Option<OffsetDateTime> {
    OffsetDateTime::from_unix_timestamp(timestamp.seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_described_message_is_in_the_descriptor_set() {
        assert!(json(&Environment::default()).is_ok());
        assert!(json(&EnvironmentClass::default()).is_ok());
        assert!(json(&PersonalAccessToken::default()).is_ok());
        assert!(json(&CreatePersonalAccessTokenResponse::default()).is_ok());
        assert!(json(&AuditLogEntry::default()).is_ok());
        assert!(json(&GetAuthenticatedIdentityResponse::default()).is_ok());
        assert!(json(&User::default()).is_ok());
    }

    #[test]
    fn a_table_has_one_line_an_entry_and_no_control_characters() {
        let shown = table(["ID", "NAME"], [["1".to_owned(), "a\nb\u{1b}".to_owned()]]);
        assert_eq!(shown.lines().count(), 2, "{shown}");
        assert!(!shown.contains('\u{1b}'));
        assert_eq!(table(["ID"], []), "");
    }

    #[test]
    fn times_are_shown_in_utc() {
        let timestamp = Timestamp { seconds: 1_767_225_600, nanos: 5 };
        assert_eq!(moment(Some(&timestamp)), "2026-01-01 00:00:00Z");
        assert_eq!(moment(None), "");
        assert_eq!(expiry(Some(&Timestamp { seconds: 0, nanos: 0 })), "1970-01-01 00:00:00Z (expired)");
    }
}
