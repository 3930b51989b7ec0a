//! What a service takes on that takes the layer.

use std::process::Command;

#[test]
fn the_layer_brings_neither_a_store_nor_a_server_along() {
    let crates = |features: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .args(["tree", "--locked", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"])
            .args(features)
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let unwanted = ["axum", "diesel", "diesel-async", "kube", "tokio-postgres", "connectrpc", "clap"];
    let found = |tree: &str| {
        let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
        unwanted.into_iter().filter(|name| names.contains(name)).collect::<Vec<_>>()
    };
    let layer = crates(&["--no-default-features", "--features", "remote-verifier"]);
    assert!(layer.contains("tonic "), "{layer}");
    assert_eq!(found(&layer), [""; 0]);
    // Which would be found if they were there.
    assert!(found(&crates(&[])).contains(&"diesel"));
}
