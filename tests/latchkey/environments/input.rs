//! What is refused before anything is made, and what fails afterwards and says why.

use latchkey::pb::gitpod::v1::{
    CreateEnvironmentRequest, EnvironmentPhase, GitInitializer, ListEnvironmentsRequest,
    environment_status::ContentPhase as Content, git_initializer::CloneTargetMode,
};
use tonic::Code;

use crate::support::{
    LocalServer, details,
    environments::{from_git, from_nothing, from_url, of_class, status},
    git_server::Manners,
};

const URL: &str = "spec.content.initializer.specs.context_url.url";
const REMOTE: &str = "spec.content.initializer.specs.git.remote_uri";
const UPSTREAM: &str = "spec.content.initializer.specs.git.upstream_remote_uri";
const TARGET: &str = "spec.content.initializer.specs.git.clone_target";
const LOCATION: &str = "spec.content.initializer.specs.git.checkout_location";
const CLASS: &str = "spec.machine.class";

#[tokio::test]
async fn what_makes_no_sense_is_refused_with_the_name_of_its_field() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let owner = local.database.owner().await;
    let disabled: String = owner
        .query_one(
            "UPDATE environment_classes SET enabled = false WHERE display_name = 'Large' RETURNING id::text",
            &[],
        )
        .await
        .unwrap()
        .get(0);

    let mut rows: Vec<(CreateEnvironmentRequest, &str, &str)> = Vec::new();
    for (url, says) in [
        ("", "not a URL"),
        ("github.com/owner/name", "not a URL"),
        ("not a url", "not a URL"),
        ("https://", "not a URL"),
        ("--upload-pack=touch /tmp/x", "not a URL"),
        ("--upload-pack=touch", "not a URL"),
        ("-u", "not a URL"),
        ("https://github.com/a\nb", "not a URL"),
        ("file:///etc/passwd", "not file://"),
        ("http://github.com/owner/name", "not http://"),
        ("ssh://git@github.com/owner/name", "not ssh://"),
        ("git://github.com/owner/name", "not git://"),
        ("ext::sh -c id", "not a URL"),
        ("https://me@github.com/owner/name", "user name or a password"),
        ("https://me:secret@github.com/owner/name", "user name or a password"),
        ("https://github.com", "name a repository"),
        ("https://github.com/owner/name?a=b", "query"),
        ("https://github.com/owner/name/tree/--upload-pack=x", "not a name that Git knows"),
    ] {
        rows.push((from_url(url), URL, says));
        if !url.contains("/tree/") {
            rows.push((from_git(GitInitializer { remote_uri: url.to_owned(), ..Default::default() }), REMOTE, says));
        }
        // An empty one is none.
        if !url.contains("/tree/") && !url.is_empty() {
            let git = GitInitializer {
                remote_uri: "https://github.com/owner/name".to_owned(),
                upstream_remote_uri: url.to_owned(),
                ..Default::default()
            };
            rows.push((from_git(git), UPSTREAM, says));
        }
    }
    let git = |mode: CloneTargetMode, target: &str, location: &str| {
        from_git(GitInitializer {
            remote_uri: "https://github.com/owner/name".to_owned(),
            target_mode: mode.into(),
            clone_target: target.to_owned(),
            checkout_location: location.to_owned(),
            ..Default::default()
        })
    };
    rows.push((git(CloneTargetMode::RemoteBranch, "--orphan", ""), TARGET, "not a name"));
    rows.push((git(CloneTargetMode::RemoteBranch, "", ""), TARGET, "not a name"));
    rows.push((git(CloneTargetMode::LocalBranch, "a..b", ""), TARGET, "not a name"));
    rows.push((git(CloneTargetMode::RemoteTag, "-d", ""), TARGET, "not a name"));
    rows.push((git(CloneTargetMode::RemoteCommit, "HEAD", ""), TARGET, "not a name"));
    rows.push((git(CloneTargetMode::Unspecified, "main", ""), TARGET, "must be empty"));
    for location in ["/etc", "..", "a/../../b", "-x"] {
        rows.push((git(CloneTargetMode::RemoteHead, "", location), LOCATION, "below the workspace"));
    }
    rows.push((of_class(from_nothing(), "01987654-3210-7abc-8def-0123456789ab"), CLASS, "no environment class"));
    rows.push((of_class(from_nothing(), &disabled), CLASS, "no environment class"));
    rows.push((of_class(from_nothing(), "Small"), CLASS, "UUID"));
    let mut long = from_nothing();
    long.name = Some("x".repeat(81));
    rows.push((long, "name", "80"));
    let mut control = from_nothing();
    control.name = Some("a\u{1b}b".to_owned());
    rows.push((control, "name", "control"));
    let mut deleted = from_nothing();
    deleted.spec.as_mut().unwrap().desired_phase = EnvironmentPhase::Deleted.into();
    rows.push((deleted, "spec.desired_phase", "ENVIRONMENT_PHASE_RUNNING"));

    for (request, field, says) in rows {
        let what = format!("{request:?}");
        let error = api.create(request).await.expect_err(&what);
        assert_eq!(error.code(), Code::InvalidArgument, "{what}: {error}");
        assert!(error.message().contains(says), "{what}: {}", error.message());
        assert!(!error.message().contains("secret"), "{what}: {}", error.message());
        let violations = details(&error).bad_request().unwrap().field_violations.clone();
        assert_eq!(violations.iter().map(|one| one.field.as_str()).collect::<Vec<_>>(), [field], "{what}");
    }
    let all = api.environments.clone().list_environments(ListEnvironmentsRequest::default()).await.unwrap();
    assert_eq!(all.into_inner().environments, []);
    let acts: i64 = owner
        .query_one("SELECT count(*) FROM audit_logs WHERE action = 'environment_create'", &[])
        .await
        .unwrap()
        .get(0);
    assert_eq!(acts, 0, "what was not made is no act");
}

#[tokio::test]
async fn what_cannot_be_cloned_ends_stopped_and_says_why() {
    let local = LocalServer::start().await;
    local.git.add_repository("owner/name", &[("a", "b\n")]);
    local.git.set_manners("owner/private", Manners::Private);
    local.git.set_manners("owner/page", Manners::WebPage);
    let api = local.api_of_user("dev@example.com").await;
    let target = |mode: CloneTargetMode, target: &str| {
        from_git(GitInitializer {
            remote_uri: "https://github.com/owner/name".to_owned(),
            target_mode: mode.into(),
            clone_target: target.to_owned(),
            ..Default::default()
        })
    };
    let nowhere = "0".repeat(40);
    for (request, says) in [
        (from_url("https://github.com/owner/missing"), "no repository at https://github.com/owner/missing"),
        (from_url("https://github.com/owner/private"), "https://github.com/owner/private asks for a user name"),
        (from_url("https://github.com/owner/page"), "https://github.com/owner/page is no Git repository"),
        (from_url("https://github.com/owner/name/tree/no/such"), "no branch \"no/such\""),
        (target(CloneTargetMode::RemoteTag, "v9"), "no tag \"v9\""),
        (target(CloneTargetMode::RemoteCommit, &nowhere), &*format!("no commit {nowhere}")),
    ] {
        let id = api.create(request).await.unwrap().id;
        let failure = api.until_failed(&id).await;
        assert!(failure.contains(says), "{says}: {failure}");
        assert!(!failure.contains("127.0.0.1"), "the operator's mirror is not what the person asked for: {failure}");
        let failed = api.get(&id).await.unwrap();
        assert_eq!(status(&failed).content.as_ref().unwrap().phase(), Content::Failed);
        assert_eq!(
            failed.spec.as_ref().unwrap().desired_phase(),
            EnvironmentPhase::Stopped,
            "it is not tried for ever"
        );
        api.delete_whole(&id).await;
        local.is_gone(&id).await;
    }
}

#[tokio::test]
async fn what_failed_can_be_started_again() {
    let local = LocalServer::start().await;
    let api = local.api_of_user("dev@example.com").await;
    let id = api.create(from_url("https://github.com/owner/late")).await.unwrap().id;
    api.until_failed(&id).await;
    // Again, and it fails again, by itself.
    api.start(&id).await.unwrap();
    api.until_failed(&id).await;
    local.git.add_repository("owner/late", &[("a", "b\n")]);
    api.start(&id).await.unwrap();
    let running = api.until(&id, EnvironmentPhase::Running).await;
    assert_eq!(status(&running).failure_message, Vec::<String>::new());
    assert_eq!(api.said(&id, "ls").await, "a");
    api.delete_whole(&id).await;
}
