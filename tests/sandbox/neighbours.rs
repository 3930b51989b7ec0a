//! What environments on one machine see of each other, and of who started them.

use latchkey::environments::runner::Runner;

use crate::support::machine::{Machine, exec, running};

#[tokio::test]
async fn keys_of_the_kernel_do_not_get_in_nor_from_one_sandbox_into_another() {
    // The numbers of system calls are this architecture's; -3 is the session's keyring (keyctl(2)).
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
