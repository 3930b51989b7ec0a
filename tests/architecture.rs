//! The rules of the house that the compiler does not hold: what may import what, and how the tree is kept.
//!
//! Each test gathers every breach, so that one run shows them all; each names the file, the line and the rule.

use std::{fmt, fs, path::Path, process::Command};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};

/// What each top-level module may import, beside itself: a module of ours, or one item of it (`auth::Caller`).
/// A binary's row says what it may take from the library.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("store", &["domain"]),
    // The verifier and the recorder reach the store through traits of auth's own, which service implements; what ends a
    // credential makes the verifier's cache forget it; and whoever asks about tokens asks the same verifier.
    (
        "service",
        &[
            "domain",
            "store",
            "auth::Cache",
            "auth::CredentialSource",
            "auth::SourceUnavailable",
            "auth::Verifier",
            "auth::VerifyError",
            "auth::Begun",
            "auth::Guesses",
            "auth::Recorder",
            "auth::QueueFull",
        ],
    ),
    // The contract's list of RPCs, for the test that each has a policy.
    ("auth", &["domain", "lookups", "pb::FILE_DESCRIPTOR_SET"]),
    // Others' services, without the server: see the features of Cargo.toml.
    ("remote", &["domain", "lookups", "pb"]),
    ("lookups", &[]),
    ("grpc", &["service", "domain", "auth::Caller", "auth::Refusal", "auth::user_agent", "pb"]),
    ("form", &["domain"]),
    ("oauth", &["service", "domain", "form", "auth::Caller", "auth::Refusal", "auth::origin"]),
    ("connect", &[]),
    ("environments", &["domain", "store", "pb"]),
    // What is public is asked for without a caller: where from, and what the browser brings along, the layer's own module reads.
    (
        "web",
        &[
            "service",
            "domain",
            "form",
            "auth::Caller",
            "auth::Refusal",
            "auth::origin",
            "auth::cookie",
            "auth::is_looked_at",
            "auth::session_cookie",
        ],
    ),
    ("embedded", &[]),
    ("config", &["domain"]),
    ("telemetry", &["config::Traces", "domain"]),
    ("pb", &[]),
    (
        "app",
        &[
            "auth",
            "config",
            "connect",
            "domain",
            "embedded",
            "environments",
            "grpc",
            "oauth",
            "pb",
            "service",
            "store",
            "telemetry",
            "web",
        ],
    ),
    ("lib", &[]),
    // The same program is the server and, inside a sandbox, its supervisor.
    ("main", &["app", "config", "domain", "telemetry", "environments::supervisor"]),
    ("bin/gitpod", &["domain", "pb"]),
];

/// Crates that one module alone may name.
const AT_HOME_IN: &[(&str, &str)] =
    &[("diesel", "store"), ("diesel_async", "store"), ("diesel_migrations", "store"), ("connectrpc", "connect")];

const LONGEST_FILE: usize = 500;

/// Names that say nothing of what is inside.
const EMPTY_NAMES: &[&str] = &["common", "helper", "helpers", "manager", "managers", "util", "utils"];

/// What no committed file may contain, and why. Spelt in two halves, so that this file may be committed.
const FORBIDDEN: &[(&str, &str)] = &[
    (concat!("TO", "DO"), "what is left to do is done, or is an issue"),
    (concat!("FIX", "ME"), "what is left to do is done, or is an issue"),
    (concat!("/wo", "rk/"), "a path of the machine it was written on"),
    (concat!("/tmp/ba", "sh_"), "a path of the machine it was written on"),
    (concat!("/root/", ".cargo"), "a path of the machine it was written on"),
    (concat!("pypi", ".org"), "which registry is used is each machine's own configuration"),
    (concat!("python", "hosted.org"), "which registry is used is each machine's own configuration"),
    (concat!("npm", "js.org"), "which registry is used is each machine's own configuration"),
    (concat!("npm", "js.com"), "which registry is used is each machine's own configuration"),
    (concat!("index.crates", ".io"), "which registry is used is each machine's own configuration"),
    (concat!("static.crates", ".io"), "which registry is used is each machine's own configuration"),
];

#[derive(Debug, PartialEq, Eq)]
struct Breach {
    file: String,
    line: usize,
    rule: String,
}

impl fmt::Display for Breach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.file, self.line, self.rule)
    }
}

fn assert_none(breaches: &[Breach]) {
    let lines: Vec<String> = breaches.iter().map(Breach::to_string).collect();
    assert!(lines.is_empty(), "{} breaches of the house's rules:\n{}", lines.len(), lines.join("\n"));
}

/// The files of this checkout that are committed, or would be by `git add -A`.
fn files() -> Vec<String> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("git runs");
    assert!(output.status.success(), "git ls-files: {}", String::from_utf8_lossy(&output.stderr));
    let names = String::from_utf8(output.stdout).expect("file names are UTF-8");
    let mut files: Vec<String> = names.split_terminator('\0').map(str::to_owned).collect();
    files.sort();
    files.dedup();
    assert!(files.iter().any(|file| file == "src/lib.rs"), "git does not list this checkout's files");
    files
}

/// The text of a file of this checkout; none for a binary one, and for one that is deleted but not yet committed so.
fn text(file: &str) -> Option<String> {
    String::from_utf8(fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).ok()?).ok()
}

/// The breaches that `check` finds in the text of each file that `choose` wants.
fn breaches(choose: impl Fn(&str) -> bool, check: impl Fn(&str, &str) -> Vec<Breach>) -> Vec<Breach> {
    files()
        .iter()
        .filter(|file| choose(file))
        .filter_map(|file| Some((file, text(file)?)))
        .flat_map(|(file, text)| check(file, &text))
        .collect()
}

#[test]
fn modules_import_what_the_table_allows() {
    assert_none(&breaches(|file| file.starts_with("src/") && file.ends_with(".rs"), imports));
}

#[test]
fn files_are_short_and_named_for_what_they_hold() {
    assert_none(&breaches(|file| file.ends_with(".rs"), size_and_name));
}

#[test]
fn nothing_committed_is_unfinished_or_tied_to_one_machine() {
    // What others have written is kept as they have written it.
    assert_none(&breaches(|file| !file.starts_with("tests/conformance/proto/"), forbidden_words));
}

#[test]
fn the_protocol_engine_is_one_version_and_no_other() {
    // src/connect/ relies on more of it than its version numbers promise to keep.
    let manifest = text("Cargo.toml").expect("there is one");
    let line = manifest.lines().find(|line| line.starts_with("connectrpc")).expect("it is a dependency");
    assert!(line.contains("version = \"=0.9.1\""), "{line}");
}

fn size_and_name(file: &str, text: &str) -> Vec<Breach> {
    let breach = |line, rule| Breach { file: file.to_owned(), line, rule };
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > LONGEST_FILE {
        found.push(breach(lines, format!("a file has at most {LONGEST_FILE} lines: split it by meaning")));
    }
    if let Some(name) = file.trim_end_matches(".rs").split('/').find(|name| EMPTY_NAMES.contains(name)) {
        found.push(breach(1, format!("no file is named `{name}`: name it for what it holds")));
    }
    found
}

fn forbidden_words(file: &str, text: &str) -> Vec<Breach> {
    let mut found = Vec::new();
    for (number, line) in text.lines().enumerate() {
        for (word, why) in FORBIDDEN {
            if line.match_indices(word).any(|(at, _)| stands_alone(line, at, word)) {
                found.push(Breach { file: file.to_owned(), line: number + 1, rule: format!("no `{word}`: {why}") });
            }
        }
    }
    found
}

/// Whether the word at `at` stands for itself, not as a part of a longer word or path.
fn stands_alone(line: &str, at: usize, word: &str) -> bool {
    let in_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let ends_open = word.ends_with(in_word);
    !(line[..at].ends_with(in_word) || ends_open && line[at + word.len()..].starts_with(in_word))
}

/// The breaches of [`MAY_IMPORT`] and [`AT_HOME_IN`], and every `#[path]`, in one file of `src/`.
fn imports(file: &str, text: &str) -> Vec<Breach> {
    let place = Place::of(file);
    let breach = |line, rule| Breach { file: file.to_owned(), line, rule };
    let Some((_, allowed)) = MAY_IMPORT.iter().find(|(module, _)| *module == place.row) else {
        return vec![breach(1, format!("`{}` has no row in the table of tests/architecture.rs: add one", place.row))];
    };
    let tokens: TokenStream = match text.parse() {
        Ok(tokens) => tokens,
        Err(error) => return vec![breach(1, format!("this is not Rust: {error}"))],
    };
    let mut reader = Reader { place: &place, named: Vec::new(), breaches: Vec::new() };
    reader.read(tokens, &place.module);
    let mut found: Vec<Breach> = reader.breaches.into_iter().map(|(line, rule)| breach(line, rule)).collect();
    for (line, path) in reader.named {
        let Some(module) = path.split("::").next().filter(|module| MAY_IMPORT.iter().any(|(row, _)| row == module))
        else {
            found.push(breach(line, format!("`{path}` names no module that has a row in the table")));
            continue;
        };
        let is_allowed =
            |entry: &&str| path.strip_prefix(*entry).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        if module != place.row && !allowed.iter().any(is_allowed) {
            let list = if allowed.is_empty() { "nothing of ours".to_owned() } else { allowed.join(", ") };
            found.push(breach(line, format!("`{}` may import {list}, not `{path}`", place.row)));
        }
    }
    found
}

/// Where a file of `src/` stands: its row in the table, and its module path in its crate.
struct Place {
    row: String,
    module: Vec<String>,
    in_library: bool,
}

impl Place {
    fn of(file: &str) -> Self {
        let path = file.trim_start_matches("src/").trim_end_matches(".rs");
        let mut module: Vec<String> = path.split('/').map(str::to_owned).collect();
        let row = if module[0] == "bin" { module[..2].join("/") } else { module[0].clone() };
        let in_library = row != "main" && !row.starts_with("bin/");
        if module.last().is_some_and(|last| ["mod", "lib"].contains(&last.as_str())) {
            module.pop();
        }
        Self { row, module, in_library }
    }
}

/// Reads tokens, and keeps the paths from the library's root that they name, each with its line.
struct Reader<'a> {
    place: &'a Place,
    named: Vec<(usize, String)>,
    breaches: Vec<(usize, String)>,
}

impl Reader<'_> {
    /// Reads what stands in the module of this path.
    fn read(&mut self, tokens: TokenStream, module: &[String]) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token {
                TokenTree::Group(group) => {
                    let before = &tokens[..at - 1];
                    self.check_attribute(before, group);
                    let inner = inline_module(before, group);
                    self.read(group.stream(), &[module, inner.as_slice()].concat());
                }
                TokenTree::Ident(ident) => {
                    let (line, word) = (ident.span().start().line, ident.to_string());
                    self.check_home(line, &word);
                    if ["crate", "self", "super", "latchkey"].contains(&word.as_str()) {
                        let mut paths = Vec::new();
                        at = read_path(&tokens, at - 1, &[], &mut paths);
                        for (line, path) in paths {
                            self.resolve(line, &path, module);
                        }
                    }
                }
                TokenTree::Punct(_) | TokenTree::Literal(_) => {}
            }
        }
    }

    /// Holds a word against [`AT_HOME_IN`].
    fn check_home(&mut self, line: usize, word: &str) {
        if let Some((_, home)) = AT_HOME_IN.iter().find(|(name, _)| *name == word)
            && *home != self.place.row
        {
            self.breaches.push((line, format!("only `{home}` may name `{word}`")));
        }
    }

    /// A `#[path]` would hide where a module's file is, also inside of `cfg_attr`.
    fn check_attribute(&mut self, before: &[TokenTree], group: &Group) {
        let text = group.stream().to_string();
        let is_path = text.starts_with("path =") || text.starts_with("cfg_attr") && text.contains(", path =");
        if is_path && group.delimiter() == Delimiter::Bracket && is_punct(before.last(), '#') {
            let line = group.span_open().start().line;
            self.breaches.push((line, "no `#[path]`: a module's file is where its name says".to_owned()));
        }
    }

    /// Keeps a path if it leads from the library's root into one of its modules.
    fn resolve(&mut self, line: usize, path: &[String], module: &[String]) {
        let ups = path.iter().skip_while(|word| *word == "self").take_while(|word| *word == "super").count();
        let from_root: Vec<String> = match path[0].as_str() {
            "latchkey" if !self.place.in_library => path[1..].to_vec(),
            "crate" if self.place.in_library => path[1..].to_vec(),
            "self" | "super" if self.place.in_library && ups > 0 => {
                let rest = path.iter().skip_while(|word| ["self", "super"].contains(&word.as_str())).cloned();
                module[..module.len().saturating_sub(ups)].iter().cloned().chain(rest).collect()
            }
            _ => return,
        };
        // A word alone, as in `pub(crate)` and `self.name`, is no path; but `use crate as c` and `use super::super::*` hide one.
        match from_root.first().map(String::as_str) {
            None if path.len() == 1 => {}
            None | Some("*" | "self" | "as") => {
                self.breaches.push((line, "the crate as a whole may not be imported: name the module".to_owned()));
            }
            Some(_) => self.named.push((line, from_root.join("::"))),
        }
    }
}

/// The name of the module whose body this group is, if it is one.
fn inline_module(before: &[TokenTree], group: &Group) -> Option<String> {
    match before {
        [.., TokenTree::Ident(keyword), TokenTree::Ident(name)]
            if keyword == "mod" && group.delimiter() == Delimiter::Brace =>
        {
            Some(name.to_string())
        }
        _ => None,
    }
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

/// Reads the path that begins at `at`, or each path of a `{…}` in it; returns where it ends.
fn read_path(tokens: &[TokenTree], mut at: usize, prefix: &[String], paths: &mut Vec<(usize, Vec<String>)>) -> usize {
    let mut path = prefix.to_vec();
    let line = tokens.get(at).map_or(0, |token| token.span().start().line);
    loop {
        match tokens.get(at) {
            Some(TokenTree::Ident(word)) => path.push(word.to_string()),
            Some(TokenTree::Punct(star)) if star.as_char() == '*' => path.push("*".to_owned()),
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner.split(|token| is_punct(Some(token), ',')).filter(|part| !part.is_empty()) {
                    read_path(part, 0, &path, paths);
                }
                return at + 1;
            }
            _ => break,
        }
        at += 1;
        if !(is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')) {
            break;
        }
        at += 2;
    }
    if path.len() == 1 && matches!(tokens.get(at), Some(TokenTree::Ident(word)) if word == "as") {
        path.push("as".to_owned());
    }
    paths.push((line, path));
    at
}

/// What `imports` says of a file, each with its line.
fn said(file: &str, text: &str) -> Vec<String> {
    imports(file, text).iter().map(|breach| format!("{}: {}", breach.line, breach.rule)).collect()
}

#[test]
fn what_is_allowed_is_not_a_breach() {
    let service = r##"
        //! Not read: use crate::grpc::Server;
        /* nor crate::web::Page */
        use crate::{auth::{CredentialSource, QueueFull}, domain::{ids::TokenId, secret::*}};
        pub(crate) use crate::store::Store as Kept;
        pub(in crate::service) fn f(self) { info!(path = "p", "crate::grpc::x"); self.g(); r#"crate::app"# }
        mod tests { use super::*; use super::super::error::Error; }
    "##;
    assert_eq!(said("src/service/tokens.rs", service), [""; 0]);
    assert_eq!(said("src/store/mod.rs", "use diesel_async::RunQueryDsl; #[diesel(table_name = t)] struct S;"), [""; 0]);
    let client = "use crate::{error::Failure, host}; use latchkey::{domain::ids, pb::gitpod::v1};";
    assert_eq!(said("src/bin/gitpod/main.rs", client), [""; 0]);
}

#[test]
fn an_import_is_found_however_it_is_written() {
    for hidden in [
        "use crate::store::Store;",
        "pub(crate) use crate::{store::Store};",
        "fn f() { crate::store::Store::new() }",
        "use {crate::store::Store as S};",
        "#[cfg(test)] mod tests { use crate::store::Store; }",
        "use super::super::store::Store;",
        "use super::{super::{store::Store}};",
        "mod tests { use super::super::super::store::Store; }",
        "macro_rules! m { () => { $crate::store::Store } }",
    ] {
        let found = said("src/domain/ids.rs", &format!("\n{hidden}"));
        let rule = "2: `domain` may import nothing of ours, not `store::Store";
        assert!(found.len() == 1 && found[0].starts_with(rule), "{hidden}: {found:?}");
    }
}

#[test]
fn each_breach_is_named_with_its_line() {
    for (file, text, rule) in [
        ("src/grpc/tokens.rs", "use crate::auth::AuthLayer;", "not `auth::AuthLayer`"),
        ("src/grpc/tokens.rs", "use crate::auth::Callers;", "not `auth::Callers`"),
        ("src/app.rs", "use crate::*;", "the crate as a whole"),
        ("src/app.rs", "use crate as all;", "the crate as a whole"),
        ("src/config.rs", "use super::*;", "the crate as a whole"),
        ("src/app.rs", "use crate::billing::Bill;", "no module that has a row"),
        ("src/billing.rs", "", "`billing` has no row"),
        ("src/bin/other.rs", "", "`bin/other` has no row"),
        ("src/bin/gitpod/main.rs", "use latchkey::{domain, store::Store};", "not `store::Store`"),
        ("src/main.rs", "fn main() { latchkey::grpc::serve() }", "not `grpc::serve`"),
        ("src/service/tokens.rs", "use diesel::prelude::*;", "only `store` may name `diesel`"),
        ("src/grpc/mod.rs", "use ::connectrpc::Engine;", "only `connect` may name `connectrpc`"),
        ("src/grpc/mod.rs", "#[path = \"other.rs\"] mod m;", "no `#[path]`"),
        ("src/grpc/mod.rs", "#[cfg_attr(unix, path = \"other.rs\")] mod m;", "no `#[path]`"),
        ("src/grpc/mod.rs", "fn f() {", "this is not Rust"),
    ] {
        let found = said(file, text);
        assert!(found.len() == 1 && found[0].starts_with("1: ") && found[0].contains(rule), "{file} {text}: {found:?}");
    }
}

#[test]
fn untidy_files_are_named() {
    assert_eq!(size_and_name("src/domain/ids.rs", &"\n".repeat(LONGEST_FILE)), []);
    assert_eq!(size_and_name("src/domain/ids.rs", &"\n".repeat(LONGEST_FILE + 1))[0].line, LONGEST_FILE + 1);
    assert_eq!(size_and_name("tests/common/mod.rs", "").len(), 1);
    assert_eq!(size_and_name("src/utils.rs", "").len(), 1);
    for (word, _) in FORBIDDEN {
        let found = forbidden_words("README.md", &format!("fine\nsee {word} here"));
        assert!(found.len() == 1 && found[0].line == 2, "{word}: {found:?}");
        assert_eq!(forbidden_words("README.md", &format!("home{word}here")), [], "{word} inside of a longer word");
    }
}
