//! What of the machine is in a sandbox: files, variables, descriptors.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
};

use latchkey::environments::runner::{
    Runner,
    local::{LocalRunner, SetupError},
};

use crate::{
    is_root,
    support::machine::{Machine, exec, running},
};

#[tokio::test]
async fn nothing_of_the_machine_gets_in() {
    let machine = Machine::new().await;
    let secret = machine.config.data_dir.join("secret");
    fs::write(&secret, "hunter2").unwrap();
    // A descriptor that every child would inherit.
    let open = fs::File::open(&secret).unwrap();
    rustix::io::fcntl_setfd(&open, rustix::io::FdFlags::empty()).unwrap();
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let said = async |text: &str| exec(&runner, id, text).await.stdout;

    // Descriptors: a command has its three; the supervisor does not show its own.
    assert_eq!(said("ls /proc/self/fd | tr '\\n' ' '").await, "0 1 2 3 ", "and that of ls");
    assert_eq!(said("ls -l /proc/self/fd; cat /proc/*/fdinfo/*").await.find("secret"), None);
    assert_eq!(exec(&runner, id, "ls /proc/1/fd/ || cat /proc/1/environ || cat /proc/1/mem").await.exit_code, 1);
    drop(open);

    // The environment's variables are exactly ours. `PWD` and `_` are the shell's.
    let variables = said("env | cut -d= -f1 | grep -v -x -e PWD -e _ | sort | tr '\\n' ' '").await;
    let ours =
        "HOME HTTPS_PROXY HTTP_PROXY LANG LOGNAME NO_PROXY PATH SHELL TERM USER http_proxy https_proxy no_proxy ";
    assert_eq!(variables, ours);

    // Files: nothing of the data directory, of /etc's secrets, of other people's homes; nothing can be written but
    // what is the environment's.
    let data = machine.config.data_dir.display();
    for path in [format!("{data}"), "/etc/shadow".into(), "/root".into(), "/etc/ssl/private".into(), "/sys".into()] {
        assert_eq!(exec(&runner, id, &format!("ls {path}")).await.exit_code, 2, "{path}");
    }
    for path in ["/", "/usr", "/etc", "/dev", "/run", "/run/egress", "/opt/latchkey", "/var", "/home"] {
        assert_ne!(exec(&runner, id, &format!("touch {path}/x")).await.exit_code, 0, "{path}");
    }
    for path in ["/workspace", "/home/dev", "/tmp", "/var/tmp", "/dev/shm"] {
        assert_eq!(exec(&runner, id, &format!("touch {path}/x")).await.exit_code, 0, "{path}");
    }
    assert_ne!(exec(&runner, id, "echo >> /opt/latchkey/latchkey").await.exit_code, 0);

    // Processes: only its own. Identity: nobody of the machine's.
    assert_eq!(said("ps -e -o comm= > /tmp/all; sort -u /tmp/all | tr '\\n' ' '").await, "latchkey ps sh ");
    assert_eq!(said("id -u; id -g; id -G").await, "1000\n1000\n1000\n");

    // Network: its own loopback.
    assert_eq!(said("tail -n +3 /proc/net/dev | cut -d: -f1").await.trim(), "lo");
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn every_place_that_can_be_written_to_is_the_environments_own() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    exec(&runner, id, "mkdir /workspace/a /tmp/b && touch /workspace/a/c /dev/shm/d").await;
    // Left out: what processes have of their own in /proc, the pressure there (a program may ask to be told of it),
    // devices, and the directory of terminals, in which nobody makes files.
    let list = "find / \\( -path '/proc/[0-9]*' -o -path /proc/pressure -o -path /dev/pts \\) -prune -o \
                -writable \\( -type d -o -type f \\) -print | while read f; do [ -c $f ] || echo $f; done | sort";
    let found = exec(&runner, id, list).await;
    let places: Vec<&str> = found.stdout.lines().collect();
    let own = [
        "/dev/shm",
        "/dev/shm/d",
        "/home/dev",
        "/run/latchkey",
        "/tmp",
        "/tmp/b",
        "/workspace",
        "/workspace/a",
        "/workspace/a/c",
    ];
    assert_eq!(places, own, "{}", found.stderr);
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_data_directory_that_every_sandbox_would_see_is_refused() {
    if !is_root() {
        return;
    }
    let mut machine = Machine::new().await;
    let below_usr = tempfile::tempdir_in("/usr/local").unwrap();
    fs::set_permissions(below_usr.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let link = machine.config.data_dir.join("link");
    symlink(below_usr.path(), &link).unwrap();
    for data_dir in [below_usr.path(), &link] {
        machine.config.data_dir = data_dir.to_owned();
        let refused = LocalRunner::open(machine.config.clone()).await;
        assert!(matches!(refused, Err(SetupError::Shown(_))), "{refused:?}");
        assert_eq!(fs::read_dir(data_dir).unwrap().count(), 0, "nothing is made there");
    }
}

#[tokio::test]
async fn trees_that_resist_are_removed() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    // Deeper than a path can be long (built from the inside out), closed, and with links out of it.
    let deep = "cd /workspace; n=$(printf 'n%.0s' $(seq 200)); mkdir inner; \
                for i in $(seq 40); do mkdir outer && mv inner outer/$n && mv outer inner || exit 1; done; \
                ln -s / root; ln -s ../../../.. up; mkdir closed; touch closed/x; chmod 0 closed";
    assert_eq!(exec(&runner, id, deep).await.exit_code, 0);
    runner.delete(id).await.unwrap();
    assert!(!machine.directory_of(id).exists());
}
