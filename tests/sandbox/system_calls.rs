//! System calls that a sandbox has no use for, made by hand, past every library and program: by perl, which Debian's
//! base has.

use latchkey::environments::runner::Runner;
use nix::libc;

use crate::support::machine::{Machine, exec, running};

/// System calls in perl's words. The arguments are such that the kernel itself would answer something else than EPERM,
/// as it looks at them before it asks for rights: what is answered here is the filter's. Where it asks for rights first,
/// this cannot tell one from the other; the filter's own test can.
fn refused() -> Vec<(&'static str, i64, &'static str)> {
    vec![
        ("unshare", libc::SYS_unshare, "0x10000000"),
        ("unshare of what is no namespace", libc::SYS_unshare, "0x200"),
        ("setns", libc::SYS_setns, "-1, 0"),
        ("clone with a user namespace", libc::SYS_clone, "0x10000011, 0, 0, 0, 0"),
        ("clone with a network namespace", libc::SYS_clone, "0x40000011, 0, 0, 0, 0"),
        ("mount", libc::SYS_mount, "-1, -1, -1, 0, -1"),
        ("umount2", libc::SYS_umount2, "$tmp, 0x1000"),
        ("pivot_root", libc::SYS_pivot_root, "$tmp, $tmp"),
        ("chroot", libc::SYS_chroot, "$nowhere"),
        ("open_tree", libc::SYS_open_tree, "-1, $tmp, 0x40000000"),
        ("move_mount", libc::SYS_move_mount, "-1, $tmp, -1, $tmp, 0"),
        ("fsopen", libc::SYS_fsopen, "$tmp, 0"),
        ("fsconfig", libc::SYS_fsconfig, "-1, 0, 0, 0, 0"),
        ("fsmount", libc::SYS_fsmount, "-1, 0, 0"),
        ("fspick", libc::SYS_fspick, "-1, $tmp, 0"),
        ("mount_setattr", libc::SYS_mount_setattr, "-1, $tmp, 0x40000000, $zero, 32"),
        ("name_to_handle_at", libc::SYS_name_to_handle_at, "-100, $tmp, $zero, $zero, 0"),
        ("open_by_handle_at", libc::SYS_open_by_handle_at, "-1, -1, 0"),
        ("keyctl", libc::SYS_keyctl, "0, -3, 0"),
        ("add_key", libc::SYS_add_key, "$user, $tmp, $tmp, 4, -2"),
        ("request_key", libc::SYS_request_key, "$user, $nowhere, 0, 0"),
        ("bpf", libc::SYS_bpf, "0, $zero, 1000000"),
        ("perf_event_open", libc::SYS_perf_event_open, "-1, 0, -1, -1, 0"),
        ("userfaultfd", libc::SYS_userfaultfd, "1"),
        ("io_uring_setup", libc::SYS_io_uring_setup, "1, $zero"),
        ("io_uring_enter", libc::SYS_io_uring_enter, "-1, 0, 0, 0, 0, 0"),
        ("io_uring_register", libc::SYS_io_uring_register, "-1, 0, 0, 0"),
        ("init_module", libc::SYS_init_module, "-1, 1, -1"),
        ("finit_module", libc::SYS_finit_module, "-1, -1, 0"),
        ("delete_module", libc::SYS_delete_module, "-1, 0"),
        ("kexec_load", libc::SYS_kexec_load, "0, 0, 0, 0"),
        ("kexec_file_load", libc::SYS_kexec_file_load, "-1, -1, 0, 0, 0"),
        ("reboot", libc::SYS_reboot, "0, 0, 0, 0"),
        ("settimeofday", libc::SYS_settimeofday, "-1, 0"),
        ("clock_settime", libc::SYS_clock_settime, "99, $zero"),
        ("adjtimex", libc::SYS_adjtimex, "$zero"),
        ("clock_adjtime", libc::SYS_clock_adjtime, "0, $zero"),
        ("swapon", libc::SYS_swapon, "$nowhere, -1"),
        ("swapoff", libc::SYS_swapoff, "$nowhere"),
        ("quotactl", libc::SYS_quotactl, "-1, 0, 0, 0"),
        ("acct", libc::SYS_acct, "$nowhere"),
        ("syslog", libc::SYS_syslog, "10, 0, 0"),
        ("fanotify_init", libc::SYS_fanotify_init, "0x200, 0"),
        ("sethostname", libc::SYS_sethostname, "$tmp, 4"),
        ("mbind", libc::SYS_mbind, "0, 0, 0, 0, 0, 0"),
        ("set_mempolicy", libc::SYS_set_mempolicy, "0, 0, 0"),
        ("get_mempolicy", libc::SYS_get_mempolicy, "0, 0, 0, 0, 0xff"),
        ("kcmp", libc::SYS_kcmp, "$self, $self, 99, 0, 0"),
        ("move_pages", libc::SYS_move_pages, "0, 0, 0, 0, 0, 0"),
        // Standard input is no terminal: the kernel would say so.
        ("TIOCSTI", libc::SYS_ioctl, "0, 0x5412, $tmp"),
        ("TIOCSTI with bits that the kernel does not look at", libc::SYS_ioctl, "0, 0x7700005412, $tmp"),
        ("TIOCLINUX", libc::SYS_ioctl, "0, 0x541c, $tmp"),
        ("a personality without random addresses", libc::SYS_personality, "0x40000"),
        ("a socket to the machine's host", libc::SYS_socket, "40, 1, 0"),
        ("a socket for the kernel's cryptography", libc::SYS_socket, "38, 5, 0"),
        ("a socket for netlink's generic messages", libc::SYS_socket, "16, 3, 16"),
        ("a pair of sockets of another family", libc::SYS_socketpair, "30, 1, 0, $zero"),
        #[cfg(target_arch = "x86_64")]
        ("iopl", libc::SYS_iopl, "0"),
        #[cfg(target_arch = "x86_64")]
        ("modify_ldt", libc::SYS_modify_ldt, "0, $zero, 0"),
        #[cfg(target_arch = "x86_64")]
        ("getpid with 32-bit pointers", 0x4000_0000 + libc::SYS_getpid, ""),
    ]
}

/// What the arguments are made of. A literal string would not do: the kernel may write to it.
const WORDS: &str = r#"
    $self = $$;
    ($tmp, $nowhere, $user, $fifo) = ("/tmp\0", "/nowhere\0", "user\0", "/tmp/fifo\0");
    $new_users = pack("Q8", 0x10000000);
"#;

/// A command that makes each of these calls and writes a line for each: the error's number, or that there was none.
fn script(calls: &[(&str, i64, &str)]) -> String {
    let calls = calls.iter().map(|(_, number, arguments)| {
        // A process that is made after all says nothing.
        format!(
            r#"$zero = "\0" x 4096; $r = syscall({}); exit if $$ != $self; print $r < 0 ? $!+0 : "done", "\n";{}"#,
            [&number.to_string(), *arguments].join(", "),
            "\n"
        )
    });
    format!("cat > /tmp/calls.pl <<'END'\n{WORDS}{}END\nperl /tmp/calls.pl </dev/null", calls.collect::<String>())
}

#[tokio::test]
async fn system_calls_that_no_sandbox_needs_are_refused_by_the_filter() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let calls = refused();
    let output = exec(&runner, id, &script(&calls)).await;
    let answers: Vec<&str> = output.stdout.lines().collect();
    assert_eq!(answers.len(), calls.len(), "{}", output.stderr);
    let others: Vec<_> = calls.iter().zip(answers).filter(|(_, answer)| **answer != libc::EPERM.to_string()).collect();
    assert!(others.is_empty(), "{others:#?}");
    // A library takes another way to a new process.
    let clone3 = [("clone3 with a user namespace", libc::SYS_clone3, "$new_users, 64")];
    assert_eq!(exec(&runner, id, &script(&clone3)).await.stdout.trim(), libc::ENOSYS.to_string());
    // As on a file system that has no such thing. Room is given back.
    let room = "head -c 100000 /dev/zero > room; fallocate --length 200000 room; fallocate --punch-hole --length 65536 room; \
                stat --format '%s %b' room";
    let said = exec(&runner, id, room).await;
    assert!(said.stderr.contains("Operation not supported"), "{said:?}");
    let (size, blocks) = said.stdout.trim().split_once(' ').unwrap();
    assert!(size == "100000" && blocks.parse::<u32>().unwrap() < 100, "{said:?}");
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn system_calls_that_programs_need_are_not_refused() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let calls = [
        ("a Unix socket", libc::SYS_socket, "1, 1, 0"),
        ("an IPv4 socket", libc::SYS_socket, "2, 1, 6"),
        ("an IPv6 socket", libc::SYS_socket, "10, 2, 17"),
        ("a socket for addresses and routes", libc::SYS_socket, "16, 3, 0"),
        ("a pair of Unix sockets", libc::SYS_socketpair, "1, 1, 0, $zero"),
        ("a FIFO", libc::SYS_mknodat, "-100, $fifo, 0x11a4, 0"),
        ("the question for the personality", libc::SYS_personality, "0xffffffff"),
        ("a file in memory", libc::SYS_memfd_create, "$tmp, 0"),
    ];
    let output = exec(&runner, id, &script(&calls)).await;
    assert_eq!(output.stdout, "done\n".repeat(calls.len()), "{calls:?}");
    // A debugger, on a program of the environment's own: reads what is at an address, and attaches (16).
    let (readv, ptrace) = (libc::SYS_process_vm_readv, libc::SYS_ptrace);
    let debugger = format!(
        r#"$text = "hunter2!"; $at = unpack("Q", pack("P", $text)); $into = "\0" x 8;
        if (!($child = fork)) {{ sleep 60; exit }}
        ($local, $remote) = (pack("PQ", $into, 8), pack("QQ", $at, 8));
        syscall({readv}, $child, $local, 1, $remote, 1, 0) == 8 or die $!;
        syscall({ptrace}, 16, $child, 0, 0) == 0 or die $!;
        kill 9, $child; print $into"#
    );
    let debugged = exec(&runner, id, &format!("perl -e '{debugger}'")).await;
    assert_eq!((debugged.stdout.as_str(), debugged.stderr.as_str()), ("hunter2!", ""));
    runner.delete(id).await.unwrap();
}

#[tokio::test]
async fn nobody_types_on_a_terminal_but_who_sits_there() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    // A command leads its session: a terminal that it opens becomes its own, and there the kernel would let it type.
    let typing = r#"exec perl -e '
        open($screen, "+<", "/dev/ptmx") or die; ($lock, $number, $line) = (pack("i", 0), pack("i", 0), "\n");
        ioctl($screen, 0x40045431, $lock) && ioctl($screen, 0x80045430, $number) or die;
        open($terminal, "+<", "/dev/pts/" . unpack("i", $number)) or die;
        open($own, "+<", "/dev/tty") or die;
        print ioctl($own, 0x5412, $line) ? "typed" : $!+0'"#;
    let said = exec(&runner, id, typing).await;
    assert_eq!(said.stdout, libc::EPERM.to_string(), "{}", said.stderr);
    runner.delete(id).await.unwrap();
}

/// A program for i386, that ends with the exit code 42.
#[cfg(target_arch = "x86_64")]
const I386: &str = concat!(
    // The file's header: 32 bits, executable, for i386; it begins at 0x08048054.
    "7f454c46010101000000000000000000",
    "02000300010000005480040834000000",
    "00000000000000003400200001000000",
    "00000000",
    // One segment: all of this file, at 0x08048000.
    "01000000000000000080040800800408",
    "60000000600000000500000000100000",
    // mov eax, 1; mov ebx, 42; int 0x80
    "b801000000bb2a000000cd80",
);

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn a_program_of_another_architecture_does_not_come_to_its_first_system_call() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let run = format!("perl -e 'print pack(\"H*\", \"{I386}\")' > /tmp/old && chmod +x /tmp/old && /tmp/old");
    let output = exec(&runner, id, &run).await;
    // A kernel that knows i386 no more does not begin it.
    assert!([128 + libc::SIGSYS, 126].contains(&output.exit_code), "{output:?}");
    runner.delete(id).await.unwrap();
}
