//! Which PostgreSQL is used: one of our own, or the operator's.

use std::{io, os::fd::OwnedFd, time::Duration};

use super::{
    AppError,
    environments::{SERVER_ACCOUNT, account},
};
use crate::{
    config::DataArgs,
    domain::{
        audit::{Action, AuditActor, AuditEvent, Subject, SubjectType},
        ids::{OrganizationId, PrincipalId},
        principal::{Origin, Role},
        secret::Secret,
    },
    embedded::{Cluster, ClusterConfig, DataDirectory, DataDirectoryLock, Role as DatabaseRole},
    store::{NewUser, Store, StoreConfig, build_indexes},
};

/// The first user of the embedded default.
pub const FIRST_USER: &str = "admin@localhost";

/// How long a server waits for a command on the same data directory to finish.
const PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked whether the embedded PostgreSQL still runs.
const LOOK: Duration = Duration::from_secs(2);
/// How long after a try to build indexes that came to nothing there is another one.
const AGAIN: Duration = Duration::from_secs(600);

/// How the serving role connects.
#[derive(Clone)]
pub struct ServingUrls {
    /// For whatever is asked.
    pub database: Secret,
    /// For whatever is listened for, if the other one leads through a pooler.
    pub direct: Option<Secret>,
}

impl ServingUrls {
    /// What a store is made with.
    ///
    /// # Errors
    /// [`AppError`]
    pub fn config(&self) -> Result<StoreConfig, AppError> {
        let config = StoreConfig::parse(self.database.expose())?;
        let Some(direct) = &self.direct else { return Ok(config) };
        config.with_direct(direct.expose()).map_err(AppError::DirectDatabaseUrl)
    }
}

/// The PostgreSQL of a server, for as long as it serves.
pub struct Database {
    owner: StoreConfig,
    serving: StoreConfig,
    serving_urls: ServingUrls,
    directory: Option<DataDirectory>,
    embedded: Option<(Cluster, DataDirectoryLock)>,
}

impl Database {
    /// Starts the embedded PostgreSQL, or adopts it; or takes the operator's.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn open(data: &DataArgs) -> Result<Self, AppError> {
        if let (Some(serving), Some(owner)) = (&data.database_url, data.owner_url()) {
            let direct = data.database_direct_url.clone().map(Secret::new);
            let serving_urls = ServingUrls { database: Secret::new(serving.clone()), direct };
            let serving = serving_urls.config()?;
            let owner = StoreConfig::parse(owner)?;
            let directory = data.data_dir.as_ref().map(DataDirectory::open).transpose()?;
            return Ok(Self { owner, serving, serving_urls, directory, embedded: None });
        }
        let directory = data_directory(data)?;
        let lock = DataDirectoryLock::for_server(&directory, PATIENCE).await?;
        // The server, once it has given up the rights of root, connects as an account of its own.
        let accounts = account(SERVER_ACCOUNT, "the server")?.map(|_| SERVER_ACCOUNT.to_owned()).into_iter().collect();
        let cluster = Cluster::open(&directory, ClusterConfig { accounts, ..ClusterConfig::default() })?;
        cluster.ensure_running(&lock).await?;
        let serving_urls =
            ServingUrls { database: Secret::new(cluster.connection(DatabaseRole::Serving)), direct: None };
        Ok(Self {
            owner: StoreConfig::parse(&cluster.connection(DatabaseRole::Owner))?,
            serving: serving_urls.config()?,
            serving_urls,
            directory: Some(directory),
            embedded: Some((cluster, lock)),
        })
    }

    /// As the owner of the tables.
    #[must_use]
    pub const fn owner(&self) -> &StoreConfig {
        &self.owner
    }

    /// As the serving role.
    #[must_use]
    pub const fn serving(&self) -> &StoreConfig {
        &self.serving
    }

    /// How the serving role connects.
    #[must_use]
    pub const fn serving_urls(&self) -> &ServingUrls {
        &self.serving_urls
    }

    /// What keeps other servers out as long as anybody holds it, held once more.
    ///
    /// # Errors
    /// What the operating system says.
    pub fn share_lock(&self) -> io::Result<Option<OwnedFd>> {
        self.embedded.as_ref().map(|(_, lock)| lock.share()).transpose()
    }

    /// Where files are kept, if there is such a place.
    #[must_use]
    pub const fn directory(&self) -> Option<&DataDirectory> {
        self.directory.as_ref()
    }

    /// Whether it is of our own.
    #[must_use]
    pub const fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    /// The organization that everybody belongs to. In the embedded default it is made at the first start, with one admin.
    ///
    /// # Errors
    /// [`AppError`]
    pub async fn first_organization(&self) -> Result<OrganizationId, AppError> {
        let owner = Store::owning(self.owner.clone())?;
        let organization = owner.organization_ensure("Latchkey").await?;
        if self.is_embedded() {
            let id = PrincipalId::generate();
            let user = NewUser {
                id,
                organization_id: organization,
                email: FIRST_USER.to_owned(),
                name: "Admin".to_owned(),
                role: Role::Admin,
            };
            let event = AuditEvent {
                actor: AuditActor::Operator(Origin::of_operator()),
                organization_id: organization,
                action: Action::UserCreate,
                rpc: "latchkey serve".into(),
                subject: Subject { subject_type: SubjectType::User, id: id.uuid() },
            };
            owner.user_create(&user, &event).await?;
        }
        Ok(organization)
    }

    /// Starts the embedded PostgreSQL again whenever it has ended, such as killed for want of memory. Never ready.
    pub async fn keep_running(&self) {
        let Some((cluster, lock)) = &self.embedded else { return std::future::pending().await };
        loop {
            tokio::time::sleep(LOOK).await;
            match cluster.postmaster_pid().await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    tracing::error!("the embedded PostgreSQL has ended and is started again");
                    if let Err(error) = cluster.ensure_running(lock).await {
                        tracing::error!(%error, "the embedded PostgreSQL cannot be started");
                    }
                }
                Err(error) => tracing::warn!(%error, "the embedded PostgreSQL cannot be looked at"),
            }
        }
    }

    /// Builds the indexes that are missing, while others are served. Never ready: then there is nothing more to do.
    pub async fn build_indexes(&self) {
        loop {
            match build_indexes(&self.owner).await {
                Ok(true) => return std::future::pending().await,
                // Whoever does it may break off.
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "an index cannot be built right now: some lists are slow without"),
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    /// Stops the embedded PostgreSQL in good order.
    ///
    /// # Errors
    /// [`AppError::Embedded`]
    pub async fn close(self) -> Result<(), AppError> {
        if let Some((cluster, lock)) = self.embedded {
            cluster.stop(&lock).await?;
        }
        Ok(())
    }
}

pub(super) fn data_directory(data: &DataArgs) -> Result<DataDirectory, AppError> {
    let path = data.data_dir.clone().map_or_else(DataDirectory::default_path, Ok)?;
    Ok(DataDirectory::open(path)?)
}
