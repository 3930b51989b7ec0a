//! PostgreSQL's settings: for one small server on one machine, reached by a Unix socket alone.

use std::ffi::OsString;
use std::path::Path;

use super::config::ClusterConfig;
use super::error::EmbeddedError;
use super::layout::Layout;

/// Those that decide who gets in and where things are; everything else relies on them.
const OURS_ALONE: [&str; 11] = [
    "listen_addresses",
    "port",
    "unix_socket_directories",
    "unix_socket_permissions",
    "unix_socket_group",
    "hba_file",
    "ident_file",
    "data_directory",
    "config_file",
    "external_pid_file",
    "log_directory",
];

/// Settings with a value of our own, where PostgreSQL's default does not suit. An extra option may override each.
const DEFAULTS: [(&str, &str); 18] = [
    ("cluster_name", "latchkey"),
    // A few pools of connections, one listener, and the administrator's own.
    ("max_connections", "60"),
    ("shared_buffers", "128MB"),
    // Bounds the disk that the journal takes, and the time that recovery from a crash takes.
    ("max_wal_size", "512MB"),
    // Nobody replicates from it: its rules let no one.
    ("max_wal_senders", "0"),
    // Every query is short: compiling it would cost more than running it.
    ("jit", "off"),
    // One system call less for each statement.
    ("update_process_title", "off"),
    ("timezone", "UTC"),
    ("log_timezone", "UTC"),
    // One file a weekday, overwritten a week later.
    ("logging_collector", "on"),
    ("log_filename", "postgresql-%a.log"),
    ("log_file_mode", "0600"),
    ("log_rotation_age", "1d"),
    ("log_rotation_size", "0"),
    ("log_truncate_on_rotation", "on"),
    ("log_checkpoints", "off"),
    // No statement and no row's values in the log.
    ("log_min_error_statement", "panic"),
    ("log_error_verbosity", "terse"),
];

/// The arguments of `postgres`.
pub(super) fn arguments(layout: &Layout, socket_directory: &Path, config: &ClusterConfig) -> Vec<OsString> {
    let mut arguments = vec![OsString::from("-D"), layout.data().into()];
    let mut set = |name: &str, value: &dyn AsRef<std::ffi::OsStr>| {
        let mut setting = OsString::from(format!("{name}="));
        setting.push(value.as_ref());
        arguments.extend([OsString::from("-c"), setting]);
    };
    for (name, value) in DEFAULTS {
        set(name, &value);
    }
    for (name, value) in &config.options {
        set(name, value);
    }
    set("listen_addresses", &"");
    set("port", &"5432");
    set("unix_socket_directories", &socket_directory);
    set("unix_socket_permissions", &"0777");
    set("hba_file", &layout.config().join("pg_hba.conf"));
    set("ident_file", &layout.config().join("pg_ident.conf"));
    set("log_directory", &layout.log());
    arguments
}

/// Whether the data is to survive a crash of the machine; false only for a test suite's.
pub(super) fn is_durable(config: &ClusterConfig) -> bool {
    let last = config.options.iter().rev().find(|(name, _)| name.eq_ignore_ascii_case("fsync"));
    last.is_none_or(|(_, value)| !matches!(value.to_ascii_lowercase().as_str(), "off" | "false" | "no" | "0"))
}

/// Refuses options that Latchkey itself must set.
pub(super) fn check(config: &ClusterConfig) -> Result<(), EmbeddedError> {
    for (name, value) in &config.options {
        let refuse = |why| Err(EmbeddedError::Setting { name: name.clone(), why });
        if OURS_ALONE.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
            return refuse("Latchkey sets it");
        }
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.".contains(&byte)) {
            return refuse("that is not the name of a setting");
        }
        if value.contains('\0') {
            return refuse("its value has a NUL character");
        }
    }
    Ok(())
}
