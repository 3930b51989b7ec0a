//! The PostgreSQL programs of this machine.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::account::Account;
use super::error::EmbeddedError;
use super::files::read_bounded;
use super::layout::Layout;
use super::missing_major::MissingMajor;

/// The oldest major version whose catalogs and settings are as this code expects them.
const OLDEST_MAJOR: u32 = 14;

/// Where Debian and Ubuntu keep each major version.
const DEBIAN: &str = "/usr/lib/postgresql";

/// The programs of one major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Installation {
    pub(super) major: u32,
    programs: PathBuf,
}

impl Installation {
    /// The path of one of its programs.
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.programs.join(name)
    }

    /// The programs for this cluster: those of its own major version, or the newest for a cluster to be made.
    pub(super) fn choose(layout: &Layout, programs: Option<&Path>, account: &Account) -> Result<Self, EmbeddedError> {
        let wanted = cluster_version(layout)?;
        let mut installed = match programs {
            Some(programs) => at(programs).into_iter().collect(),
            None => find_all(wanted.as_deref()),
        };
        installed.sort_by_key(|installation| std::cmp::Reverse(installation.major));
        let Some(wanted) = wanted else {
            let newest = installed.into_iter().find(|installation| installation.major >= OLDEST_MAJOR);
            let looked =
                programs.map_or_else(|| format!("{DEBIAN}, pg_config, PATH"), |path| path.display().to_string());
            return newest.ok_or(EmbeddedError::NotInstalled { oldest: OLDEST_MAJOR, looked });
        };
        if let Some(found) = installed.iter().find(|installation| installation.major.to_string() == wanted) {
            return Ok(found.clone());
        }
        Err(EmbeddedError::MissingMajor(Box::new(MissingMajor {
            wanted,
            installed: installed.into_iter().map(|found| (found.major, found.programs)).collect(),
            data: layout.data(),
            config: layout.config(),
            account: (!account.is_current()).then(|| account.name().to_owned()),
        })))
    }
}

/// The major version of an existing cluster, as its file has it ("15"; before PostgreSQL 10 "9.6").
fn cluster_version(layout: &Layout) -> Result<Option<String>, EmbeddedError> {
    let data = layout.data();
    if !data.exists() {
        return Ok(None);
    }
    let damaged = |why: String| EmbeddedError::Damaged { path: data.clone(), why };
    let content =
        read_bounded(&data.join("PG_VERSION"), 64).map_err(|error| damaged(format!("PG_VERSION: {error}")))?;
    let version = String::from_utf8_lossy(&content).trim().to_owned();
    let plausible = !version.is_empty() && version.chars().all(|c| c.is_ascii_digit() || c == '.');
    if plausible { Ok(Some(version)) } else { Err(damaged(format!("PG_VERSION reads {version:?}"))) }
}

/// Every installation that can be found; those whose version takes a process to find out only where Debian's do not do.
fn find_all(wanted: Option<&str>) -> Vec<Installation> {
    let mut found: Vec<Installation> = std::fs::read_dir(DEBIAN)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let major = entry.file_name().to_str()?.parse().ok()?;
            Some(Installation { major, programs: entry.path().join("bin") })
        })
        .filter(|installation| is_complete(&installation.programs))
        .collect();
    let suits = |major: u32| wanted.map_or(major >= OLDEST_MAJOR, |wanted| major.to_string() == wanted);
    if !found.iter().any(|installation| suits(installation.major)) {
        let on_path = std::env::var_os("PATH").unwrap_or_default();
        let elsewhere = pg_config().into_iter().chain(std::env::split_paths(&on_path));
        for installation in elsewhere.filter(|programs| programs.is_absolute()).filter_map(|programs| at(&programs)) {
            if !found.iter().any(|known| known.major == installation.major) {
                found.push(installation);
            }
        }
    }
    found
}

/// The installation whose programs are in this directory.
fn at(programs: &Path) -> Option<Installation> {
    if !is_complete(programs) {
        return None;
    }
    let output = Command::new(programs.join("postgres")).arg("--version").output().ok()?;
    // "postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)", "postgres (PostgreSQL) 19devel"
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.split_whitespace().nth(2)?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    Some(Installation { major: digits.parse().ok()?, programs: programs.to_path_buf() })
}

fn is_complete(programs: &Path) -> bool {
    programs.join("postgres").is_file() && programs.join("initdb").is_file()
}

fn pg_config() -> Option<PathBuf> {
    let output = Command::new("pg_config").arg("--bindir").output().ok()?;
    Some(PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()))
}
