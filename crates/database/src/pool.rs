//! Connections under the service's own role. A pool makes no connection before the first is asked for, so that
//! a service starts while the database is away.

use std::time::{Duration, Instant};

use deadpool_postgres::{
    ClientWrapper, Hook, HookError, Manager, ManagerConfig, Object, RecyclingMethod, Runtime,
};
use jiff::{SignedDuration, Timestamp};
use secrecy::ExposeSecret;
use tokio_postgres::NoTls;

use crate::{Error, Settings, Statement};

const ROLE_LIMIT: Statement = crate::statement!("role_limit.sql");
const SERVER_CLOCK: Statement = crate::statement!("server_clock.sql");

/// How long a connection may be silent, or have data unacknowledged, before it is looked into.
const SILENCE: Duration = Duration::from_secs(30);
/// A connection that was handed out longer ago is asked whether it answers before it is handed out again: since then it
/// was idle, and may have died unnoticed, or somebody waited in vain and left it in the middle of something. In a busy
/// pool this asks nothing.
const UNASKED_MAX: Duration = Duration::from_secs(1);
/// One that takes longer to answer is dropped: a new connection takes no longer.
const ASKED_MAX: Duration = Duration::from_secs(2);
/// Longest wait for what the database answers at once when it is well.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Longest look at the database while starting.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// By how much the clock of a process may differ from the database's while it issues tokens and takes events. The Blogs API
/// is not ready beyond it, and whoever compares a time of the one with a time of the other allows for it.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// A bounded set of connections to the shared database.
#[derive(Clone)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
}

impl Pool {
    /// Makes the pool. It does not connect yet.
    ///
    /// # Errors
    /// [`Error::Settings`] when the bounds or the address are wrong.
    pub fn new(settings: &Settings, application_name: &str) -> Result<Self, Error> {
        Self::build(settings, application_name, None)
    }

    /// Makes a pool whose connections act as another role from the start, as by `set role`: for a login that is a
    /// member of it but inherits nothing.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn acting_as(settings: &Settings, application_name: &str, role: &'static str) -> Result<Self, Error> {
        Self::build(settings, application_name, Some(role))
    }

    fn build(settings: &Settings, application_name: &str, role: Option<&str>) -> Result<Self, Error> {
        let mut config: tokio_postgres::Config = settings.url.expose_secret().parse().map_err(|_| {
            // The cause is left out: it may quote the address, and the address holds a password.
            Error::Settings("database.url is not a postgres:// address".to_owned())
        })?;
        if let Some(role) = role {
            let others = config.get_options().map_or_else(String::new, |options| format!("{options} "));
            config.options(format!("{others}-c role={role}"));
        }
        config.application_name(application_name);
        config.connect_timeout(settings.connect_timeout());
        // A peer that is silent on a live connection is asked after half a minute, and one that acknowledges
        // nothing is given up: a network that swallows packets must not hold a connection for hours.
        config.keepalives_idle(SILENCE);
        config.tcp_user_timeout(SILENCE);
        let manager =
            Manager::from_config(config, NoTls, ManagerConfig { recycling_method: RecyclingMethod::Fast });
        let pool = deadpool_postgres::Pool::builder(manager)
            .max_size(settings.pool_max)
            .wait_timeout(Some(settings.wait_timeout()))
            .create_timeout(Some(settings.connect_timeout()))
            .runtime(Runtime::Tokio1)
            .pre_recycle(Hook::async_fn(|client, metrics| {
                Box::pin(still_answers(client, metrics.last_used()))
            }))
            .build()
            .map_err(|error| Error::Settings(format!("the database pool cannot be built: {error}")))?;
        Ok(Self { pool })
    }

    /// A connection, waiting for a free one if need be.
    ///
    /// # Errors
    /// [`Error::Pool`] when none could be had in time.
    pub async fn get(&self) -> Result<Object, Error> {
        self.pool.get().await.map_err(Error::Pool)
    }

    pub(crate) fn status(&self) -> deadpool_postgres::Status {
        self.pool.status()
    }
}

async fn still_answers(client: &ClientWrapper, handed_out_ago: Duration) -> Result<(), HookError> {
    if handed_out_ago < UNASKED_MAX {
        return Ok(());
    }
    match tokio::time::timeout(ASKED_MAX, client.simple_query("")).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(HookError::Backend(error)),
        Err(_) => Err(HookError::message("a connection does not answer")),
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("status", &self.pool.status()).finish()
    }
}

/// Fails also when the role cannot be asked for. Roles without a limit pass.
async fn check_connection_limit(pool: &Pool, settings: &Settings) -> Result<(), Error> {
    let client = pool.get().await?;
    let row = ROLE_LIMIT.query_one(&client, &[]).await?;
    let (role, limit): (String, i32) = (row.get("role"), row.get("connection_limit"));
    let wanted = settings.pool_max.saturating_mul(settings.instances_max);
    if usize::try_from(limit).is_ok_and(|limit| wanted > limit) {
        let (pool_max, instances_max) = (settings.pool_max, settings.instances_max);
        return Err(Error::ConnectionLimit { role, limit, pool_max, instances_max });
    }
    Ok(())
}

/// Refuses settings under which the processes of a service could together ask for more connections than their role may hold.
/// A contradiction of bounds stops a service that starts; a database that is away, or does not answer within two seconds,
/// does not.
///
/// # Errors
/// [`Error::ConnectionLimit`].
pub async fn check_connections_at_start(pool: &Pool, settings: &Settings) -> Result<(), Error> {
    match tokio::time::timeout(LOOK_MAX, check_connection_limit(pool, settings)).await {
        Ok(Err(error @ Error::ConnectionLimit { .. })) => return Err(error),
        Ok(Err(error)) => {
            tracing::warn!(error = &error as &dyn std::error::Error, "the database cannot be looked at yet");
        }
        Err(_) => tracing::warn!("the database does not answer yet"),
        Ok(Ok(())) => {}
    }
    Ok(())
}

/// One comparison of a clock with the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// How far the clock is ahead of the database's, give or take half the round trip.
    pub ahead: SignedDuration,
    /// How long the database took to answer.
    pub round_trip: Duration,
}

/// Compares a clock with the database's.
///
/// # Errors
/// That of asking; [`Error::NoAnswer`] after three seconds.
pub async fn clock_skew(pool: &Pool, time_of_day: impl Fn() -> Timestamp) -> Result<ClockSkew, Error> {
    within(ANSWER_MAX, async {
        let client = pool.get().await?;
        // Prepared first, so that the round trip is one.
        SERVER_CLOCK.prepare(&client).await?;
        let (asked, began) = (time_of_day(), Instant::now());
        let server: Timestamp = SERVER_CLOCK.query_one(&client, &[]).await?.get("now");
        let round_trip = began.elapsed();
        let half = SignedDuration::try_from(round_trip / 2).unwrap_or(SignedDuration::MAX);
        Ok(ClockSkew { ahead: asked.duration_since(server).saturating_add(half), round_trip })
    })
    .await
}

/// Whether a skew of clocks may be borne: days, windows and versions come from both.
///
/// # Errors
/// A sentence that says by how much they differ.
pub fn in_step(skew: SignedDuration, max: Duration) -> Result<(), String> {
    let skew = skew.unsigned_abs();
    if skew > max {
        return Err(format!(
            "this clock and the database's differ by {} ms: mend the clocks",
            skew.as_millis()
        ));
    }
    Ok(())
}

/// What the work comes to, if that takes no longer. A server that hangs keeps its connections open, so nothing but a limit
/// on this side ends the wait for it.
///
/// Work that is cut short may have been committed, or may still be. Only what may be done twice should be cut. Its
/// connection is not trusted again before it has answered.
///
/// # Errors
/// That of the work, or [`Error::NoAnswer`].
pub async fn within<T, E: From<Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(Error::NoAnswer(limit).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_so_much_in_either_direction() {
        let max = Duration::from_secs(5);
        for seconds in [-5, 0, 5] {
            assert_eq!(in_step(SignedDuration::from_secs(seconds), max), Ok(()));
        }
        for seconds in [-7, 7] {
            assert!(in_step(SignedDuration::from_secs(seconds), max).unwrap_err().contains("7000 ms"));
        }
    }
}
