//! The environment variables that commands get: these and no others.

use std::{net::SocketAddr, process::Command};

use super::task::places;

/// Sets a command's variables. `proxy` is where the forwarder listens; `no_proxy` names hosts that are reached
/// without it.
pub(super) fn set(command: &mut Command, proxy: SocketAddr, no_proxy: &str) {
    command.env_clear();
    command.envs([
        ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
        ("HOME", places::HOME),
        ("USER", "dev"),
        ("LOGNAME", "dev"),
        ("SHELL", "/bin/sh"),
        ("LANG", "C.UTF-8"),
        ("TERM", "dumb"),
    ]);
    // Programs differ in which spelling they read; curl, and git with it, reads http_proxy in lower case alone.
    let proxy = format!("http://{proxy}");
    for name in ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env(name, &proxy);
    }
    if !no_proxy.is_empty() {
        command.env("no_proxy", no_proxy).env("NO_PROXY", no_proxy);
    }
}
