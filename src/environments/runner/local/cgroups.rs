//! Limits of a class, by control groups: version 2 where it has the controllers, else version 1; where neither can be
//! written to, what is left is said aloud.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::environments::runner::Resources;

/// The directory of all of this server's groups, in each hierarchy.
const PARENT: &str = "latchkey";
/// Over which time processor time is counted, in microseconds.
const PERIOD_US: u64 = 100_000;

/// What is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Controller {
    Cpu,
    Memory,
    Pids,
}

impl Controller {
    const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Pids];

    const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::Pids => "pids",
        }
    }

    /// What holds in its place.
    const fn instead(self) -> &'static str {
        match self {
            Self::Cpu => "processor time is not limited: environments only come after everything else",
            Self::Memory => "memory is limited for each process, not for all of an environment together",
            Self::Pids => "processes are limited by RLIMIT_NPROC",
        }
    }

    /// The files to write, and what; those that must be there first.
    fn settings(self, version: Version, resources: &Resources) -> Vec<(&'static str, String)> {
        let quota = (u64::from(resources.cpu_millicores) * PERIOD_US / 1000).max(1000);
        match (self, version) {
            (Self::Cpu, Version::Two) => vec![("cpu.max", format!("{quota} {PERIOD_US}"))],
            (Self::Cpu, Version::One) => {
                vec![("cpu.cfs_period_us", PERIOD_US.to_string()), ("cpu.cfs_quota_us", quota.to_string())]
            }
            (Self::Memory, Version::Two) => vec![("memory.max", resources.memory_bytes.to_string())],
            (Self::Memory, Version::One) => vec![("memory.limit_in_bytes", resources.memory_bytes.to_string())],
            (Self::Pids, Version::One | Version::Two) => vec![("pids.max", resources.processes.to_string())],
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    One,
    Two,
}

/// Where this server can make control groups.
#[derive(Debug, Clone, Default)]
pub(super) struct Cgroups {
    found: Vec<(Controller, Version, PathBuf)>,
}

/// What is weaker than the class says where no control group can be written to for these.
pub(super) fn warning(missing: &[Controller]) -> Option<String> {
    // Processes are counted as well without one.
    let weaker = |controller: &&Controller| **controller != Controller::Pids;
    let (names, instead): (Vec<_>, Vec<_>) =
        missing.iter().filter(weaker).map(|controller| (controller.name(), controller.instead())).unzip();
    (!names.is_empty()).then(|| {
        format!(
            "the limits of the class are weaker here, since the server can write to no control group ({}): {}",
            names.join(", "),
            instead.join("; ")
        )
    })
}

/// The group of one environment, ready for its first process.
#[derive(Debug, Default)]
pub(super) struct Group {
    /// Each takes a process that writes `0` to it.
    pub(super) entrances: Vec<File>,
    /// What is not limited.
    pub(super) missing: Vec<Controller>,
}

impl Cgroups {
    /// Looks for hierarchies that can be written to.
    pub(super) fn detect() -> Self {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let hierarchies = hierarchies(&mounts, &own);
        let found = Controller::ALL
            .into_iter()
            .filter_map(|controller| {
                hierarchies.iter().find_map(|hierarchy| {
                    let parent = hierarchy.usable_for(controller.name())?;
                    Some((controller, hierarchy.version, parent))
                })
            })
            .collect();
        Self { found }
    }

    /// Whether there is anything that it can limit.
    pub(super) fn any(&self) -> bool {
        !self.found.is_empty()
    }

    /// Makes the group `name`, or sets the limits of the one there is.
    pub(super) fn prepare(&self, name: &str, resources: &Resources) -> Group {
        let mut group = Group::default();
        for controller in Controller::ALL {
            let place = self.found.iter().find(|(found, ..)| *found == controller);
            match place.map(|(_, version, parent)| enter(controller, *version, &parent.join(name), resources)) {
                Some(Ok(entrance)) => group.entrances.push(entrance),
                Some(Err(_)) | None => group.missing.push(controller),
            }
        }
        group
    }

    /// Removes the group `name`, whose processes are gone. Waits for a moment if the kernel has not noticed yet.
    pub(super) async fn remove(&self, name: &str) {
        for (_, _, parent) in &self.found {
            // A group that stays behind costs nothing but its name, and the next start takes it.
            for _ in 0..50 {
                match fs::remove_dir(parent.join(name)) {
                    Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                    Ok(()) | Err(_) => break,
                }
            }
        }
    }
}

fn enter(controller: Controller, version: Version, group: &Path, resources: &Resources) -> io::Result<File> {
    make_directory(group)?;
    for (file, value) in controller.settings(version, resources) {
        fs::write(group.join(file), value)?;
    }
    if controller == Controller::Memory {
        // Best effort: not every kernel counts swap, and version 1 counts it together with memory.
        let _ = match version {
            Version::Two => fs::write(group.join("memory.swap.max"), "0"),
            Version::One => fs::write(group.join("memory.memsw.limit_in_bytes"), resources.memory_bytes.to_string()),
        };
    }
    OpenOptions::new().write(true).open(group.join("cgroup.procs"))
}

fn make_directory(path: &Path) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        result => result,
    }
}

/// One tree of control groups.
#[derive(Debug, PartialEq, Eq)]
struct Hierarchy {
    version: Version,
    /// The controllers of a version 1 tree.
    controllers: Vec<String>,
    /// The top of the tree.
    top: PathBuf,
    /// This process's own group.
    own: PathBuf,
}

impl Hierarchy {
    /// The directory to make groups in, made if need be.
    fn usable_for(&self, controller: &str) -> Option<PathBuf> {
        match self.version {
            Version::One => {
                if !self.controllers.iter().any(|name| name == controller) {
                    return None;
                }
                let parent = self.own.join(PARENT);
                make_directory(&parent).ok()?;
                Some(parent)
            }
            // Groups with processes give no controllers to groups below them, but for the top one: our own group is of
            // use when somebody has made room in it, by moving this process to a group below (systemd does, with
            // DelegateSubgroup).
            Version::Two => [Some(self.top.as_path()), self.own.parent(), Some(self.own.as_path())]
                .into_iter()
                .flatten()
                .filter(|above| above.starts_with(&self.top))
                .find_map(|above| {
                    give_down(above, controller).ok()?;
                    let parent = above.join(PARENT);
                    make_directory(&parent).ok()?;
                    give_down(&parent, controller).ok()?;
                    Some(parent)
                }),
        }
    }
}

fn give_down(group: &Path, controller: &str) -> io::Result<()> {
    fs::write(group.join("cgroup.subtree_control"), format!("+{controller}"))
}

/// Reads `/proc/self/mountinfo` and `/proc/self/cgroup`; version 2 comes first.
fn hierarchies(mounts: &str, own: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = mounts
        .lines()
        .filter_map(|line| {
            let (mount, kind) = line.split_once(" - ")?;
            let mut mount = mount.split(' ').skip(3);
            let (root, top) = (mount.next()?, PathBuf::from(mount.next()?));
            let mut kind = kind.split(' ');
            let version = match kind.next()? {
                "cgroup" => Version::One,
                "cgroup2" => Version::Two,
                _ => return None,
            };
            let controllers: Vec<String> = kind.nth(1)?.split(',').map(str::to_owned).collect();
            let path = own.lines().find_map(|line| {
                let (_, rest) = line.split_once(':')?;
                let (names, path) = rest.split_once(':')?;
                let is_it = match version {
                    Version::Two => names.is_empty(),
                    Version::One => names.split(',').any(|name| controllers.iter().any(|found| found == name)),
                };
                is_it.then_some(path)
            })?;
            // A container sees a part of the tree as the top of it.
            let below = Path::new(path).strip_prefix(root).unwrap_or(Path::new(""));
            Some(Hierarchy { version, controllers, own: top.join(below), top })
        })
        .collect();
    found.sort_by_key(|hierarchy| match hierarchy.version {
        Version::Two => 0,
        Version::One => 1,
    });
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trees_of_both_versions_are_found() {
        let mounts = "\
24 1 0:22 / /proc rw,relatime - proc proc rw
30 24 0:27 / /sys/fs/cgroup/memory rw,relatime shared:5 - cgroup cgroup rw,memory
31 24 0:28 /docker/x /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 24 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        let own = "5:cpuacct,cpu:/docker/x/y\n4:memory:/api/z\n0::/user.slice/a\n";
        let found = hierarchies(mounts, own);
        let places: Vec<_> = found.iter().map(|found| (found.version, found.own.to_str().unwrap())).collect();
        assert_eq!(
            places,
            [
                (Version::Two, "/sys/fs/cgroup/unified/user.slice/a"),
                (Version::One, "/sys/fs/cgroup/memory/api/z"),
                (Version::One, "/sys/fs/cgroup/cpu,cpuacct/y"),
            ]
        );
        assert_eq!(found[2].controllers, ["rw", "cpu", "cpuacct"]);
    }

    #[test]
    fn a_class_becomes_settings() {
        let resources = Resources { cpu_millicores: 1500, memory_bytes: 1 << 30, processes: 256, disk_bytes: 1 << 30 };
        let cpu = Controller::Cpu.settings(Version::Two, &resources);
        assert_eq!(cpu, [("cpu.max", "150000 100000".to_owned())]);
        let period = Controller::Cpu.settings(Version::One, &resources);
        let (period_us, quota_us) = ("100000".to_owned(), "150000".to_owned());
        assert_eq!(period, [("cpu.cfs_period_us", period_us), ("cpu.cfs_quota_us", quota_us)]);
        let bytes = || "1073741824".to_owned();
        assert_eq!(Controller::Memory.settings(Version::One, &resources), [("memory.limit_in_bytes", bytes())]);
        assert_eq!(Controller::Memory.settings(Version::Two, &resources), [("memory.max", bytes())]);
        for version in [Version::One, Version::Two] {
            assert_eq!(Controller::Pids.settings(version, &resources), [("pids.max", "256".to_owned())]);
        }
        // The kernel takes no less than a millisecond.
        let hardly_any = Resources { cpu_millicores: 1, ..resources };
        assert_eq!(Controller::Cpu.settings(Version::Two, &hardly_any), [("cpu.max", "1000 100000".to_owned())]);
    }

    /// A tree of version 2 as it looks to who writes to it: files in place of the kernel's.
    #[test]
    fn a_group_of_version_2_is_made_below_one_that_gives_its_controllers_down() {
        let top = tempfile::tempdir().unwrap();
        let own = top.path().join("system.slice/latchkey.service/main");
        fs::create_dir_all(&own).unwrap();
        let hierarchy =
            |own: PathBuf| Hierarchy { version: Version::Two, controllers: vec![], own, top: top.path().to_owned() };
        let parent = hierarchy(own).usable_for(Controller::Memory.name()).unwrap();
        assert_eq!(parent, top.path().join(PARENT));
        for group in [top.path(), &parent] {
            assert_eq!(fs::read_to_string(group.join("cgroup.subtree_control")).unwrap(), "+memory");
        }
        // The kernel makes this one with the directory.
        let group = parent.join("name");
        fs::create_dir(&group).unwrap();
        fs::write(group.join("cgroup.procs"), "").unwrap();
        let resources = Resources { cpu_millicores: 1500, memory_bytes: 1 << 30, processes: 256, disk_bytes: 1 << 30 };
        enter(Controller::Memory, Version::Two, &group, &resources).unwrap();
        let read = |name: &str| fs::read_to_string(group.join(name)).unwrap();
        assert_eq!((read("memory.max"), read("memory.swap.max")), ("1073741824".to_owned(), "0".to_owned()));
    }

    /// The kernel's own tree of version 2, with a controller of ours or, where version 1 has those, with another one.
    #[test]
    #[allow(clippy::print_stderr, reason = "what is left out is said")]
    fn a_process_enters_a_group_of_version_2_that_the_kernel_made() {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let tree = hierarchies(&mounts, &own).into_iter().find(|tree| tree.version == Version::Two);
        let offered = |tree: &Hierarchy| fs::read_to_string(tree.top.join("cgroup.controllers")).unwrap();
        let is_ours = |name: &&str| Controller::ALL.iter().any(|controller| controller.name() == *name);
        let found = tree.and_then(|tree| {
            let offered = offered(&tree);
            let name = offered.split_whitespace().find(is_ours).or_else(|| offered.split_whitespace().next())?;
            Some((tree.usable_for(name)?, name.to_owned()))
        });
        let Some((parent, controller)) = found else {
            let reason = "there is no control group of version 2 that can be written to";
            eprintln!("left out: {reason}");
            // As tests/support/left_out.rs does.
            if let Some(path) = std::env::var_os("TESTS_LEFT_OUT") {
                let line = format!("{}: {reason}\n", std::thread::current().name().unwrap_or("a test"));
                let mut file = OpenOptions::new().append(true).create(true).open(path).unwrap();
                io::Write::write_all(&mut file, line.as_bytes()).unwrap();
            }
            return;
        };
        let name = crate::domain::ids::EnvironmentId::generate().to_string();
        let group = parent.join(&name);
        make_directory(&group).unwrap();
        let offered = fs::read_to_string(group.join("cgroup.controllers")).unwrap();
        let enter = format!("echo 0 > {}/cgroup.procs && cat /proc/self/cgroup", group.display());
        let entered = std::process::Command::new("sh").args(["-c", &enter]).output().unwrap();
        fs::remove_dir(&group).unwrap();
        assert!(offered.split_whitespace().any(|offered| offered == controller), "{controller} is not in {offered}");
        let said = String::from_utf8(entered.stdout).unwrap();
        let is_in = |line: &str| line.starts_with("0::") && line.ends_with(&format!("/{PARENT}/{name}"));
        assert!(said.lines().any(is_in), "{said}");
    }

    #[test]
    fn what_no_group_limits_is_said() {
        assert_eq!(warning(&[]), None);
        assert_eq!(warning(&[Controller::Pids]), None, "they are counted in another way");
        let all = warning(&Controller::ALL).unwrap();
        for words in ["no control group (cpu, memory)", "come after everything else", "for each process"] {
            assert!(all.contains(words), "{all}");
        }
        let memory = warning(&[Controller::Memory, Controller::Pids]).unwrap();
        assert!(memory.contains("(memory)") && !memory.contains("processor"), "{memory}");
        assert!(all.chars().count() < 400, "there is room for others in a warning");
    }
}
