//! What to do about data whose PostgreSQL is not installed.

use std::fmt;
use std::path::PathBuf;

/// The data belongs to a major version that is not installed.
#[derive(Debug)]
pub struct MissingMajor {
    /// The major version that the data belongs to, as its `PG_VERSION` file has it.
    pub wanted: String,
    /// The major versions that are installed, each with its programs' directory, newest first.
    pub installed: Vec<(u32, PathBuf)>,
    /// PostgreSQL's data directory.
    pub data: PathBuf,
    /// Where the files of access rules are.
    pub config: PathBuf,
    /// The account that runs PostgreSQL, if that is not the account of this process.
    pub account: Option<String>,
}

impl fmt::Display for MissingMajor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (wanted, data) = (&self.wanted, self.data.display());
        write!(f, "the database in {data} was made by PostgreSQL {wanted}, which is not installed here")?;
        let Some((newest, programs)) = self.installed.first() else {
            return write!(f, "; install it: apt-get install postgresql-{wanted}");
        };
        let installed: Vec<String> = self.installed.iter().map(|(major, _)| major.to_string()).collect();
        writeln!(f, " (installed: {}). Install it, and Latchkey starts as before:", installed.join(", "))?;
        writeln!(f, "    apt-get install postgresql-{wanted}")?;
        writeln!(f, "Or then upgrade the database to PostgreSQL {newest}, with Latchkey stopped:")?;
        let (programs, config) = (programs.display(), self.config.display());
        // Every command as the account that owns the files; the new directory's parent is ours.
        let run = self.account.as_ref().map_or_else(String::new, |account| format!("runuser -u {account} -- "));
        match &self.account {
            Some(account) => writeln!(f, "    install -d -m 700 -o {account} -g {account} {data}-{newest} && cd /tmp")?,
            None => writeln!(f, "    cd /tmp")?,
        }
        writeln!(
            f,
            "    {run}{programs}/initdb --username=postgres --auth=peer --locale=C --encoding=UTF8 --data-checksums \
             --pgdata={data}-{newest}"
        )?;
        write!(
            f,
            "    {run}{programs}/pg_upgrade --username=postgres --old-bindir=/usr/lib/postgresql/{wanted}/bin \
             --new-bindir={programs} --old-datadir={data} --new-datadir={data}-{newest} --socketdir=/tmp"
        )?;
        for side in ["old", "new"] {
            write!(f, " --{side}-options='-c hba_file={config}/pg_hba.conf -c ident_file={config}/pg_ident.conf'")?;
        }
        write!(f, "\n    mv {data} {data}-{wanted} && mv {data}-{newest} {data}")
    }
}
