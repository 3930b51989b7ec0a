//! What environments on one machine see of each other, and of who started them.

use std::os::{
    linux::net::SocketAddrExt,
    unix::net::{SocketAddr, UnixListener},
};

use latchkey::environments::runner::Runner;

use crate::support::machine::{Machine, eventually, exec, processes_with, running};

#[tokio::test]
async fn keys_of_the_kernel_do_not_get_in_nor_from_one_sandbox_into_another() {
    // Two things hold: the filter refuses to be asked for keys at all, and there are none, which the test of what a
    // sandbox is launched with shows. The numbers of system calls are this architecture's; -3 is the session's keyring (keyctl(2)).
    let (add_key, keyctl) = (nix::libc::SYS_add_key, nix::libc::SYS_keyctl);
    let search = |name: &str| {
        format!(
            "perl -e '($t, $n) = (\"user\", \"{name}\"); print syscall({keyctl}, 10, -3, $t, $n, 0) < 0 ? \"none\" : \"found\"'"
        )
    };
    let add = |name: &str| {
        format!("perl -e '($t, $n, $v) = (\"user\", \"{name}\", \"hunter2\"); syscall({add_key}, $t, $n, $v, 7, -3)'")
    };
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    // Whoever starts a server has keys; here it is this thread, which also starts the sandboxes.
    let key = [c"user".as_ptr(), c"latchkey-outside".as_ptr(), c"hunter2".as_ptr()];
    // SAFETY: three strings that end in NUL, a length that the last one has, and a number.
    let added = unsafe { nix::libc::syscall(add_key, key[0], key[1], key[2], 7, -3) };
    assert!(added > 0, "{}", std::io::Error::last_os_error());
    let (one, other) = (running(&runner).await, running(&runner).await);
    assert_eq!(exec(&runner, one, &search("latchkey-outside")).await.stdout, "none");
    exec(&runner, one, &add("latchkey-inside")).await;
    assert_eq!(exec(&runner, other, &search("latchkey-inside")).await.stdout, "none");
    runner.delete(one).await.unwrap();
    runner.delete(other).await.unwrap();
}

/// What an environment leaves where others might find it, with a name of its own.
const TRACES: &str = r#"
    exec >/dev/null 2>&1
    for place in /workspace /home/dev /tmp /dev/shm /run/latchkey; do echo hunter2 > $place/trace; done
    setsid sleep NAME &
    setsid perl -MSocket -e '
        socket($unix, PF_UNIX, SOCK_STREAM, 0) && bind($unix, pack_sockaddr_un("\0NAME")) && listen($unix, 1) or die;
        socket($tcp, PF_INET, SOCK_STREAM, 0) && bind($tcp, pack_sockaddr_in(5000, INADDR_LOOPBACK)) && listen($tcp, 1) or die;
        defined(shmget(4711, 4096, 01666)) && defined(msgget(4711, 01666)) or die;
        open($ready, ">", "/tmp/ready"); sleep 1000' &
    for i in $(seq 3000); do [ -e /tmp/ready ] && exit; sleep 0.01; done
    exit 1
"#;

/// Commands that find them.
const FINDERS: [&str; 10] = [
    "cat /workspace/trace",
    "cat /home/dev/trace",
    "cat /tmp/trace",
    "cat /dev/shm/trace",
    "cat /run/latchkey/trace",
    "ps -e -o args= | grep '^sleep NAME'",
    r#"perl -MSocket -e 'socket($s, PF_UNIX, SOCK_STREAM, 0); exit !connect($s, pack_sockaddr_un("\0NAME"))'"#,
    "perl -MSocket -e 'socket($s, PF_INET, SOCK_STREAM, 0); exit !connect($s, pack_sockaddr_in(5000, INADDR_LOOPBACK))'",
    "perl -e 'exit !defined(shmget(4711, 0, 0))'",
    "perl -e 'exit !defined(msgget(4711, 0))'",
];

#[tokio::test]
async fn an_environment_finds_no_trace_of_another() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let (one, other) = (running(&runner).await, running(&runner).await);
    let name = format!("31536000.{}", one.uuid().as_u128());
    assert_eq!(exec(&runner, one, &TRACES.replace("NAME", &name)).await.exit_code, 0);
    for finder in FINDERS {
        let finder = finder.replace("NAME", &name);
        assert_eq!(exec(&runner, one, &finder).await.exit_code, 0, "this finds nothing anywhere: {finder}");
        assert_ne!(exec(&runner, other, &finder).await.exit_code, 0, "{finder}");
    }
    // By the paths that the machine knows it under, its supervisor's socket among them.
    let directory = machine.directory_of(one);
    for path in
        ["", "ws", "home", "run", "egress", "run/supervisor.sock", "egress/proxy.sock", "state.json", "status", "log"]
    {
        let path = directory.join(path);
        assert!(path.exists(), "{}", path.display());
        for link in [path.display().to_string(), format!("/proc/1/root{}", path.display())] {
            assert_ne!(exec(&runner, other, &format!("ls -d {link}")).await.exit_code, 0, "{link}");
        }
    }
    // Nor does it reach its processes, all of which belong to the same account.
    let sleeping = format!("sleep {name}");
    assert_eq!(processes_with(&sleeping).len(), 1);
    exec(&runner, other, "kill -KILL -1").await;
    assert_eq!(processes_with(&sleeping).len(), 1);
    exec(&runner, one, "kill -KILL -1").await;
    eventually("what would have killed it does", || processes_with(&sleeping).is_empty()).await;
    runner.delete(one).await.unwrap();
    runner.delete(other).await.unwrap();
}

#[tokio::test]
async fn sockets_of_the_machine_without_a_path_are_not_reached() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = running(&runner).await;
    let name = format!("latchkey-{id}");
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let connect = format!(
        r#"perl -MSocket -e 'socket($s, PF_UNIX, SOCK_STREAM, 0); exit !connect($s, pack_sockaddr_un("\0{name}"))'"#
    );
    assert_ne!(exec(&runner, id, &connect).await.exit_code, 0);
    assert!(listener.accept().is_err(), "somebody came");
    let here = std::process::Command::new("sh").args(["-c", &connect]).status().unwrap();
    assert!(here.success() && listener.accept().is_ok(), "nobody would have come");
    runner.delete(id).await.unwrap();
}
