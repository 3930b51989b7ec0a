//! The secret of a token is nowhere but with its holder: whatever is done, and however much the server tells.

mod asking;
mod messages;
mod oauth;
mod places;
mod refusals;
mod run;
mod search;

use run::Run;

#[tokio::test]
async fn after_a_full_run_secrets_are_nowhere() {
    let mut run = Run::start().await;
    run.makes_tokens().await;
    let environment = run.uses_an_environment().await;
    run.shows_lists_and_revokes().await;
    run.asks_by_oauth("the gateway").await;
    run.asks_about_others("a service that asks").await;
    run.is_refused(&environment).await;
    run.has_tokens_in_wrong_places().await;
    run.fails().await;
    // While there is something at work, and things are kept for it.
    run.searches().await;
    run.changes_keys().await;
    run.asks_by_oauth("the next gateway").await;
    run.asks_about_others("another service that asks").await;
    run.ends(&environment).await;
    run.searches().await;
    assert!(run.found().is_empty(), "secrets got out:\n{}", run.found().join("\n"));
}
