//! The system calls that no sandbox needs, and that are refused there before the kernel looks at them. Most of them the
//! missing capabilities refuse as well: a mistake in one of the two is then no way out, and code of the kernel that
//! cannot be reached cannot be attacked.
//!
//! It is a list of what is refused, in the manner of what container runtimes refuse by default; what the kernel learns
//! later than this list is refused too, as unknown.

use std::{
    collections::BTreeMap,
    env,
    fs::File,
    io::{self, Seek, Write},
};

use nix::libc;
use rustix::fs::{MemfdFlags, memfd_create};
use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, sock_filter,
};

/// Refused whatever the arguments.
#[rustfmt::skip]
const REFUSED: &[&[i64]] = &[
    // Namespaces: inside a new one of users, whoever made it has every capability, and with them all of the kernel's code
    // for mounts, networks and the rest.
    &[libc::SYS_unshare, libc::SYS_setns],
    // Mounts: the root is built and read-only.
    &[
        libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_open_tree,
        libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
        libc::SYS_mount_setattr, OPEN_TREE_ATTR,
    ],
    // Files by number instead of by path: a way around the root.
    &[libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at],
    // Keys that the kernel keeps: not in a namespace.
    &[libc::SYS_add_key, libc::SYS_request_key, libc::SYS_keyctl],
    // Large, young, or often broken into: programs that run in the kernel, measurement of it, page faults that one
    // process holds up for another or for the kernel, calls that other threads of the kernel's carry out (past this filter).
    &[
        libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_lookup_dcookie, libc::SYS_userfaultfd,
        libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    ],
    // The machine: its kernel, its clock, its disks, its logs, its terminals, its names.
    &[
        libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module, libc::SYS_kexec_load,
        libc::SYS_kexec_file_load, libc::SYS_reboot,
        libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_adjtimex, libc::SYS_clock_adjtime,
        libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_quotactl, libc::SYS_quotactl_fd,
        libc::SYS_acct, libc::SYS_syslog, libc::SYS_fanotify_init, libc::SYS_vhangup, libc::SYS_sethostname,
        libc::SYS_setdomainname,
    ],
    // Which memory of the machine's is whose, and which of the kernel's own objects two processes share (their order among
    // its addresses as well).
    &[
        libc::SYS_get_mempolicy, libc::SYS_kcmp,
        libc::SYS_mbind, libc::SYS_set_mempolicy, libc::SYS_set_mempolicy_home_node, libc::SYS_migrate_pages,
        libc::SYS_move_pages,
    ],
    // Ports of devices, segments for programs of another century, and calls that nothing uses any more.
    #[cfg(target_arch = "x86_64")]
    &[
        libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib, libc::SYS_ustat, libc::SYS_sysfs,
    ],
];

/// `open_tree_attr(2)` and `clone3(2)`, which have the same numbers everywhere.
const OPEN_TREE_ATTR: i64 = 467;
const CLONE3: u32 = 435;
/// `fallocate(2)`, whose number differs.
#[expect(clippy::cast_possible_truncation, reason = "numbers of system calls are small")]
const FALLOCATE: u32 = libc::SYS_fallocate as u32;
/// `file_setattr(2)`: the last system call that was looked at for this list.
const LAST_KNOWN: u32 = 469;
/// What marks x86-64's system calls with 32-bit pointers, which are others under the same numbers; no other architecture
/// has numbers that large.
const X32: u32 = 0x4000_0000;

/// `fallocate(2)`: gives room back instead of taking some.
const PUNCH_HOLE: u32 = 2;
/// Where the low half of a system call's second argument is, in what the kernel tells of it.
const SECOND_ARGUMENT: u32 = if cfg!(target_endian = "little") { 24 } else { 28 };

// Not refused: ptrace, process_vm_readv, process_vm_writev and pidfd_getfd, which asks for the same right. Debuggers are of use inside an environment, they see no process
// of another one (PID namespaces), and the supervisor is closed to them, as it is not dumpable. This filter holds for what a
// debugger makes its debuggee do.

/// New namespaces, in the flags of `clone(2)`.
const NEW_NAMESPACES: [libc::c_int; 7] = [
    libc::CLONE_NEWUSER,
    libc::CLONE_NEWNS,
    libc::CLONE_NEWPID,
    libc::CLONE_NEWNET,
    libc::CLONE_NEWIPC,
    libc::CLONE_NEWUTS,
    libc::CLONE_NEWCGROUP,
];

/// What terminals are not asked for: to take input from programs (which whoever reads there takes for typed), to paste a
/// console's selection, and to load the kernel's line disciplines for modems.
const TERMINAL_REQUESTS: [u64; 3] = [libc::TIOCSTI, libc::TIOCLINUX, libc::TIOCSETD];

/// The families of sockets that programs use. Others reach past the network namespace (AF_VSOCK the machine's host), or make
/// the kernel load code that hardly anybody runs.
const SOCKET_FAMILIES: [libc::c_int; 4] = [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK];
/// An old name for AF_PACKET, as a type of AF_INET's.
const SOCK_PACKET: u64 = 10;
/// The bits of a socket's type without its flags.
const SOCKET_TYPE: u64 = 0xf;

/// How programs may be run: as on Linux, also with 32-bit addresses, or with the version that is told of an old kernel;
/// and the question how they are. Without the randomness of addresses, a flaw in a program is easier to use.
const PERSONALITIES: [u64; 5] = [0, 0x0008, 0x0002_0000, 0x0002_0008, 0xffff_ffff];

/// The filter, as bubblewrap takes it.
#[derive(Debug, Clone)]
pub(super) struct Filter(Vec<u8>);

impl Filter {
    /// Builds the filter for this machine's architecture.
    pub(super) fn build() -> Result<Self, BackendError> {
        let words = program()?.into_iter().flat_map(|sock_filter { code, jt, jf, k }| {
            let ([code_0, code_1], [k_0, k_1, k_2, k_3]) = (code.to_ne_bytes(), k.to_ne_bytes());
            [code_0, code_1, jt, jf, k_0, k_1, k_2, k_3]
        });
        Ok(Self(words.collect()))
    }

    /// A file that holds it, to be read from its beginning by one process. Closed when a program is executed.
    pub(super) fn file(&self) -> io::Result<File> {
        let mut file = File::from(memfd_create("seccomp", MemfdFlags::CLOEXEC)?);
        file.write_all(&self.0)?;
        file.rewind()?;
        Ok(file)
    }
}

fn program() -> Result<BpfProgram, BackendError> {
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        REFUSED.iter().flat_map(|group| group.iter()).map(|call| (*call, Vec::new())).collect();

    // Any of them, whatever else the flags say.
    let new_namespaces = NEW_NAMESPACES.map(|flag| {
        let flag = number(flag);
        rule([condition(0, SeccompCmpOp::MaskedEq(flag), flag)])
    });
    rules.insert(libc::SYS_clone, new_namespaces.into_iter().collect::<Result<_, _>>()?);

    let requests = TERMINAL_REQUESTS.map(|request| rule([condition(1, SeccompCmpOp::Eq, request)]));
    rules.insert(libc::SYS_ioctl, requests.into_iter().collect::<Result<_, _>>()?);

    let personality = rule(PERSONALITIES.map(|allowed| condition(0, SeccompCmpOp::Ne, allowed)))?;
    rules.insert(libc::SYS_personality, vec![personality]);

    let other_family = rule(SOCKET_FAMILIES.map(|family| condition(0, SeccompCmpOp::Ne, number(family))))?;
    // Who has which address is asked of NETLINK_ROUTE; the others are for who runs the machine.
    let other_netlink = rule([
        condition(0, SeccompCmpOp::Eq, number(libc::AF_NETLINK)),
        condition(2, SeccompCmpOp::Ne, number(libc::NETLINK_ROUTE)),
    ])?;
    let packet = rule([condition(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE), SOCK_PACKET)])?;
    for call in [libc::SYS_socket, libc::SYS_socketpair] {
        rules.insert(call, vec![other_family.clone(), other_netlink.clone(), packet.clone()]);
    }

    // Another architecture's system calls, of which the numbers are others, kill the process.
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse(libc::EPERM), env::consts::ARCH.try_into()?)?;
    let mut program = prelude().to_vec();
    program.extend(BpfProgram::try_from(filter)?);
    Ok(program)
}

/// A rule that applies where all conditions do.
fn rule<const N: usize>(conditions: [Result<SeccompCondition, BackendError>; N]) -> Result<SeccompRule, BackendError> {
    SeccompRule::new(conditions.into_iter().collect::<Result<_, _>>()?)
}

/// A condition on an argument of which the kernel takes 32 bits: the others may be anything.
fn condition(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompCondition, BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

/// A constant of the kernel's as an argument of a system call.
fn number(constant: libc::c_int) -> u64 {
    constant.unsigned_abs().into()
}

fn refuse(error: libc::c_int) -> SeccompAction {
    SeccompAction::Errno(error.unsigned_abs())
}

/// What comes before the list, as it gets another answer.
fn prelude() -> [sock_filter; 11] {
    let unless = |comparison, value, over| instruction(libc::BPF_JMP | libc::BPF_K | comparison, value, over);
    let load = |offset| instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0);
    let answer = |error| instruction(libc::BPF_RET | libc::BPF_K, refuse(error).into(), 0);
    [
        // The number of the system call is what the kernel tells first.
        load(0),
        unless(libc::BPF_JGE, X32, 1),
        answer(libc::EPERM),
        unless(libc::BPF_JGT, LAST_KNOWN, 1),
        answer(libc::ENOSYS),
        // Its flags are behind a pointer, where no filter sees them. A library that finds it unknown takes clone instead.
        unless(libc::BPF_JEQ, CLONE3, 1),
        answer(libc::ENOSYS),
        // Room on the disk that is taken without writing is nobody's by the kernel's account, and gigabytes of it take no time.
        // Some file systems do not have this either: libraries write instead.
        unless(libc::BPF_JEQ, FALLOCATE, 3),
        load(SECOND_ARGUMENT),
        sock_filter { jt: 1, ..unless(libc::BPF_JSET, PUNCH_HOLE, 0) },
        answer(libc::EOPNOTSUPP),
    ]
}

/// An instruction of the filter's machine; `otherwise` is how many are passed over where a comparison fails.
fn instruction(code: u32, k: u32, otherwise: u8) -> sock_filter {
    // Every code is a sum of a few constants, all of them in the lowest byte.
    sock_filter { code: u16::from(code.to_le_bytes()[0]), jt: 0, jf: otherwise, k }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFUSED_BY_NUMBER: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS.unsigned_abs();
    /// `AUDIT_ARCH_I386`: on no machine that this is built for is it the native one.
    const FOREIGN: u32 = 0x4000_0003;

    fn native() -> u32 {
        // The first comparison of what the crate makes is that of the architecture.
        program().unwrap()[prelude().len() + 1].k
    }

    /// Runs the filter as the kernel does.
    fn answer(architecture: u32, call: i64, arguments: &[u64]) -> u32 {
        let program = program().unwrap();
        let word = |offset: u32| match offset {
            0 => u32::try_from(call).unwrap(),
            4 => architecture,
            16.. => {
                let argument = arguments.get((offset as usize - 16) / 8).copied().unwrap_or(0);
                let bytes = argument.to_le_bytes();
                let half = if offset.is_multiple_of(8) { &bytes[..4] } else { &bytes[4..] };
                u32::from_le_bytes(half.try_into().unwrap())
            }
            _ => panic!("nothing looks at offset {offset}"),
        };
        let (mut at, mut accumulator) = (0, 0);
        loop {
            let sock_filter { code, jt, jf, k } = program[at];
            let code = u32::from(code);
            at += 1;
            let mut jump = |is_so| at += usize::from(if is_so { jt } else { jf });
            if code == libc::BPF_RET | libc::BPF_K {
                return k;
            } else if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS {
                accumulator = word(k);
            } else if code == libc::BPF_ALU | libc::BPF_AND | libc::BPF_K {
                accumulator &= k;
            } else if code == libc::BPF_JMP | libc::BPF_JA {
                at += k as usize;
            } else if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K {
                jump(accumulator == k);
            } else if code == libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K {
                jump(accumulator & k != 0);
            } else if code == libc::BPF_JMP | libc::BPF_JGT | libc::BPF_K {
                jump(accumulator > k);
            } else if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K {
                jump(accumulator >= k);
            } else {
                panic!("an instruction that the kernel would have to run for every call: {code:#x}");
            }
        }
    }

    #[test]
    fn what_is_listed_is_refused_and_what_programs_live_on_is_not() {
        for call in REFUSED.iter().flat_map(|group| group.iter()) {
            assert_eq!(answer(native(), *call, &[]), REFUSED_BY_NUMBER, "{call}");
        }
        for call in [
            libc::SYS_read,
            libc::SYS_execve,
            libc::SYS_wait4,
            libc::SYS_futex,
            libc::SYS_ptrace,
            libc::SYS_seccomp,
            libc::SYS_landlock_create_ruleset,
            libc::SYS_mknodat,
            i64::from(LAST_KNOWN),
        ] {
            assert_eq!(answer(native(), call, &[]), libc::SECCOMP_RET_ALLOW, "{call}");
        }
    }

    #[test]
    fn some_are_refused_by_their_arguments() {
        let high = 1 << 32;
        let thread = number(libc::CLONE_VM | libc::CLONE_FS | libc::CLONE_THREAD | libc::SIGCHLD);
        let (unix, netlink) = (number(libc::AF_UNIX), number(libc::AF_NETLINK));
        let (vsock, packet) = (number(libc::AF_VSOCK), number(libc::AF_PACKET));
        let (inet, datagram) = (number(libc::AF_INET), number(libc::SOCK_DGRAM));
        let old_packet = SOCK_PACKET | number(libc::SOCK_CLOEXEC);
        for (call, arguments, is_refused) in [
            (libc::SYS_clone, [thread, 0, 0], false),
            (libc::SYS_ioctl, [0, libc::TIOCSTI, 0], true),
            // The kernel takes the lower half of it.
            (libc::SYS_ioctl, [0, libc::TIOCSTI | high, 0], true),
            (libc::SYS_ioctl, [0, libc::TIOCLINUX, 0], true),
            (libc::SYS_ioctl, [0, libc::TCGETS, 0], false),
            (libc::SYS_socket, [unix, 1, 0], false),
            (libc::SYS_socket, [inet, datagram, 17], false),
            (libc::SYS_socket, [netlink, 3, 0], false),
            (libc::SYS_socket, [netlink, 3, 16], true),
            (libc::SYS_socket, [inet, old_packet, 0], true),
            (libc::SYS_socket, [vsock, 1, 0], true),
            (libc::SYS_socket, [packet | high, 3, 0], true),
            (libc::SYS_socketpair, [unix, 1, 0], false),
            (libc::SYS_socketpair, [vsock, 1, 0], true),
            (libc::SYS_personality, [0, 0, 0], false),
            (libc::SYS_personality, [0xffff_ffff, 0, 0], false),
            (libc::SYS_personality, [number(libc::ADDR_NO_RANDOMIZE), 0, 0], true),
        ] {
            let expected = if is_refused { REFUSED_BY_NUMBER } else { libc::SECCOMP_RET_ALLOW };
            assert_eq!(answer(native(), call, &arguments), expected, "{call} {arguments:x?}");
        }
        for flag in NEW_NAMESPACES {
            let flags = thread | number(flag) | high;
            assert_eq!(answer(native(), libc::SYS_clone, &[flags]), REFUSED_BY_NUMBER, "{flags:x}");
        }
    }

    #[test]
    fn room_is_given_back_and_not_taken_without_writing() {
        let refused = libc::SECCOMP_RET_ERRNO | libc::EOPNOTSUPP.unsigned_abs();
        let high = 1 << 33;
        for (mode, expected) in [
            (0, refused),
            (libc::FALLOC_FL_KEEP_SIZE, refused),
            (libc::FALLOC_FL_ZERO_RANGE, refused),
            (libc::FALLOC_FL_INSERT_RANGE, refused),
            (libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, libc::SECCOMP_RET_ALLOW),
        ] {
            assert_eq!(answer(native(), libc::SYS_fallocate, &[1, number(mode) | high]), expected, "{mode:x}");
        }
    }

    #[test]
    fn nothing_gets_past_by_another_number() {
        assert_eq!(i64::from(CLONE3), libc::SYS_clone3);
        for unknown in [i64::from(CLONE3), i64::from(LAST_KNOWN) + 1, i64::from(X32) - 1] {
            assert_eq!(answer(native(), unknown, &[]), UNKNOWN, "{unknown}");
        }
        for other in [i64::from(X32), i64::from(X32) + 165, i64::from(u32::MAX)] {
            assert_eq!(answer(native(), other, &[]), REFUSED_BY_NUMBER, "{other}");
        }
        // 21 is i386's mount.
        for call in [libc::SYS_read, 21] {
            assert_eq!(answer(FOREIGN, call, &[]), libc::SECCOMP_RET_KILL_PROCESS);
        }
    }
}
