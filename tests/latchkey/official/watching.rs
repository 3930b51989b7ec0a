//! Events as each client reads them, until its token ends.

use std::path::Path;

use latchkey::pb::gitpod::v1::DeletePersonalAccessTokenRequest;

use super::script::{
    Client::{self, Json, Protobuf, TypeScript},
    run,
};
use crate::support::{TestDatabase, TestServer, eventually, keys::token_id};

async fn there(file: &Path) {
    eventually(&format!("{} is there", file.display()), async || file.exists().then_some(())).await;
}

async fn events_come_until_the_token_ends(client: Client) {
    let database = TestDatabase::create().await;
    let server = TestServer::start(&database).await;
    let token = server.user(&database, "dev@example.com").await;
    let mut api = server.api(&token).await;
    let watching = api.create_token("watches").await.token;
    let directory = tempfile::tempdir().unwrap();
    let files = ["watching", "created", "deleted"].map(|name| directory.path().join(name));
    let happening = async {
        there(&files[0]).await;
        database.environment_of(&token_id(&token)).await;
        there(&files[1]).await;
        database.owner().await.batch_execute("DELETE FROM environments").await.unwrap();
        there(&files[2]).await;
        let request = DeletePersonalAccessTokenRequest { personal_access_token_id: token_id(&watching) };
        api.tokens.delete_personal_access_token(request).await.unwrap();
    };
    let url = server.url();
    let arguments: Vec<&str> = files.iter().map(|file| file.to_str().unwrap()).collect();
    tokio::join!(run(client, "events_come_as_they_happen", &url, &watching, &arguments), happening);
}

#[tokio::test]
async fn events_come_line_by_line_until_the_token_ends() {
    for client in [Json, TypeScript] {
        events_come_until_the_token_ends(client).await;
    }
}

#[tokio::test]
async fn events_come_message_by_message_until_the_client_is_told_that_the_token_has_ended() {
    events_come_until_the_token_ends(Protobuf).await;
}
