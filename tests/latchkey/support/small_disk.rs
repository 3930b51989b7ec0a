//! A disk that a test can fill: a file that is mounted where the server alone sees it.

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::Command,
};

/// Why there can be none here, if so.
pub fn missing() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting a disk takes root");
    }
    let found = Command::new("losetup").arg("--find").output();
    let is_there = found.is_ok_and(|output| output.status.success());
    (!is_there).then_some("there is no loop device")
}

/// Makes a disk of so many bytes, in a file. So many hundredths of it are root's alone: when root has filled them, what others set
/// free is not theirs to have.
pub fn make(image: &Path, bytes: u64, of_root: u8) {
    File::create(image).unwrap().set_len(bytes).unwrap();
    let of_root = of_root.to_string();
    let made = Command::new("mkfs.ext4").args(["-q", "-m", &of_root]).arg(image).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The words before a program that run it with a disk at a place, in namespaces of its own: all that it starts, and the disk,
/// are gone when it is.
pub fn mounted(image: &Path, place: &Path) -> Vec<String> {
    let script = format!(
        "mount -o loop {image} {place} && chmod 711 {place} && exec \"$0\" \"$@\"",
        image = image.display(),
        place = place.display()
    );
    ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", &script]
        .map(str::to_owned)
        .to_vec()
}

/// Fills a disk that is mounted nowhere any more to the last byte.
pub async fn fill(image: &Path) {
    super::eventually("nobody has it mounted", async || {
        let devices = Command::new("losetup").arg("--associated").arg(image).output().unwrap();
        devices.stdout.is_empty().then_some(())
    })
    .await;
    let place = tempfile::tempdir().unwrap();
    let words = mounted(image, place.path());
    let script = format!("cat /dev/zero > {}/filler", place.path().display());
    let filled = Command::new(&words[0]).args(&words[1..]).args(["sh", "-c", &script]).output().unwrap();
    let said = String::from_utf8_lossy(&filled.stderr).into_owned();
    assert!(said.contains("No space left on device"), "{said}");
}

/// The program behind those words, by the ID of the process that they started.
pub fn program(process: u32) -> u32 {
    let children = fs::read_to_string(format!("/proc/{process}/task/{process}/children")).unwrap();
    children.split_whitespace().next().expect("it has been started").parse().unwrap()
}

/// A path as that program sees it.
pub fn seen_by(process: u32, path: &Path) -> PathBuf {
    PathBuf::from(format!("/proc/{}/root{}", program(process), path.display()))
}

/// The words before a program that run it where that one runs.
pub fn beside(process: u32) -> Vec<String> {
    ["nsenter", "--target", &program(process).to_string(), "--mount", "--pid"].map(str::to_owned).to_vec()
}
