//! Hogs of every kind: each is held by the limits of its class, while other environments and the API go on.

use std::time::Duration;

use latchkey::pb::gitpod::v1::{DeletePersonalAccessTokenRequest, EnvironmentPhase, ListEnvironmentsRequest};
use tonic::Code;

use crate::support::{
    Api, LocalServer,
    environments::{from_nothing, of_class, status},
    eventually, left_out,
};

/// How long anybody waits for an answer while a hog hogs, at most: what is promised is that the others are not held up, and this
/// is many times what an answer takes.
const ANSWER: Duration = Duration::from_secs(5);

async fn soon<T>(what: &str, answer: impl Future<Output = T>) -> T {
    tokio::time::timeout(ANSWER, answer).await.unwrap_or_else(|_| panic!("{what} took longer than {ANSWER:?}"))
}

/// A server with an environment of somebody who does nothing special.
struct Neighbourhood {
    local: LocalServer,
    api: Api,
    environment: String,
    tiny: String,
}

impl Neighbourhood {
    async fn around(local: LocalServer) -> Self {
        let tiny = local.database.tiny_class().await;
        let api = local.api_of_user("neighbour@example.com").await;
        let environment = api.create_running(from_nothing()).await;
        Self { local, api, environment, tiny }
    }

    /// Starts an environment that hogs in the background.
    async fn hog(&self, api: &Api, command: &str) -> String {
        let id = api.create_running(of_class(from_nothing(), &self.tiny)).await;
        api.said(&id, &format!("({command}) >/dev/null 2>&1 &")).await;
        id
    }

    /// Does what people do, several times, and is answered soon.
    async fn goes_on(&self) {
        let mut api = self.api.clone();
        for round in 0..5 {
            let made = soon("a new token", api.create_token(&format!("round {round}"))).await;
            let id = made.personal_access_token.unwrap().id;
            let mut holder = soon("a connection", self.local.api(&made.token)).await;
            let me = soon("a token's first use", holder.whoami()).await.unwrap();
            assert_eq!(me, soon("a token's use", api.whoami()).await.unwrap());
            let request = DeletePersonalAccessTokenRequest { personal_access_token_id: id };
            soon("a revocation", api.tokens.delete_personal_access_token(request)).await.unwrap();
            let refused = soon("a refusal", holder.whoami()).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated);
            let list = api.environments.list_environments(ListEnvironmentsRequest::default());
            assert_eq!(soon("a list", list).await.unwrap().into_inner().environments.len(), 1);
            let command =
                format!("seq 1000 | sort -rn | head -n 1 > file; echo {round} >> file; cat file; (echo child)");
            let said = soon("a command", self.api.said(&self.environment, &command)).await;
            assert_eq!(said, format!("1000\n{round}\nchild"));
        }
    }

    /// Waits until a control group's file shows that a hog was held; where there are no such groups, nobody shows it.
    async fn held(&self, hog: &str, file: &str, shows: impl Fn(&str) -> bool) {
        if self.local.control_group(hog, file).is_none() {
            left_out(&format!("there is no control group with {file}"));
            return;
        }
        eventually(file, async || self.local.control_group(hog, file).filter(|text| shows(text)).map(drop)).await;
    }

    /// Stops a hog in the middle of it, and removes it.
    async fn ends(&self, api: &Api, hog: &str) {
        api.stop(hog).await.unwrap();
        let stopped = api.until(hog, EnvironmentPhase::Stopped).await;
        assert_eq!(status(&stopped).failure_message, Vec::<String>::new());
        self.local.is_at_rest(hog);
        api.delete_whole(hog).await;
        self.local.is_gone(hog).await;
    }
}

/// The number behind a word in a text of words and numbers.
fn number(text: &str, word: &str) -> u64 {
    let mut words = text.split_whitespace().skip_while(|found| *found != word);
    words.nth(1).and_then(|number| number.parse().ok()).unwrap_or_default()
}

#[tokio::test]
async fn a_hog_of_processor_time_is_throttled() {
    let here = Neighbourhood::around(LocalServer::start().await).await;
    let api = here.local.api_of_user("hog@example.com").await;
    let hog = here.hog(&api, "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait").await;
    here.held(&hog, "cpu.stat", |text| number(text, "nr_throttled") > 5).await;
    here.goes_on().await;
    // It gets its share, and its owner gets in.
    assert_eq!(api.said(&hog, "echo here").await, "here");
    here.ends(&api, &hog).await;
}

#[tokio::test]
async fn a_hog_of_memory_is_killed_and_nobody_else() {
    let here = Neighbourhood::around(LocalServer::start().await).await;
    let api = here.local.api_of_user("hog@example.com").await;
    let fill = "perl -e 'push @all, \"x\" x 1000000 while 1'";
    let hog = here.hog(&api, &format!("while :; do {fill}; done")).await;
    let versions = ["memory.events", "memory.oom_control"];
    let file = versions.into_iter().find(|file| here.local.control_group(&hog, file).is_some()).unwrap_or(versions[0]);
    here.held(&hog, file, |text| number(text, "oom_kill") > 1).await;
    here.goes_on().await;
    for peak in ["memory.peak", "memory.max_usage_in_bytes"] {
        if let Some(bytes) = here.local.control_group(&hog, peak) {
            assert!(bytes.trim().parse::<u64>().unwrap() <= 256 << 20, "{peak}: {bytes}");
        }
    }
    // What is killed is who fills, not who looks after the environment.
    let ran = api.run(&hog, fill).await;
    assert_ne!(ran.exit_code, 0, "{ran:?}");
    assert_eq!(api.said(&hog, "echo here").await, "here");
    here.ends(&api, &hog).await;
}

#[tokio::test]
async fn a_hog_of_processes_is_held() {
    let here = Neighbourhood::around(LocalServer::start().await).await;
    let api = here.local.api_of_user("hog@example.com").await;
    let hog = here.hog(&api, "bomb() { bomb | bomb & }; while :; do bomb; done").await;
    here.held(&hog, "pids.events", |text| number(text, "max") > 10).await;
    here.goes_on().await;
    if let Some(processes) = here.local.control_group(&hog, "pids.current") {
        assert!(processes.trim().parse::<u64>().unwrap() <= 48, "{processes}");
    }
    here.ends(&api, &hog).await;
}

#[tokio::test]
async fn a_hog_of_descriptors_is_held() {
    let here = Neighbourhood::around(LocalServer::start().await).await;
    let api = here.local.api_of_user("hog@example.com").await;
    let open = |then: &str| {
        format!(
            "ulimit -n $(ulimit -H -n); \
             perl -e 'while (open(my $file, q(<), q(/dev/null))) {{ push @all, $file }} print scalar(@all), qq( $!); {then}'"
        )
    };
    let hog = here.hog(&api, &format!("for i in $(seq 20); do ({}) & done; wait", open("sleep 1000"))).await;
    let said = api.said(&hog, &open("")).await;
    let (count, error) = said.split_once(' ').unwrap();
    assert!((1000..4096).contains(&count.parse::<u64>().unwrap()) && error == "Too many open files", "{said}");
    here.goes_on().await;
    here.ends(&api, &hog).await;
}

#[tokio::test]
async fn a_hog_of_the_disk_is_stopped() {
    let here = Neighbourhood::around(LocalServer::start().await).await;
    let api = here.local.api_of_user("hog@example.com").await;
    let hog = here.hog(&api, "i=0; while :; do i=$((i+1)); head -c 1M /dev/zero > $i; sleep 0.1; done").await;
    let failure = tokio::join!(api.until_failed(&hog), here.goes_on()).0;
    assert!(failure.contains("its class allows 16 MiB"), "{failure}");
    here.local.is_at_rest(&hog);
    api.delete_whole(&hog).await;
    here.local.is_gone(&hog).await;
}

#[tokio::test]
async fn without_control_groups_the_limits_are_weaker_and_that_is_said() {
    if !rustix::process::geteuid().is_root() {
        left_out("hiding the control groups takes root");
        return;
    }
    let hide = "mount -t tmpfs -o ro none /sys/fs/cgroup && exec \"$0\" \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", hide].map(str::to_owned).to_vec();
    let here = Neighbourhood::around(LocalServer::start_in(words).await).await;
    let weaker =
        "the limits of the class are weaker here, since the server can write to no control group (cpu, memory)";
    let log = here.local.server().log();
    assert!(log.contains(weaker), "the operator is told");
    let counted = std::fs::read_to_string("/proc/sys/fs/inotify/max_user_instances").unwrap();
    let is_low = counted.trim().parse::<u64>().unwrap() < 8192;
    assert_eq!(log.contains("raise fs.inotify.max_user_instances"), is_low, "{counted}");
    let api = here.local.api_of_user("hog@example.com").await;

    let hog = here.hog(&api, "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait").await;
    let warning = status(&api.get(&hog).await.unwrap()).warning_message.join("\n");
    assert!(warning.contains(weaker) && warning.contains("for each process"), "{warning}");
    assert!(here.local.control_group(&hog, "cgroup.procs").is_none());
    here.goes_on().await;
    // Whatever runs in it comes after everybody else, by time and when memory is short.
    assert_eq!(api.said(&hog, "nice; cat /proc/self/oom_score_adj").await, "10\n500");
    assert_ne!(api.run(&hog, "perl -e 'my $all = qq(x) x 300e6; print length($all)'").await.exit_code, 0);
    assert_eq!(api.said(&hog, "perl -e 'my $all = qq(x) x 30e6; print length($all)'").await, "30000000");
    here.ends(&api, &hog).await;

    let hog = here.hog(&api, "bomb() { bomb | bomb & }; while :; do bomb; done").await;
    here.goes_on().await;
    here.ends(&api, &hog).await;
    let many = api.create_running(of_class(from_nothing(), &here.tiny)).await;
    let fork = "perl -e 'while (defined(my $child = fork)) { if (!$child) { sleep 100; exit } $count++ } print $count'";
    let count = api.said(&many, fork).await;
    assert!((20..48).contains(&count.parse::<u32>().unwrap()), "{count}");
    here.ends(&api, &many).await;
}
