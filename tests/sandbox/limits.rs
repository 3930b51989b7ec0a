//! How much of the machine a sandbox gets.

use latchkey::{
    domain::{environment::Content, ids::EnvironmentId},
    environments::runner::{Resources, Runner},
};

use crate::support::machine::{Machine, RESOURCES, exec};

#[tokio::test]
async fn the_limits_of_a_class_hold_or_their_absence_is_said() {
    let machine = Machine::new().await;
    let runner = machine.runner().await;
    let id = EnvironmentId::generate();
    let resources = Resources { cpu_millicores: 1000, memory_bytes: 256 << 20, processes: 40, ..RESOURCES };
    runner.create(id, &Content::Empty, &resources).await.unwrap();
    let started = runner.start(id, &resources).await.unwrap();
    // Processes are always counted.
    let bomb = "i=0; while [ $i -lt 100 ]; do sleep 5 & i=$((i+1)); done; ps -e | grep -c sleep";
    let said = exec(&runner, id, &format!("({bomb}) 2>/dev/null; true")).await.stdout;
    assert!(said.trim().parse::<u32>().unwrap_or(0) < 40, "{said}");
    let warning = started.warning.unwrap_or_default();
    if !warning.contains("memory") {
        runner.stop(id).await.unwrap();
        runner.start(id, &resources).await.unwrap();
        let hog = exec(&runner, id, "head -c 600000000 /dev/zero | tail -c 500000000 | wc -c").await;
        assert_ne!(hog.stdout.trim(), "500000000");
        // The hog went, and nobody else.
        assert_eq!(exec(&runner, id, "true").await.exit_code, 0);
    }
    runner.delete(id).await.unwrap();
}
