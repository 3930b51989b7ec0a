//! What cannot be started, and what is said of it.

use std::os::unix::fs::{MetadataExt, PermissionsExt};

use latchkey::embedded::{Cluster, ClusterConfig, DataDirectory, DataDirectoryLock, EmbeddedError};
use tempfile::TempDir;

use crate::account::{run, skip_unless_root};
use crate::place::{Place, WAIT};
use crate::processes::Disk;

pub async fn a_missing_major_version_is_named() {
    let place = Place::new();
    let (cluster, lock) = place.start().await;
    cluster.stop(&lock).await.unwrap();
    std::fs::write(place.directory.postgres().join("data/PG_VERSION"), "9.6\n").unwrap();
    let message = cluster.ensure_running(&lock).await.unwrap_err().to_string();
    for part in ["was made by PostgreSQL 9.6", "apt-get install postgresql-9.6", "pg_upgrade", "installed: 15"] {
        assert!(message.contains(part), "{part:?} is not in: {message}");
    }
    std::fs::write(place.directory.postgres().join("data/PG_VERSION"), "nonsense").unwrap();
    let error = cluster.ensure_running(&lock).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::Damaged { .. }), "{error}");
}

pub async fn a_failed_start_shows_the_log() {
    let place = Place::new();
    let options = vec![("shared_buffers".to_owned(), "plenty".to_owned())];
    let cluster = Cluster::open(&place.directory, ClusterConfig { options, ..ClusterConfig::default() }).unwrap();
    let lock = DataDirectoryLock::for_server(&place.directory, WAIT).await.unwrap();
    let error = cluster.ensure_running(&lock).await.unwrap_err();
    assert!(matches!(error, EmbeddedError::StartFailed { .. }), "{error}");
    assert!(error.to_string().contains("invalid value for parameter \"shared_buffers\""), "{error}");
    assert_eq!(place.processes(), Vec::<i32>::new());
}

pub async fn a_directory_of_something_else_is_refused() {
    let outer = TempDir::new().unwrap();
    std::fs::write(outer.path().join("letter.txt"), "x").unwrap();
    let before = outer.path().metadata().unwrap().mode();
    let error = DataDirectory::open(outer.path()).unwrap_err();
    assert!(matches!(&error, EmbeddedError::NotLatchkeys { entry, .. } if entry == "letter.txt"), "{error}");
    assert_eq!(outer.path().metadata().unwrap().mode(), before);
}

#[test]
fn root_is_told_what_keeps_other_accounts_out() {
    if skip_unless_root() {
        return;
    }
    run(async {
        let outer = TempDir::new().unwrap();
        std::fs::set_permissions(outer.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
        let directory = DataDirectory::open(outer.path().join("data")).unwrap();
        let cluster = Cluster::open(&directory, ClusterConfig::default()).unwrap();
        let lock = DataDirectoryLock::for_server(&directory, WAIT).await.unwrap();
        let error = cluster.ensure_running(&lock).await.unwrap_err();
        assert!(matches!(&error, EmbeddedError::CannotEnter { closed, .. } if closed == outer.path()), "{error}");
        let foreign = TempDir::new().unwrap();
        std::os::unix::fs::chown(foreign.path(), Some(65534), None).unwrap();
        let error = DataDirectory::open(foreign.path()).unwrap_err();
        assert!(matches!(error, EmbeddedError::ForeignDirectory { owner: 65534, .. }), "{error}");
    });
}

#[test]
fn a_full_disk_is_told() {
    if skip_unless_root() {
        return;
    }
    let outer = TempDir::new().unwrap();
    std::fs::set_permissions(outer.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
    let disk = Disk::mount(outer.path(), "16m");
    run(async {
        let directory = DataDirectory::open(disk.0.join("data")).unwrap();
        let cluster = Cluster::open(&directory, ClusterConfig::default()).unwrap();
        let lock = DataDirectoryLock::for_server(&directory, WAIT).await.unwrap();
        for _ in 0..2 {
            let error = cluster.ensure_running(&lock).await.unwrap_err();
            assert!(matches!(error, EmbeddedError::DiskFull { .. }), "{error}");
            assert!(!directory.postgres().join("data").exists());
        }
    });
}
