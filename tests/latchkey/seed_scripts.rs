//! The scripts of the user guide, to the letter. From outside come `PATH`, the token, the class's ID, `GITPOD_HOST`, and the
//! server's rule that leads `https://github.com/` to a Git server of the test's own.

use std::fs;

use latchkey::pb::gitpod::v1::EnvironmentPhase;

use crate::support::{
    Api, Gitpod, LocalServer, Ran,
    environments::{from_nothing, from_url, status, stopped},
};

const GUIDE: &str = include_str!("../seed/scripts.md");

/// The code block of the guide with this number and in this language.
fn block(number: usize, language: &str) -> String {
    let opening = format!("```{language}\n");
    let block = GUIDE.split("```").skip(1).step_by(2).nth(number).unwrap();
    let block = format!("```{block}");
    block.strip_prefix(&opening).unwrap_or_else(|| panic!("no {language}: {block}")).to_owned()
}

/// A script with the one word changed that the guide tells its reader to change.
fn with_token(script: &str, placeholder: &str, token: &str) -> String {
    assert_eq!(script.matches(placeholder).count(), 1);
    script.replace(placeholder, token)
}

/// The entries of the lines after `key:` that are indented more than it: `env:` and `run: |`.
fn section<'a>(workflow: &'a str, key: &str) -> Vec<&'a str> {
    let indent = |line: &str| line.len() - line.trim_start().len();
    let mut lines = workflow.lines().skip_while(|line| line.trim() != key);
    let outer = indent(lines.next().unwrap());
    lines.take_while(|line| line.trim().is_empty() || indent(line) > outer).map(str::trim_start).collect()
}

#[tokio::test]
async fn the_step_of_a_continuous_integration_creates_an_environment() {
    let local = LocalServer::start().await;
    local.git.add_repository("your-repo", &[("README.md", "yours\n")]);
    let token = local.user("ci@example.com").await;
    let api = local.api(&token).await;
    let large = class(&local, "Large").await;
    let gitpod = Gitpod::new(&local.server().url());

    let workflow = block(0, "yaml");
    let variables = section(&workflow, "env:").into_iter().map(|line| {
        let (name, value) = line.split_once(": ").unwrap();
        (name, value.replace("${{ secrets.GITPOD_PAT }}", &token).replace("some-class-id", &large))
    });
    let variables: Vec<(&str, String)> = variables.collect();
    assert_eq!(variables, [("GITPOD_TOKEN", token.clone()), ("GITPOD_CLASS", large.clone())]);
    let script = section(&workflow, "run: |").join("\n");
    assert!(script.contains("gitpod login --token $GITPOD_TOKEN"), "{script}");
    fs::write(gitpod.home().join("step.sh"), script).unwrap();

    // As a runner of GitHub's does when nothing is said of a shell.
    let mut step = gitpod.command("bash");
    step.args(["-e", "step.sh"]).envs(variables);
    let ran = Ran::of(step).await.ended(0);
    assert!(!ran.stdout.contains(&token) && !ran.stderr.contains(&token), "{ran:#?}");
    let id = ran.stdout.trim().to_owned();

    // It waited until the environment ran.
    let environment = api.get(&id).await.unwrap();
    assert_eq!(status(&environment).phase(), EnvironmentPhase::Running);
    assert_eq!(environment.spec.as_ref().unwrap().machine.as_ref().unwrap().class, large);
    assert_eq!(api.said(&id, "pwd; cat README.md").await, "/workspace/your-repo\nyours");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn the_script_that_stops_environments_stops_all_that_run() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    local.add_stalling_repository("owner/slow");
    let token = local.server().admin_user(&local.database, "admin@example.com").await;
    let api = local.api(&token).await;
    let other = local.api_of_user("other@example.com").await;
    let others = other.create_running(from_nothing()).await;
    let at_rest = api.create(stopped(from_nothing())).await.unwrap().id;
    let begun = api.create(from_url("https://github.com/owner/slow")).await.unwrap().id;
    let mut run = Vec::new();
    for _ in 0..2 {
        run.push(api.create_running(from_url("https://github.com/owner/name")).await);
    }
    // More than a page of them.
    for _ in 0..30 {
        api.create(stopped(from_nothing())).await.unwrap();
    }

    let gitpod = Gitpod::new(&local.server().url());
    let script = with_token(&block(1, "python"), "your_personal_access_token", &token);
    fs::write(gitpod.home().join("stop_all.py"), script).unwrap();
    let mut python = gitpod.command("python3");
    python.arg("stop_all.py");
    let ran = Ran::of(python).await.ended(0);
    let mut stopping: Vec<String> = run.iter().rev().map(|id| format!("Stopping environment {id}")).collect();
    stopping.push("All running environments have been stopped.".to_owned());
    assert_eq!(ran.stdout.lines().collect::<Vec<_>>(), stopping);

    for id in run.iter().chain([&at_rest]) {
        assert_eq!(phase(&api, id).await, EnvironmentPhase::Stopped);
    }
    assert_eq!(phase(&api, &begun).await, EnvironmentPhase::Creating);
    assert_eq!(phase(&other, &others).await, EnvironmentPhase::Running, "an admin's script stops the admin's own");
    for id in run.into_iter().chain([begun]) {
        api.delete_whole(&id).await;
    }
    other.delete_whole(&others).await;
}

#[tokio::test]
async fn the_tool_for_code_reviews_gets_an_environment_and_its_url() {
    let local = LocalServer::start().await;
    local.add_stalling_repository("owner/name");
    let token = local.user("reviews@example.com").await;
    let api = local.api(&token).await;
    let gitpod = Gitpod::new(&local.server().url());

    let script = with_token(&block(2, "python"), "your_gitpod_pat", &token);
    fs::write(gitpod.home().join("review_environments.py"), script).unwrap();
    fs::write(
        gitpod.home().join("code_review_tool.py"),
        "class CodeReviewClient:\n    def __init__(self, api_key):\n        assert api_key == 'code_review_api_key'\n\n    \
         def add_comment(self, review_id, text):\n        print(f'{review_id}|{text}')\n",
    )
    .unwrap();
    fs::write(
        gitpod.home().join("hook.py"),
        "import types\nimport review_environments\n\nreview = types.SimpleNamespace(id=17, \
         repo_url='https://github.com/owner/name')\nreview_environments.on_new_review(review)\n",
    )
    .unwrap();
    let mut python = gitpod.command("python3");
    python.arg("hook.py");
    // The repository does not answer: with `--dont-wait` that is nobody's trouble.
    let ran = Ran::of(python).await.ended(0);
    local.stalls("owner/name").await;

    let listed = gitpod.json(&["environment", "list", "-o", "json"]).await;
    let [environment] = listed.as_array().unwrap().as_slice() else { panic!("{listed}") };
    let id = environment["id"].as_str().unwrap();
    let url = format!("{}/details/{id}", local.server().url());
    assert_eq!(ran.stdout, format!("17|Gitpod environment: {url}\n"));
    assert_eq!(environment["url"], url);
    assert_eq!(environment["metadata"]["originalContextUrl"], "https://github.com/owner/name");
    assert_eq!(environment["spec"]["machine"]["class"], class(&local, "Small").await);
    api.delete_whole(id).await;
}

async fn phase(api: &Api, id: &str) -> EnvironmentPhase {
    status(&api.get(id).await.unwrap()).phase()
}

async fn class(local: &LocalServer, name: &str) -> String {
    let query = "SELECT id::text FROM environment_classes WHERE display_name = $1";
    local.database.owner().await.query_one(query, &[&name]).await.unwrap().get(0)
}
