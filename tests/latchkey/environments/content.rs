//! What environments are made from.

use latchkey::pb::gitpod::v1::{
    EnvironmentPhase, GitInitializer, environment_status::ContentPhase as Content, git_initializer::CloneTargetMode,
};

use crate::support::{
    LocalServer,
    environments::{from_git, from_nothing, from_url, of_class, status, stopped},
    git_server::GitServer,
};

#[tokio::test]
async fn a_context_url_becomes_a_running_environment_with_the_repositorys_files() {
    let local = LocalServer::start().await;
    let commit = local.git.add_repository("owner/name", &[("README.md", "hello\n")]);
    let api = local.api_of_user("dev@example.com").await;

    let created = api.create(from_url("https://github.com/owner/name")).await.unwrap();
    let metadata = created.metadata.clone().unwrap();
    let me = api.clone().whoami().await.unwrap();
    assert_eq!(metadata.creator.unwrap().id, me);
    assert_eq!(metadata.name, "name");
    assert_eq!(metadata.original_context_url, "https://github.com/owner/name");
    assert!(metadata.created_at.is_some() && metadata.last_started_at.is_none());
    assert_eq!(status(&created).phase(), EnvironmentPhase::Creating);
    assert_eq!(status(&created).environment_urls.as_ref().unwrap().ops, "");
    assert_eq!(created.spec.as_ref().unwrap().desired_phase(), EnvironmentPhase::Running);
    let small = class_named(&local, "Small").await;
    assert_eq!(created.spec.as_ref().unwrap().machine.as_ref().unwrap().class, small, "no class means the default one");

    let running = api.until(&created.id, EnvironmentPhase::Running).await;
    let status = status(&running);
    let content = status.content.clone().unwrap();
    let git = content.git.unwrap();
    assert_eq!(content.phase, i32::from(Content::Ready));
    assert_eq!((git.clone_url.as_str(), git.branch.as_str()), ("https://github.com/owner/name", "main"));
    assert_eq!(git.latest_commit, commit);
    assert_eq!(content.content_location_in_machine, "/workspace/name");
    let ops = &status.environment_urls.as_ref().unwrap().ops;
    assert_eq!(*ops, format!("{}/environments/{}/ops", local.server().url(), created.id));
    assert!(running.metadata.unwrap().last_started_at.is_some());

    let said = api.said(&created.id, "pwd; cat README.md; git rev-parse HEAD; git config remote.origin.url").await;
    assert_eq!(said, format!("/workspace/name\nhello\n{commit}\nhttps://github.com/owner/name"));
    api.delete_whole(&created.id).await;
}

#[tokio::test]
async fn a_branch_in_the_url_is_checked_out_and_a_name_and_a_class_are_taken() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("which", "main\n")]);
    let commit = local.git.add_commit("owner/name", "feature/with/slashes", "origin/main", &[("which", "feature\n")]);
    let api = local.api_of_user("dev@example.com").await;
    let regular = class_named(&local, "Regular").await;

    let url = "https://github.com/owner/name/tree/feature/with/slashes";
    let mut request = of_class(from_url(url), &regular);
    request.name = Some("Mine".to_owned());
    let id = api.create_running(request).await;
    let running = api.get(&id).await.unwrap();
    assert_eq!(running.metadata.as_ref().unwrap().name, "Mine");
    assert_eq!(running.metadata.as_ref().unwrap().original_context_url, url);
    assert_eq!(running.spec.as_ref().unwrap().machine.as_ref().unwrap().class, regular);
    let git = status(&running).content.clone().unwrap().git.unwrap();
    assert_eq!((git.branch.as_str(), git.latest_commit.as_str()), ("feature/with/slashes", commit.as_str()));
    let said = api.said(&id, "cat which; git branch --show-current; git rev-parse --abbrev-ref @{upstream}").await;
    assert_eq!(said, "feature\nfeature/with/slashes\norigin/feature/with/slashes");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn every_target_of_a_git_initializer_is_checked_out() {
    let local = LocalServer::start().await;
    let first = local.git.add_repository("owner/name", &[("which", "first\n")]);
    let head = local.git.add_commit("owner/name", "main", "origin/main", &[("which", "head\n")]);
    let other = local.git.add_commit("owner/name", "other", "origin/main", &[("which", "other\n")]);
    local.git.add_tag("owner/name", "v1", &first);
    let api = local.api_of_user("dev@example.com").await;

    // What is asked for; the file's text, the commit, and the branch that is then checked out.
    let rows = [
        (CloneTargetMode::Unspecified, "", "head", &head, "main"),
        (CloneTargetMode::RemoteHead, "", "head", &head, "main"),
        // The contract: not looked at.
        (CloneTargetMode::RemoteHead, "other", "head", &head, "main"),
        (CloneTargetMode::RemoteBranch, "other", "other", &other, "other"),
        (CloneTargetMode::LocalBranch, "new/one", "head", &head, "new/one"),
        (CloneTargetMode::RemoteCommit, first.as_str(), "first", &first, ""),
        (CloneTargetMode::RemoteTag, "v1", "first", &first, ""),
    ];
    for (mode, target, text, commit, branch) in rows {
        let git = GitInitializer {
            remote_uri: "https://github.com/owner/name".to_owned(),
            target_mode: mode.into(),
            clone_target: target.to_owned(),
            ..Default::default()
        };
        let id = api.create_running(from_git(git)).await;
        let running = api.get(&id).await.unwrap();
        let content = status(&running).content.clone().unwrap();
        let git = content.git.unwrap();
        assert_eq!((git.branch.as_str(), &git.latest_commit), (branch, commit), "{mode:?} {target}");
        assert_eq!(running.metadata.unwrap().original_context_url, "");
        let said = api.said(&id, "cat which; git rev-parse HEAD; git branch --show-current").await;
        assert_eq!(said, format!("{text}\n{commit}\n{branch}").trim_end(), "{mode:?} {target}");
        api.delete_whole(&id).await;
    }
}

#[tokio::test]
async fn a_checkout_has_its_place_and_its_upstream() {
    let local = LocalServer::start().await;
    local.git.add_repository("fork/name", &[("a", "b\n")]);
    let api = local.api_of_user("dev@example.com").await;
    let git = GitInitializer {
        remote_uri: "https://github.com/fork/name".to_owned(),
        upstream_remote_uri: "https://github.com/owner/name".to_owned(),
        checkout_location: "src/project".to_owned(),
        ..Default::default()
    };
    let id = api.create_running(from_git(git.clone())).await;
    let running = api.get(&id).await.unwrap();
    assert_eq!(status(&running).content.clone().unwrap().content_location_in_machine, "/workspace/src/project");
    assert_eq!(
        running.spec.unwrap().content,
        from_git(GitInitializer { target_mode: CloneTargetMode::RemoteHead.into(), ..git }).spec.unwrap().content
    );
    let said = api.said(&id, "pwd; ls; git config remote.upstream.url").await;
    assert_eq!(said, "/workspace/src/project\na\nhttps://github.com/owner/name");
    api.delete_whole(&id).await;
}

#[tokio::test]
async fn nothing_becomes_an_empty_workspace_and_what_is_to_be_stopped_does_not_start() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    let api = local.api_of_user("dev@example.com").await;

    let id = api.create_running(from_nothing()).await;
    assert_eq!(api.said(&id, "pwd; ls -A; echo kept > file").await, "/workspace");
    let location = status(&api.get(&id).await.unwrap()).content.clone().unwrap().content_location_in_machine;
    assert_eq!(location, "/workspace");

    let waiting = api.create(stopped(from_url("https://github.com/owner/name"))).await.unwrap();
    assert_eq!(status(&waiting).phase(), EnvironmentPhase::Stopped);
    assert_eq!(status(&waiting).content.as_ref().unwrap().phase(), Content::Creating);
    // Whoever comes after it is served, and it is not.
    let next = api.create_running(from_nothing()).await;
    assert_eq!(status(&api.get(&waiting.id).await.unwrap()).phase(), EnvironmentPhase::Stopped);
    assert_eq!(local.git.requests(), Vec::<String>::new());
    assert!(!local.directory_of(&waiting.id).exists());
    api.start(&waiting.id).await.unwrap();
    api.until(&waiting.id, EnvironmentPhase::Running).await;
    assert_eq!(api.said(&waiting.id, "ls").await, "a");
    for id in [id, waiting.id, next] {
        api.delete_whole(&id).await;
    }
}

#[tokio::test]
async fn the_operators_git_configuration_is_the_flags_or_else_the_one_of_gits_variable() {
    let mut local = LocalServer::start().await;
    let ours = local.git_config().to_str().unwrap().to_owned();
    local.git.add_repository("owner/name", &[("which", "ours\n")]);
    let other = GitServer::start().await;
    other.add_repository("owner/name", &[("which", "the other\n")]);
    let theirs = local.data_dir().join("other.gitconfig");
    std::fs::write(&theirs, other.rewriting("https://github.com/")).unwrap();
    let theirs = theirs.to_str().unwrap();
    let token = local.user("dev@example.com").await;

    for (flag, variable, expected) in [
        (None, Some(theirs), "the other"),
        (Some(""), Some(theirs), "the other"),
        (Some(ours.as_str()), Some(theirs), "ours"),
        (Some(&ours), Some(""), "ours"),
        (Some(&ours), None, "ours"),
    ] {
        local.stop().await;
        let set: Vec<(&str, &str)> = [("LATCHKEY_GIT_CONFIG", flag), ("GIT_CONFIG_GLOBAL", variable)]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .collect();
        local.set_variables(&set);
        local.start_again().await;
        let api = local.api(&token).await;
        let id = api.create_running(from_url("https://github.com/owner/name")).await;
        assert_eq!(api.said(&id, "cat which").await, expected, "{set:?}");
        api.delete_whole(&id).await;
    }

    // Empty variables name no file at all, and the server starts.
    local.stop().await;
    local.set_variables(&[("LATCHKEY_GIT_CONFIG", ""), ("GIT_CONFIG_GLOBAL", "")]);
    local.start_again().await;
    let api = local.api(&token).await;
    let id = api.create_running(from_nothing()).await;
    api.delete_whole(&id).await;
}

async fn class_named(local: &LocalServer, name: &str) -> String {
    let rows = local.database.owner().await;
    let query = "SELECT id::text FROM environment_classes WHERE display_name = $1";
    rows.query_one(query, &[&name]).await.unwrap().get(0)
}
