//! The browser of this machine, if there is one.

use std::{env, path::Path, process::Stdio};

use tokio::process::Command;

use crate::target::variable;

/// How a browser is started: words, with the address in place of `%s`, or else at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Browser(Vec<String>);

/// The one that `BROWSER` names, or the desktop's. None where there is no screen.
pub(super) fn find() -> Option<Browser> {
    choose(variable, cfg!(target_os = "macos"), is_there)
}

/// `BROWSER` is a list, parted by colons (a convention of many programs); the first that is there counts.
fn choose(
    variable: impl Fn(&str) -> Option<String>,
    is_macos: bool,
    is_there: impl Fn(&str) -> bool,
) -> Option<Browser> {
    if let Some(list) = variable("BROWSER") {
        let words = |command: &str| shlex::split(command).filter(|words| !words.is_empty());
        return list.split(':').filter_map(words).find(|words| is_there(&words[0])).map(Browser);
    }
    let has_screen = ["DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(|name| variable(name).is_some());
    let opener = if is_macos { "open" } else { "xdg-open" };
    ((is_macos || has_screen) && is_there(opener)).then(|| Browser(vec![opener.to_owned()]))
}

/// Whether a program is in `PATH`, or is a path itself.
fn is_there(program: &str) -> bool {
    if program.contains('/') {
        return Path::new(program).is_file();
    }
    env::var_os("PATH").is_some_and(|path| env::split_paths(&path).any(|directory| directory.join(program).is_file()))
}

impl Browser {
    fn words(&self, address: &str) -> Vec<String> {
        let mut words: Vec<String> = self.0.iter().map(|word| word.replace("%s", address)).collect();
        if !self.0.iter().any(|word| word.contains("%s")) {
            words.push(address.to_owned());
        }
        words
    }

    /// Opens an address. Whether it has opened, nobody can tell: the person sees it.
    pub(super) fn open(&self, address: &str) {
        let words = self.words(address);
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // It goes on when this program has ended, and is told nothing of what this one knows.
        command.env_remove("GITPOD_TOKEN");
        if let Ok(mut child) = command.spawn() {
            tokio::spawn(async move { child.wait().await });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(variables: &[(&str, &str)], is_macos: bool, there: &[&str]) -> Option<Vec<String>> {
        let variable =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        choose(variable, is_macos, |program| there.contains(&program)).map(|browser| browser.words("http://a/?b=c&d"))
    }

    #[test]
    fn the_browser_is_the_persons_choice_or_the_desktops() {
        let words = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        let xdg = ["xdg-open"];
        assert_eq!(chosen(&[("DISPLAY", ":0")], false, &xdg), words(&["xdg-open", "http://a/?b=c&d"]));
        assert_eq!(chosen(&[("WAYLAND_DISPLAY", "w")], false, &xdg), words(&["xdg-open", "http://a/?b=c&d"]));
        assert_eq!(chosen(&[], false, &xdg), None, "no screen");
        assert_eq!(chosen(&[("DISPLAY", ":0")], false, &[]), None);
        assert_eq!(chosen(&[], true, &["open"]), words(&["open", "http://a/?b=c&d"]));
        let list = [("BROWSER", "missing:firefox --new-window '%s' -x:w3m")];
        let firefox = ["firefox", "--new-window", "http://a/?b=c&d", "-x"];
        assert_eq!(chosen(&list, false, &["firefox", "w3m"]), words(&firefox), "one word, whatever is in the address");
        assert_eq!(chosen(&list, false, &["w3m"]), words(&["w3m", "http://a/?b=c&d"]));
        assert_eq!(
            chosen(&[("BROWSER", "missing"), ("DISPLAY", ":0")], false, &xdg),
            None,
            "who names one wants no other"
        );
    }
}
