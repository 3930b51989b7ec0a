//! What may be done in a sandbox, and what no trick gets.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    process::Command,
};

use latchkey::environments::runner::Runner;
use nix::{
    libc,
    sched::{CloneFlags, setns, unshare},
    sys::stat::{Mode, SFlag, makedev, mknod},
    unistd::{Gid, Uid, setresgid, setresuid},
};

use crate::{
    is_root,
    support::machine::{Machine, exec, running, sandbox},
};

#[tokio::test]
async fn rights_cannot_be_had_inside() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let capabilities = exec(&runner, id, "grep -E '^(Cap|NoNewPrivs)' /proc/self/status").await.stdout;
    for line in capabilities.lines() {
        let (name, value) = line.split_once(":\t").unwrap();
        assert_eq!(value.trim_start_matches('0'), if name == "NoNewPrivs" { "1" } else { "" }, "{line}");
    }
    for text in [
        "unshare --user true",
        "unshare --user --map-root-user --mount mount -t tmpfs none /mnt",
        "unshare --mount true",
        "mount -t tmpfs none /tmp",
        "nsenter --target 1 --mount true",
        "kill -KILL 1 && sleep 0.2 && kill -0 1 && false",
        "chroot / true",
        "hostname other",
    ] {
        let refused = exec(&runner, id, text).await;
        // Not for want of the program.
        assert!(![0, 126, 127].contains(&refused.exit_code), "{text}: {refused:?}");
    }
    // Process 1 is still there.
    assert_eq!(exec(&runner, id, "true").await.exit_code, 0);
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn the_supervisor_is_closed_to_the_code_around_it() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let (ptrace, readv, writev) = (libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev);
    let (pidfd_open, pidfd_getfd) = (libc::SYS_pidfd_open, libc::SYS_pidfd_getfd);
    // The same is done to a process of the command's own first, where it works.
    let script = format!(
        r#"
        $text = "hunter2!"; $at = pack("PQ", $text, 8);
        if (!($own = fork)) {{ sleep 60; exit }}
        sub try {{ my $name = shift; print $name, $_[0] < 0 ? " no " : " yes ", $_[0] < 0 ? $!+0 : "", "\n" }}
        for $process ($own, 1) {{
            try("readv", syscall({readv}, $process, $at, 1, $at, 1, 0));
            try("writev", syscall({writev}, $process, $at, 1, $at, 1, 0));
            $pidfd = syscall({pidfd_open}, $process, 0);
            try("getfd", syscall({pidfd_getfd}, $pidfd, 0, 0));
            # Attached to by PTRACE_SEIZE, which stops nobody, and by PTRACE_ATTACH.
            try("seize", syscall({ptrace}, 0x4206, $process, 0, 0));
            try("attach", $process == 1 ? syscall({ptrace}, 16, $process, 0, 0) : 0);
            try("memory", open($memory, "+<", "/proc/$process/mem") ? 0 : -1);
            try("descriptors", opendir($descriptors, "/proc/$process/fd") ? 0 : -1);
        }}
        kill 9, $own;"#
    );
    let tried = exec(&runner, id, &format!("cat > /tmp/try.pl <<'END'\n{script}\nEND\nperl /tmp/try.pl")).await;
    let (perm, access) = (libc::EPERM, libc::EACCES);
    let expected = format!(
        "readv yes \nwritev yes \ngetfd yes \nseize yes \nattach yes \nmemory yes \ndescriptors yes \n\
         readv no {perm}\nwritev no {perm}\ngetfd no {perm}\nseize no {perm}\nattach no {perm}\nmemory no {access}\n\
         descriptors no {access}\n"
    );
    assert_eq!(tried.stdout, expected, "{}", tried.stderr);
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn no_user_namespace_can_be_made_in_a_sandbox_even_without_the_filter() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let first = sandbox(&machine.directory_of(id)).unwrap();
    let users = File::open(format!("/proc/{}/ns/user", first.as_raw_nonzero())).unwrap();
    // From outside comes a process that has no filter, and becomes the sandbox's user.
    let mut guest = Command::new("true");
    let (user, group) = (Uid::from_raw(1000), Gid::from_raw(1000));
    // SAFETY: system calls alone, on a descriptor that was opened before the fork.
    unsafe {
        guest.pre_exec(move || {
            setns(&users, CloneFlags::CLONE_NEWUSER)?;
            setresgid(group, group, group)?;
            setresuid(user, user, user)?;
            Ok(unshare(CloneFlags::CLONE_NEWUSER)?)
        })
    };
    // Not a question of rights, which the guest has: there is no room for one more.
    assert_eq!(guest.status().unwrap_err().raw_os_error(), Some(libc::ENOSPC));
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn a_setuid_program_gives_nobody_its_owners_rights() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    // Those of the system. The loader tells who it takes the process for, unless that got rights from the file: then it
    // tells nothing.
    let system = "for p in su mount umount passwd chsh newgrp; do \
                      p=$(command -v $p) && [ -u $p ] || continue; \
                      echo $p $(LD_SHOW_AUXV=1 $p --help </dev/null 2>&1 | grep -E 'AT_(EUID|SECURE):' | tr -d ' '); \
                  done";
    let said = exec(&runner, id, system).await.stdout;
    assert!(said.lines().count() > 0, "there is no setuid program to try");
    for line in said.lines() {
        assert!(line.contains("AT_EUID:1000") && line.contains("AT_SECURE:0"), "{line}");
    }
    assert_ne!(exec(&runner, id, "su -c true").await.exit_code, 0);
    // One made inside, which can be its maker's alone.
    let own = "cp /usr/bin/id /tmp/id && chmod 6755 /tmp/id && /tmp/id -u && chown 0 /tmp/id";
    let made = exec(&runner, id, own).await;
    assert_eq!((made.exit_code, made.stdout.as_str()), (1, "1000\n"), "{}", made.stderr);
    // One that root has made, and left where the environment finds it.
    if is_root() {
        let planted = machine.directory_of(id).join("ws/planted");
        fs::copy("/usr/bin/id", &planted).unwrap();
        chown(&planted, Some(0), Some(0)).unwrap();
        fs::set_permissions(&planted, fs::Permissions::from_mode(0o6755)).unwrap();
        assert_eq!(exec(&runner, id, "/workspace/planted -u; /workspace/planted -g").await.stdout, "1000\n1000\n");
    }
    // No file system in there gives rights to whoever executes a file of it.
    let mounts = exec(&runner, id, "cat /proc/self/mountinfo").await.stdout;
    for mount in mounts.lines() {
        assert!(options(mount).contains(&"nosuid"), "{mount}");
    }
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn there_are_no_devices_but_those_that_give_nothing_away() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    // Asked one by one: they are mounted over files, and a directory tells of the file.
    let list = "for f in $(find /dev | sort); do [ ! -L $f ] && [ -b $f -o -c $f ] && echo $f; done; true";
    let devices = exec(&runner, id, list).await.stdout;
    let devices: Vec<&str> = devices.lines().collect();
    let harmless = ["full", "null", "pts/ptmx", "random", "tty", "urandom", "zero"].map(|name| format!("/dev/{name}"));
    assert_eq!(devices, harmless);
    for device in ["c 1 1", "c 1 3", "b 8 0", "b 254 0"] {
        for place in ["/workspace", "/home/dev", "/tmp", "/dev/shm"] {
            let made = exec(&runner, id, &format!("mknod {place}/device {device}")).await;
            assert_ne!(made.exit_code, 0, "{place} {device}");
        }
    }
    // One that root has made, and left where the environment finds it.
    if is_root() {
        let planted = machine.directory_of(id).join("ws/planted");
        mknod(&planted, SFlag::S_IFCHR, Mode::empty(), makedev(1, 3)).unwrap();
        fs::set_permissions(&planted, fs::Permissions::from_mode(0o666)).unwrap();
        // Where temporary files are may be no place for devices either.
        if File::open(&planted).is_ok() {
            let opened = exec(&runner, id, "cat /workspace/planted").await;
            assert!(opened.exit_code == 1 && opened.stderr.contains("Permission denied"), "{opened:?}");
        }
    }
    let mounts = exec(&runner, id, "cat /proc/self/mountinfo").await.stdout;
    for mount in mounts.lines().filter(|mount| !options(mount).contains(&"nodev")) {
        let place = mount.split(' ').nth(4).unwrap();
        assert!(place == "/dev/pts" || harmless.iter().any(|device| device == place), "{mount}");
    }
    runner.delete(id).await.unwrap();
}

/// The options of a line of `/proc/self/mountinfo`.
fn options(mount: &str) -> Vec<&str> {
    mount.split(' ').nth(5).unwrap().split(',').collect()
}
