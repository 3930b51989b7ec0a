//! The roles and the database, in a cluster that runs.
//!
//! Every step may already have been done, by an earlier start that was cut short after it: each is repeated at every
//! start, which takes a few milliseconds and also puts right what somebody changed by hand.

use std::path::Path;
use std::time::Duration;

use tokio::time::timeout;
use tokio_postgres::Client;

use super::config::{DATABASE, Role};
use super::connect::{NotConnected, connect};
use super::error::EmbeddedError;

/// How long each step may take; copying the template database to a slow disk is the longest.
const DEADLINE: Duration = Duration::from_secs(60);

/// The roles, and who may connect to PostgreSQL's own databases.
///
/// The serving role's errors are not logged: it reports each to the server, which logs it, and whoever can make a
/// request fail must not be able to fill the disk.
const ROLES: &str = "
    DO $$
    DECLARE role text;
    BEGIN
        FOREACH role IN ARRAY ARRAY['latchkey_owner', 'latchkey_serving'] LOOP
            IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role) THEN
                EXECUTE format('CREATE ROLE %I', role);
            END IF;
            EXECUTE format(
                'ALTER ROLE %I LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS INHERIT', role);
        END LOOP;
    END $$;
    ALTER ROLE latchkey_serving SET log_min_messages = 'log';
    REVOKE ALL ON DATABASE postgres, template1 FROM PUBLIC;";

const CREATE_DATABASE: &str = "
    CREATE DATABASE latchkey OWNER latchkey_owner
        TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C'";

/// Only the owner makes anything in the database, schemas and temporary tables included.
const DATABASE_RIGHTS: &str = "
    ALTER DATABASE latchkey OWNER TO latchkey_owner;
    REVOKE ALL ON DATABASE latchkey FROM PUBLIC;
    REVOKE ALL ON DATABASE latchkey FROM latchkey_serving;
    GRANT CONNECT ON DATABASE latchkey TO latchkey_serving;";

/// Before PostgreSQL 15 everybody might make things in the schema `public`, and the superuser owned it.
const SCHEMA_RIGHTS: &str = "
    DO $$
    BEGIN
        IF EXISTS (SELECT FROM pg_namespace WHERE nspname = 'public') THEN
            ALTER SCHEMA public OWNER TO latchkey_owner;
            REVOKE ALL ON SCHEMA public FROM PUBLIC;
            REVOKE CREATE ON SCHEMA public FROM latchkey_serving;
            GRANT USAGE ON SCHEMA public TO latchkey_serving;
        END IF;
    END $$;";

/// Makes what is missing of the roles and the database. `client` is the superuser's, in the database `postgres`.
pub(super) async fn bootstrap(client: &Client, socket_directory: &Path) -> Result<(), EmbeddedError> {
    run(client, "make Latchkey's roles", ROLES).await?;
    let exists = within(
        "look for Latchkey's database",
        client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&DATABASE]),
    )
    .await?;
    if exists.is_none() {
        run(client, "make Latchkey's database", CREATE_DATABASE).await?;
    }
    run(client, "set the rights on Latchkey's database", DATABASE_RIGHTS).await?;
    let inside = timeout(DEADLINE, connect(socket_directory, Role::Superuser, DATABASE));
    let inside = inside.await.map_err(|_| silent("open Latchkey's database"))?.map_err(|error| match error {
        NotConnected::Refused(error) => error,
        NotConnected::Unreachable(why) | NotConnected::NotYet(why) => {
            EmbeddedError::NotAnswering { path: socket_directory.to_path_buf(), waited: 0, why }
        }
    })?;
    run(&inside, "set the rights inside Latchkey's database", SCHEMA_RIGHTS).await
}

async fn run(client: &Client, action: &'static str, statements: &str) -> Result<(), EmbeddedError> {
    within(action, client.batch_execute(statements)).await
}

async fn within<T>(
    action: &'static str,
    work: impl Future<Output = Result<T, tokio_postgres::Error>>,
) -> Result<T, EmbeddedError> {
    timeout(DEADLINE, work).await.map_err(|_| silent(action))?.map_err(EmbeddedError::refused(action))
}

fn silent(action: &'static str) -> EmbeddedError {
    EmbeddedError::Silent { action, waited: DEADLINE.as_secs() }
}
