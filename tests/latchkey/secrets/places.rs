//! Where it is searched: everything that a run leaves behind, or that somebody else may see of it.

use std::{fs, path::Path};

use prost::Message;
use tonic::{Response, Status, metadata::MetadataMap};

use super::search::Secrets;
use crate::support::{LATCHKEY, Ran, TestDatabase};

/// The columns that digests are kept in.
const DIGESTS: [&str; 2] = ["public.personal_access_tokens.digest", "public.environment_tokens.digest"];

/// What was answered, to anybody.
#[derive(Default)]
pub(super) struct Answers(pub(super) Vec<(String, Vec<u8>)>);

impl Answers {
    /// Keeps an answer, with its headers and details, and gives it back.
    pub(super) fn keep<M: Message>(&mut self, to: &str, answer: Result<Response<M>, Status>) -> Result<M, Status> {
        match answer {
            Ok(answer) => {
                self.keep_headers(to, Ok(answer.metadata().clone())).unwrap();
                let message = answer.into_inner();
                self.0.push((to.to_owned(), message.encode_to_vec()));
                Ok(message)
            }
            Err(status) => Err(self.keep_headers(to, Err(status)).unwrap_err()),
        }
    }

    /// The same, of an answer whose message has gone.
    pub(super) fn keep_headers(&mut self, to: &str, answer: Result<MetadataMap, Status>) -> Result<(), Status> {
        let (text, details) = match &answer {
            Ok(headers) => (format!("{headers:?}"), &[][..]),
            Err(status) => (format!("{} {:?}", status.message(), status.metadata()), status.details()),
        };
        self.0.push((to.to_owned(), [text.as_bytes(), details].concat()));
        answer.map(drop)
    }

    /// What a program said, but for the token that it was asked for.
    pub(super) fn keep_ran(&mut self, to: &str, ran: &Ran, token: Option<&str>) {
        let said = format!("{}{}", ran.stdout, ran.stderr);
        self.keep_text(to, &token.map_or_else(|| said.clone(), |token| said.replacen(token, "", 1)));
    }

    pub(super) fn keep_text(&mut self, to: &str, text: &str) {
        self.0.push((to.to_owned(), text.as_bytes().to_vec()));
    }
}

/// Makes known the digest of each token there is.
pub(super) async fn learn_digests(database: &TestDatabase, secrets: &mut Secrets) {
    let digests =
        "SELECT id::text, digest FROM personal_access_tokens UNION ALL SELECT id::text, digest FROM environment_tokens";
    for row in database.owner().await.query(digests, &[]).await.unwrap() {
        secrets.add_digest(&format!("the digest of {}", row.get::<_, &str>(0)), row.get(1));
    }
}

/// What is where it should not be in the database: in any column of any table or partition, as PostgreSQL writes it.
pub(super) async fn search_database(database: &TestDatabase, secrets: &Secrets) -> Vec<String> {
    let client = database.superuser().await;
    let columns = "
        SELECT format('%s.%s.%s', nspname, relname, attname), format('%I.%I', nspname, relname), format('%I', attname)
        FROM pg_class JOIN pg_namespace n ON n.oid = relnamespace JOIN pg_attribute ON attrelid = pg_class.oid
        WHERE relkind IN ('r', 'p', 'm') AND attnum > 0 AND NOT attisdropped
            AND nspname NOT IN ('pg_catalog', 'information_schema') AND nspname NOT LIKE 'pg\\_t%'";
    let mut found = Vec::new();
    let mut partitions = 0;
    let mut digests = 0;
    for row in client.query(columns, &[]).await.unwrap() {
        let (name, table, column): (String, String, String) = (row.get(0), row.get(1), row.get(2));
        let values = format!("SELECT coalesce(string_agg({column}::text, E'\\n'), '') FROM {table}");
        let values: String = client.query_one(&values, &[]).await.unwrap().get(0);
        partitions += usize::from(name.starts_with("public.audit_logs_") && !values.is_empty());
        let here = if DIGESTS.contains(&name.as_str()) {
            digests += secrets.found_in(values.as_bytes()).len();
            secrets.found_beside_digests(values.as_bytes())
        } else {
            secrets.found_in(values.as_bytes())
        };
        found.extend(here.into_iter().map(|secret| format!("{secret} is in the column {name}")));
    }
    assert!(partitions > 0 && digests > 1, "it was searched: {partitions} columns of partitions, {digests} digests");
    found
}

/// What is in the files below a directory, but for the file of signing keys.
pub(super) fn search_files(directory: &Path, secrets: &Secrets) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    let mut files = 0;
    let program = fs::read(LATCHKEY).unwrap();
    while let Some(next) = directories.pop() {
        for entry in fs::read_dir(next).unwrap() {
            let (path, kind) = entry.map(|entry| (entry.path(), entry.file_type().unwrap())).unwrap();
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() {
                let content = fs::read(&path).unwrap();
                // The sandboxes' copy was there before any secret, and is long.
                if content == program {
                    continue;
                }
                files += 1;
                let here = secrets.found_in(&content);
                if path == directory.join("signing-keys") {
                    assert!(here.iter().any(|name| name.contains("signing key")), "it was searched: {here:?}");
                } else {
                    found.extend(here.into_iter().map(|secret| format!("{secret} is in {}", path.display())));
                }
            }
        }
    }
    assert!(files > 1, "there were files");
    found
}

/// What everybody on the machine may see of processes, and what their own account may: their command lines and variables.
pub(super) fn search_processes(known: &str, secrets: &Secrets) -> Vec<String> {
    let mut found = Vec::new();
    let mut was_seen = false;
    for process in fs::read_dir("/proc").unwrap().flatten() {
        for file in ["cmdline", "environ"] {
            // One that has just ended, or that is another account's, has nothing to show.
            let Ok(text) = fs::read(process.path().join(file)) else { continue };
            was_seen |= String::from_utf8_lossy(&text).contains(known);
            let here = secrets.found_in(&text).into_iter().filter(|name| !name.starts_with("something"));
            found.extend(here.map(|secret| format!("{secret} is in {}/{file}", process.path().display())));
        }
    }
    assert!(was_seen, "what is known of {known} was searched");
    found
}
