//! Who gets in: peer authentication, with a map of accounts to roles.

use std::fmt::Write as _;

use super::account::Account;
use super::config::Role;
use super::error::EmbeddedError;
use super::files::replace_file;
use super::layout::Layout;

/// The name of the map, in both files.
const MAP: &str = "latchkey";

/// The accounts that may connect, and as whom.
#[derive(Debug, Clone)]
pub(super) struct Access {
    /// May connect as every role, the superuser's too: root (if it started us), the account that runs PostgreSQL.
    trusted: Vec<Account>,
    /// May connect as the serving role.
    guests: Vec<Account>,
}

impl Access {
    /// The rules for this process, the account that runs PostgreSQL and the accounts that were named.
    pub(super) fn new(current: &Account, postgres: &Account, named: &[String]) -> Result<Self, EmbeddedError> {
        let mut trusted = vec![current.clone()];
        if postgres != current {
            trusted.push(postgres.clone());
        }
        let mut guests = Vec::new();
        for name in named {
            let account = Account::named(name)?;
            if !current.uid().is_root() && !account.is_current() {
                return Err(EmbeddedError::AccountsNeedRoot { name: name.clone() });
            }
            if !trusted.contains(&account) && !guests.contains(&account) {
                guests.push(account);
            }
        }
        for account in trusted.iter().chain(&guests) {
            let name = account.name();
            // A leading slash would make it a regular expression; quotes and line ends would end the field.
            if name.starts_with('/') || name.contains(['"', '\n', '\r', '\\']) {
                return Err(EmbeddedError::AccountName { name: name.to_owned() });
            }
        }
        Ok(Self { trusted, guests })
    }

    /// The accounts that may connect but neither started us nor run PostgreSQL.
    pub(super) fn guests(&self) -> &[Account] {
        &self.guests
    }

    /// Writes both files; true if a PostgreSQL that is running must read them again.
    pub(super) fn write(&self, layout: &Layout) -> Result<bool, EmbeddedError> {
        let ownership = layout.read_by_postgres(0o640);
        let rules = replace_file(&layout.config().join("pg_hba.conf"), &rules(), ownership)?;
        let map = replace_file(&layout.config().join("pg_ident.conf"), &self.map(), ownership)?;
        Ok(rules || map)
    }

    fn map(&self) -> String {
        let mut text = "# Written by Latchkey at every start.\n".to_owned();
        let mut add = |account: &Account, roles: &[Role]| {
            for role in roles {
                writeln!(text, "{MAP} \"{}\" \"{}\"", account.name(), role.name()).expect("a String takes every line");
            }
        };
        for account in &self.trusted {
            add(account, &[Role::Superuser, Role::Owner, Role::Serving]);
        }
        for account in &self.guests {
            add(account, &[Role::Serving]);
        }
        text
    }
}

fn rules() -> String {
    let mut text =
        "# Written by Latchkey at every start. Nothing but the Unix socket, nobody but the map's.\n".to_owned();
    for role in [Role::Superuser, Role::Owner, Role::Serving] {
        writeln!(text, "local all \"{}\" peer map={MAP}", role.name()).expect("a String takes every line");
    }
    text
}
