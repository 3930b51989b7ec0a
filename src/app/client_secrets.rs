//! The secrets that we have at providers: read with the rights that the process was started with.

use std::{collections::BTreeMap, fs::File, path::Path};

use super::{
    AppError,
    private_file::{self, Unread},
};
use crate::domain::{
    secret::Secret,
    sign_in::{Provider, ProviderName},
};

/// No provider gives longer ones.
const LIMIT: u64 = 4096;

/// By the names of their providers.
pub(super) type ClientSecrets = BTreeMap<ProviderName, Secret>;

/// Reads the secret of each provider that has one.
///
/// # Errors
/// [`AppError::Refused`], with everything that is wrong.
pub(super) fn load(providers: &[Provider]) -> Result<ClientSecrets, AppError> {
    let (mut secrets, mut mistakes) = (ClientSecrets::new(), Vec::new());
    for provider in providers {
        let Some(path) = &provider.client_secret_file else { continue };
        match read(path) {
            Ok(secret) => {
                secrets.insert(provider.name.clone(), secret);
            }
            Err(problem) => {
                mistakes.push(format!(
                    "the client secret of provider {}: {}: {problem}",
                    provider.name,
                    path.display()
                ));
            }
        }
    }
    if mistakes.is_empty() { Ok(secrets) } else { Err(AppError::Refused(mistakes.join("\n"))) }
}

/// Reads a secret of one line.
fn read(path: &Path) -> Result<Secret, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let text = private_file::read(file, LIMIT + 1).map_err(|unread| match unread {
        Unread::File(error) => error.to_string(),
        Unread::Owner(uid) => format!("belongs to another account (user ID {uid}); make it the server's with 'chown'"),
        Unread::Permissions(mode) => {
            format!("may be read or written by others (mode {mode:o}); make it safe with 'chmod 600'")
        }
    })?;
    // Editors end a file with a line break.
    let secret = text.strip_suffix('\n').unwrap_or(&text);
    let secret = secret.strip_suffix('\r').unwrap_or(secret);
    let is_one = !secret.is_empty() && text.len() as u64 <= LIMIT && !secret.chars().any(char::is_control);
    if is_one { Ok(Secret::new(secret.to_owned())) } else { Err("must be one line with the secret".to_owned()) }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn a_secret_is_one_line_that_nobody_else_reads() {
        let read_text = |text: &str, mode: u32| {
            let mut file = tempfile::NamedTempFile::new().unwrap();
            file.write_all(text.as_bytes()).unwrap();
            fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
            read(file.path()).map(|secret| secret.expose().to_owned())
        };
        for text in ["hunter 2", "hunter 2\n", "hunter 2\r\n"] {
            assert_eq!(read_text(text, 0o600), Ok("hunter 2".to_owned()));
        }
        assert!(read_text("x", 0o640).unwrap_err().contains("chmod 600"));
        for text in ["", "\n", "a\nb\n", &"x".repeat(5000)] {
            assert!(read_text(text, 0o600).unwrap_err().contains("one line"), "{text:?}");
        }
        assert!(read(Path::new("/nowhere/secret")).is_err());
    }
}
