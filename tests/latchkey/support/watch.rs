//! Who opens what of a file system: the kernel asks before anything is opened there, and waits until whoever asks was looked at.

use std::{
    fs,
    os::fd::{AsFd, AsRawFd, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, mpsc},
    thread::JoinHandle,
};

use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sched::{CloneFlags, unshare},
    sys::{
        fanotify::{EventFFlags, Fanotify, FanotifyResponse, InitFlags, MarkFlags, MaskFlags, Response},
        signal::{Signal, kill},
    },
    unistd::gettid,
};

use super::sandbox;

/// Something that was opened, be it a file or a directory.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Opened {
    /// Where it is, below the top of the file system.
    pub path: PathBuf,
    /// The program of the process that opened it.
    pub program: PathBuf,
    /// Whether that process is in a sandbox: it has other processes around it than this one.
    pub in_sandbox: bool,
}

/// A file system in memory, and a thread that sees all that is opened there, in a mount namespace of its own: it is nowhere
/// else.
pub struct Watch {
    thread: Option<JoinHandle<()>>,
    /// The thread ends when this does.
    end: Option<OwnedFd>,
    namespace: PathBuf,
    /// The top of the file system, which stays when the directory that it is mounted on is removed.
    top: fs::File,
    opened: Arc<Mutex<Vec<Opened>>>,
}

impl Watch {
    /// Mounts the file system at a place, where none but the thread and who joins it sees it.
    pub fn start(place: &Path) -> Self {
        let opened = Arc::<Mutex<Vec<Opened>>>::default();
        let (end, ended) = nix::unistd::pipe().unwrap();
        for side in [&end, &ended] {
            rustix::io::fcntl_setfd(side, rustix::io::FdFlags::CLOEXEC).unwrap();
        }
        let (tell, told) = mpsc::channel();
        let (seen, top) = (Arc::clone(&opened), place.to_owned());
        let thread = std::thread::spawn(move || {
            let (watching, directory) = mounted(&top);
            tell.send((gettid(), directory)).unwrap();
            watch(&watching, &end, &top, &seen);
        });
        let (thread_id, top) = told.recv().unwrap();
        let namespace = PathBuf::from(format!("/proc/{}/task/{thread_id}/ns/mnt", std::process::id()));
        Self { thread: Some(thread), end: Some(ended), namespace, top, opened }
    }

    /// The words before a program that run it where the file system is.
    pub fn words(&self) -> Vec<String> {
        vec!["nsenter".to_owned(), format!("--mount={}", self.namespace.display())]
    }

    /// A path below the top of the file system, for somebody who is not there.
    pub fn path(&self, below: impl AsRef<Path>) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.top.as_raw_fd())).join(below)
    }

    /// What has been opened so far.
    pub fn opened(&self) -> Vec<Opened> {
        self.opened.lock().unwrap().clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Whatever a failed test has left running.
        for entry in fs::read_dir(self.path("")).into_iter().flatten().flatten() {
            if let Some(process) = sandbox(&entry.path()) {
                let _ = kill(process, Signal::SIGKILL);
            }
        }
        self.end = None;
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))), "the watch broke off");
    }
}

/// Mounts a file system in this thread's own mount namespace, and has the kernel ask about it. Gives the top of it as well.
fn mounted(place: &Path) -> (Fanotify, fs::File) {
    let nothing = None::<&Path>;
    unshare(CloneFlags::CLONE_NEWNS).expect("watching takes root");
    mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing).unwrap();
    mount(Some("none"), place, Some("tmpfs"), MsFlags::empty(), Some("mode=711")).unwrap();
    let flags = InitFlags::FAN_CLASS_CONTENT | InitFlags::FAN_CLOEXEC | InitFlags::FAN_UNLIMITED_QUEUE;
    // A FIFO must not hold up who looks.
    let opening = EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_NONBLOCK;
    let watching = Fanotify::init(flags, opening).unwrap();
    let mark = MarkFlags::FAN_MARK_ADD | MarkFlags::FAN_MARK_FILESYSTEM;
    let top = fs::File::open(place).unwrap();
    watching.mark(mark, MaskFlags::FAN_OPEN_PERM | MaskFlags::FAN_ONDIR, &top, nothing).unwrap();
    (watching, top)
}

/// Writes down who opens what, and lets them, until the other end of `end` is closed.
fn watch(watching: &Fanotify, end: &OwnedFd, top: &Path, opened: &Mutex<Vec<Opened>>) {
    let here = fs::read_link("/proc/self/ns/pid").unwrap();
    loop {
        let mut ready =
            [PollFd::new(watching.as_fd(), PollFlags::POLLIN), PollFd::new(end.as_fd(), PollFlags::empty())];
        poll(&mut ready, PollTimeout::NONE).unwrap();
        if !ready[0].any().unwrap() {
            return;
        }
        for event in watching.read_events().unwrap() {
            let file = event.fd().expect("the queue has no limit");
            // It waits for the answer below, and is still who it was; unless it was killed, and opens nothing any more.
            let of_process = |what: &str| fs::read_link(format!("/proc/{}/{what}", event.pid()));
            let path = fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap();
            if let (Ok(program), Ok(processes)) = (of_process("exe"), of_process("ns/pid")) {
                let path = path.strip_prefix(top).map(Path::to_owned).unwrap_or(path);
                opened.lock().unwrap().push(Opened { path, program, in_sandbox: processes != here });
            }
            match watching.write_response(FanotifyResponse::new(file, Response::FAN_ALLOW)) {
                Ok(()) | Err(Errno::ENOENT) => {}
                Err(error) => panic!("{error}"),
            }
        }
    }
}
