//! What PostgreSQL does by itself: prepared selects of one row by its key.

use std::{fs, path::PathBuf};

use latchkey::embedded::Role;
use tokio::process::Command;

use super::ground::{Postgres, tokens::KEYS_A_ROW};

pub(super) struct Pgbench {
    program: PathBuf,
    script: PathBuf,
    url: String,
    connections: String,
}

impl Pgbench {
    /// The keys come from a table in rows of fifty: pgbench can draw numbers only. That select counts as one of the
    /// selects, since it is one too.
    pub(super) fn new(postgres: &Postgres, rows: usize, connections: usize) -> Self {
        let mut text = format!("\\set row random(1, {rows})\nSELECT * FROM benchmark_keys WHERE row = :row \\gset\n");
        for key in 1..=KEYS_A_ROW {
            text.push_str(&format!("SELECT digest FROM personal_access_tokens WHERE id = :k{key};\n"));
        }
        let script = postgres.directory().join("select-by-key.sql");
        fs::write(&script, text).unwrap();
        Self {
            program: postgres.program("pgbench"),
            script,
            url: postgres.url(Role::Serving),
            connections: connections.to_string(),
        }
    }

    /// Selects a second.
    pub(super) async fn run(&self, seconds: u64) -> f64 {
        let output = Command::new(&self.program)
            .args(["--no-vacuum", "--protocol=prepared", "--client", &self.connections])
            .args(["--time", &seconds.to_string(), "--file"])
            .arg(&self.script)
            .arg(&self.url)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "pgbench: {}", String::from_utf8_lossy(&output.stderr));
        let line = text.lines().find_map(|line| line.strip_prefix("tps = ")).expect("pgbench tells its rate");
        let scripts: f64 = line.split(' ').next().unwrap().parse().unwrap();
        #[expect(clippy::cast_precision_loss, reason = "it is fifty")]
        let selects = (KEYS_A_ROW + 1) as f64;
        scripts * selects
    }
}
