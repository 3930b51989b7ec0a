//! Which of several PostgreSQLs that a URL names is the one to believe: the primary that was promoted last.
//!
//! After a promotion the old primary may still be there, or come back, and take writes as ever. What it says of tokens is as old as
//! the promotion. Each promotion begins a timeline with a higher number, by which the two are told apart.

use std::{cmp::Reverse, time::Duration};

use futures::{
    StreamExt,
    future::{pending, select_all},
    stream::FuturesUnordered,
};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_postgres::{
    Client, Config, Connection, NoTls, SimpleQueryMessage, Socket,
    config::{Host, TargetSessionAttrs},
    tls::NoTlsStream,
};

use super::{DEFAULT_DEADLINE, Store, instance::Instance};

/// How long the other hosts may take when one has answered: one that stands still must not hold connections up.
const OTHERS: Duration = Duration::from_millis(500);

/// Where a connection leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    pub(super) instance: Instance,
    /// Known where there are several hosts.
    pub(super) primary: Option<Primary>,
}

/// A primary, as told apart from others of the same data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Primary {
    /// Of one system: all that were once copies of one another.
    system: u64,
    timeline: u32,
}

impl Primary {
    /// Whether it was promoted when the other one was a primary already, or its successor.
    pub(super) fn is_newer_than(self, other: Self) -> bool {
        self.system == other.system && self.timeline > other.timeline
    }
}

type Opened = (Client, Connection<Socket, NoTlsStream>);

/// The URL's hosts, one by one.
pub(super) fn hosts(config: &Config) -> Vec<Config> {
    let (addresses, ports) = (config.get_hostaddrs(), config.get_ports());
    let host = |(at, host): (usize, &Host)| {
        let mut one = Config::new();
        match host {
            Host::Tcp(name) => one.host(name),
            Host::Unix(path) => one.host_path(path),
        };
        if let Some(address) = addresses.get(at) {
            one.hostaddr(*address);
        }
        // One port is every host's.
        if let Some(port) = ports.get(at).or_else(|| ports.first()) {
            one.port(*port);
        }
        config.get_user().map(|user| one.user(user));
        config.get_password().map(|password| one.password(password));
        config.get_dbname().map(|name| one.dbname(name));
        config.get_options().map(|options| one.options(options));
        config.get_application_name().map(|name| one.application_name(name));
        config.get_connect_timeout().map(|timeout| one.connect_timeout(*timeout));
        config.get_tcp_user_timeout().map(|timeout| one.tcp_user_timeout(*timeout));
        one.ssl_mode(config.get_ssl_mode())
            .channel_binding(config.get_channel_binding())
            .keepalives(config.get_keepalives())
            .keepalives_idle(config.get_keepalives_idle())
            .target_session_attrs(config.get_target_session_attrs());
        one
    };
    config.get_hosts().iter().enumerate().map(host).collect()
}

/// Connects to the newest primary among several hosts.
pub(super) async fn open_newest(hosts: Vec<Config>) -> Result<Opened, String> {
    let open = |(at, host): (usize, Config)| async move {
        let opening = async {
            let (client, mut driver) = host.connect(NoTls).await?;
            let found = place(&client, &mut driver).await?;
            Ok((client, driver, found))
        };
        let opened = timeout(DEFAULT_DEADLINE, opening).await.map_err(|_| "a host does not answer".to_owned())?;
        let (client, driver, found) = opened.map_err(|error| super::connect::describe(&host, &error))?;
        let timeline = found.and_then(|found| found.primary).map_or(0, |primary| primary.timeline);
        Ok::<_, String>(((timeline, Reverse(at)), (client, driver)))
    };
    let mut opening: FuturesUnordered<_> = hosts.into_iter().enumerate().map(open).collect();
    let mut end = Instant::now() + DEFAULT_DEADLINE;
    let (mut best, mut refusal) = (None::<((u32, Reverse<usize>), Opened)>, "no host answers".to_owned());
    while let Ok(Some(opened)) = timeout_at(end, opening.next()).await {
        match opened {
            Ok(found) => {
                end = end.min(Instant::now() + OTHERS);
                if best.as_ref().is_none_or(|best| found.0 > best.0) {
                    best = Some(found);
                }
            }
            Err(error) => refusal = error,
        }
    }
    best.map(|(_, opened)| opened).ok_or(refusal)
}

/// Where a connection leads that nobody drives yet; nowhere if it is a standby.
pub(super) async fn place(
    client: &Client,
    driver: &mut Connection<Socket, NoTlsStream>,
) -> Result<Option<Place>, tokio_postgres::Error> {
    // A standby has no place for what is written.
    let query = format!(
        "SELECT {}, system_identifier, CASE WHEN pg_is_in_recovery() THEN NULL ELSE
            ('x' || left(pg_walfile_name(pg_current_wal_insert_lsn()), 8))::bit(32)::bigint END FROM pg_control_system()",
        Instance::STARTED
    );
    let rows = tokio::select! {
        rows = client.simple_query(&query) => rows?,
        ended = driver => {
            ended?;
            return Ok(None);
        }
    };
    Ok(rows.into_iter().find_map(|message| {
        let SimpleQueryMessage::Row(row) = message else { return None };
        let instance = Instance::told(row.get(0)?.parse().ok()?);
        // PostgreSQL tells it as a signed number.
        let system = row.get(1)?.parse::<i64>().ok()?.cast_unsigned();
        Some(Place { instance, primary: Some(Primary { system, timeline: row.get(2)?.parse().ok()? }) })
    }))
}

impl Store {
    /// Ready when another host of the URL was promoted after the primary at this place; each is looked at so often. With one host,
    /// never.
    pub async fn promoted_after(&self, place: Place, every: Duration) -> Place {
        let Some(primary) = place.primary else { return pending().await };
        let looking = self.config.listening_hosts().into_iter().map(|host| Box::pin(newer(host, primary, every)));
        select_all(looking).await.0
    }
}

async fn newer(mut host: Config, than: Primary, every: Duration) -> Place {
    host.target_session_attrs(TargetSessionAttrs::Any);
    // One that has become silent is connected to again, and soon.
    let patience = every.max(Duration::from_secs(1));
    loop {
        // Whoever is not there is not asked.
        if let Ok(Ok((client, mut driver))) = timeout(patience, host.connect(NoTls)).await {
            while let Ok(Ok(found)) = timeout(patience, place(&client, &mut driver)).await {
                if let Some(found) = found
                    && found.primary.is_some_and(|primary| primary.is_newer_than(than))
                {
                    return found;
                }
                if client.is_closed() {
                    break;
                }
                sleep(every).await;
            }
        }
        sleep(every).await;
    }
}
