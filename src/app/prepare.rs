//! What is done before anybody is served, with all the rights that the process was started with: the database is brought up
//! to date, the signing keys are read, and this machine is made ready for environments.

use std::sync::Arc;

use super::{
    AppError, Database,
    client_secrets::{self, ClientSecrets},
    database::ServingUrls,
    environments, signing_keys,
};
use crate::{
    config::Config,
    domain::{ids::OrganizationId, secret::Secret, token::SigningKeys},
    service::check_signing_keys,
    store::Store,
};

/// All that serving takes, and nothing that it does not: not the owner of the tables, not the file of signing keys.
pub(super) struct Prepared {
    /// How the serving role connects.
    pub(super) serving_urls: ServingUrls,
    /// The organization that everybody belongs to.
    pub(super) organization: OrganizationId,
    /// The text of the file of signing keys, and what it says.
    pub(super) signing_keys: (Secret, Arc<SigningKeys>),
    /// The secrets that we have at providers.
    pub(super) client_secrets: ClientSecrets,
    /// What environments run on, if they run here.
    pub(super) runner: Option<environments::Ready>,
}

/// Prepares everything, on a database that is there.
///
/// # Errors
/// [`AppError`]
pub(super) async fn prepare(config: &Config, database: &Database) -> Result<Prepared, AppError> {
    let client_secrets = client_secrets::load(&config.oidc_providers)?;
    crate::store::migrate(database.owner()).await?;
    let organization = database.first_organization().await?;
    let store = Store::new(database.serving().clone())?;
    // Before anybody counts on what is heard.
    store.self_test().await?;
    let text = signing_keys::load(&config.data, database.directory(), database.is_embedded(), &store).await?;
    let keys = Arc::new(signing_keys::parse(&text)?);
    // Before anything is made on this machine: a server with the wrong key does not start.
    check_signing_keys(&store, &keys).await?;
    let runner = environments::prepare(config, database, organization, &store).await?;
    Ok(Prepared {
        serving_urls: database.serving_urls().clone(),
        organization,
        signing_keys: (text, keys),
        client_secrets,
        runner,
    })
}
