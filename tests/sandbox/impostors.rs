//! What is put in the place of a supervisor's socket by the code in an environment, or by whoever can write there.

use std::{fs, io::Read, os::unix::net::UnixListener, path::PathBuf};

use latchkey::{domain::exec::OperationsError, environments::runner::Runner};

use crate::support::machine::{Machine, RESOURCES, exec, running, try_exec};

/// Listens in the supervisor's place, and writes down what comes.
const IMPOSTOR: &str = r#"
    exec >/dev/null 2>&1
    mv /run/latchkey/supervisor.sock /run/latchkey/own
    setsid perl -MSocket -e '
        socket($s, PF_UNIX, SOCK_STREAM, 0) && bind($s, pack_sockaddr_un("/run/latchkey/supervisor.sock")) && listen($s, 9) or die;
        chmod(0666, "/run/latchkey/supervisor.sock");
        open($ready, ">", "/workspace/ready"); close($ready);
        while (accept($c, $s)) { sysread($c, $b, 4096); open($f, ">>", "/workspace/heard"); syswrite($f, "[$b]"); close($f) }' &
    for i in $(seq 3000); do [ -e /workspace/ready ] && exit; sleep 0.01; done
    exit 1
"#;

fn socket(machine: &Machine, id: latchkey::domain::ids::EnvironmentId) -> PathBuf {
    machine.directory_of(id).join("run/supervisor.sock")
}

/// Puts something where the socket was.
type Swap<'a> = Box<dyn Fn() + 'a>;

#[tokio::test]
async fn nothing_is_said_to_what_took_the_supervisors_place() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let (id, neighbour) = (running(&runner).await, running(&runner).await);
    assert_eq!(exec(&runner, id, IMPOSTOR).await.exit_code, 0);
    let refused = try_exec(&runner, id, "true").await;
    assert!(
        matches!(&refused, Err(OperationsError::Unreachable(text)) if text.contains("another process")),
        "{refused:?}"
    );
    // Who has its own socket back works again, and can tell what the impostor heard.
    let run = machine.directory_of(id).join("run");
    fs::rename(run.join("own"), run.join("supervisor.sock")).unwrap();
    let heard = "for i in $(seq 3000); do [ -e /workspace/heard ] && break; sleep 0.01; done; cat /workspace/heard";
    assert_eq!(exec(&runner, id, heard).await.stdout, "[]");
    assert_eq!(exec(&runner, neighbour, "true").await.exit_code, 0);
    runner.delete(id).await.unwrap();
    runner.delete(neighbour).await.unwrap();
}

#[tokio::test]
async fn what_is_not_the_supervisors_socket_is_refused_and_harms_nobody_else() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let (id, neighbour) = (running(&runner).await, running(&runner).await);
    exec(&runner, neighbour, "echo mine > kept").await;
    let path = socket(&machine, id);
    let elsewhere = machine.config.data_dir.join("elsewhere.sock");
    let trap = UnixListener::bind(&elsewhere).unwrap();
    trap.set_nonblocking(true).unwrap();
    let of_neighbour = socket(&machine, neighbour);
    let text = |put: &str| format!("{put} > {}", path.display());
    let shell = |line: String| {
        assert!(std::process::Command::new("sh").args(["-c", &line]).status().unwrap().success(), "{line}");
    };
    let path_text = path.display().to_string();
    let swaps: Vec<(&str, Swap<'_>)> = vec![
        ("a link to a socket", Box::new(|| std::os::unix::fs::symlink(&elsewhere, &path).unwrap())),
        ("a link to a neighbour's", Box::new(|| std::os::unix::fs::symlink(&of_neighbour, &path).unwrap())),
        ("the socket of a neighbour", Box::new(|| fs::hard_link(&of_neighbour, &path).unwrap())),
        ("the socket of the machine", Box::new(|| fs::hard_link(&elsewhere, &path).unwrap())),
        ("a regular file", Box::new(|| shell(text("echo")))),
        ("a FIFO", Box::new(|| shell(format!("mkfifo {path_text}")))),
        ("a device", Box::new(|| shell(format!("mknod {path_text} c 1 3 || touch {path_text}")))),
        ("a link to itself", Box::new(|| std::os::unix::fs::symlink(&path, &path).unwrap())),
    ];
    for (what, swap) in swaps {
        fs::remove_file(&path).unwrap();
        swap();
        let refused = try_exec(&runner, id, "echo gone > kept").await;
        assert!(matches!(refused, Err(OperationsError::Unreachable(_))), "{what}: {refused:?}");
        // A server whose account is that of its sandboxes cannot tell by the owner, and comes: the kernel then says who listens.
        if let Ok((mut visitor, _)) = trap.accept() {
            assert!(machine.config.account.is_none() && what == "the socket of the machine", "{what}: somebody came");
            let mut heard = Vec::new();
            visitor.read_to_end(&mut heard).unwrap();
            assert_eq!(heard, b"", "{what}: something was said");
        }
    }
    assert_eq!(exec(&runner, neighbour, "cat kept").await.stdout, "mine\n");
    // A new start clears it all away.
    runner.stop(id).await.unwrap();
    runner.start(id, &RESOURCES).await.unwrap();
    assert_eq!(exec(&runner, id, "true").await.exit_code, 0);
    runner.delete(id).await.unwrap();
    runner.delete(neighbour).await.unwrap();
}
