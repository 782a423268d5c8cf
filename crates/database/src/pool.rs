//! A pool of connections under the service's own role. It opens no connection until one is requested, so a service can start
//! while the database is down.

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

/// How long a connection may be silent or have unacknowledged data before TCP probes it.
const SILENCE: Duration = Duration::from_secs(30);
/// A connection that was last handed out longer ago than this is tested before it is handed out again. It was idle and may
/// have died unnoticed, or a caller timed out and left it in the middle of a statement. In a busy pool no connection is
/// tested.
const UNASKED_MAX: Duration = Duration::from_secs(1);
/// A connection that takes longer to answer the test is dropped; opening a new one is as fast.
const ASKED_MAX: Duration = Duration::from_secs(2);
/// Maximum wait for an answer that a healthy database gives at once.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// Maximum time for the check of the database at start.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The interval at which [`watch`] takes a connection.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);

/// How much a process's clock may differ from the database's while the process issues tokens and accepts events. Beyond
/// this the Blogs API is not ready, and code that compares times of both clocks allows for this difference.
pub const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// A bounded set of connections to the shared database.
#[derive(Clone)]
pub struct Pool {
    pool: deadpool_postgres::Pool,
}

impl Pool {
    /// Creates the pool without connecting.
    ///
    /// # Errors
    /// [`Error::Settings`] if a bound or the address is wrong.
    pub fn new(settings: &Settings, application_name: &str) -> Result<Self, Error> {
        Self::build(settings, application_name, None)
    }

    /// Creates a pool whose connections start under another role, as after `set role`. It is for a login role that is a
    /// member of that role but inherits nothing.
    ///
    /// # Errors
    /// As [`Pool::new`].
    pub fn acting_as(settings: &Settings, application_name: &str, role: &'static str) -> Result<Self, Error> {
        Self::build(settings, application_name, Some(role))
    }

    fn build(settings: &Settings, application_name: &str, role: Option<&str>) -> Result<Self, Error> {
        let mut config: tokio_postgres::Config = settings.url.expose_secret().parse().map_err(|_| {
            // The cause is left out: it may quote the address, which contains a password.
            Error::Settings("database.url is not a postgres:// address".to_owned())
        })?;
        if let Some(role) = role {
            let others = config.get_options().map_or_else(String::new, |options| format!("{options} "));
            config.options(format!("{others}-c role={role}"));
        }
        config.application_name(application_name);
        config.connect_timeout(settings.connect_timeout());
        // TCP probes a silent peer after half a minute and drops a peer that acknowledges nothing. Otherwise a network that
        // loses packets could block a connection for hours.
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
            .map_err(|error| Error::Settings(format!("cannot create the database pool: {error}")))?;
        Ok(Self { pool })
    }

    /// Returns a connection, waiting for a free one if necessary.
    ///
    /// # Errors
    /// [`Error::Pool`] if none becomes available in time.
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
        Err(_) => Err(HookError::message("the connection does not answer")),
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("status", &self.pool.status()).finish()
    }
}

/// Checks that the connections of all processes together stay within the role's limit. Also fails if the limit cannot be
/// read. A role without a limit passes.
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

/// Rejects settings under which a service's processes could open more connections in total than their role may hold. A
/// service with such settings does not start. It does start if the database is down or does not answer within two seconds.
///
/// # Errors
/// [`Error::ConnectionLimit`].
pub async fn check_connections_at_start(pool: &Pool, settings: &Settings) -> Result<(), Error> {
    match tokio::time::timeout(LOOK_MAX, check_connection_limit(pool, settings)).await {
        Ok(Err(error @ Error::ConnectionLimit { .. })) => return Err(error),
        Ok(Err(error)) => {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "cannot check the role's connection limit yet"
            );
        }
        Err(_) => {
            tracing::warn!("the database does not answer; skipping the check of the role's connection limit");
        }
        Ok(Ok(())) => {}
    }
    Ok(())
}

/// The result of comparing a clock with the database's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ClockSkew {
    /// How far the clock is ahead of the database's, accurate to half the round trip.
    pub ahead: SignedDuration,
    /// How long the database took to answer.
    pub round_trip: Duration,
}

/// Compares a clock with the database's.
///
/// # Errors
/// The error of the query; [`Error::NoAnswer`] after three seconds.
pub async fn clock_skew(pool: &Pool, time_of_day: impl Fn() -> Timestamp) -> Result<ClockSkew, Error> {
    within(ANSWER_MAX, async {
        let client = pool.get().await?;
        // Prepare first, so that the measured query takes one round trip.
        SERVER_CLOCK.prepare(&client).await?;
        let (asked, began) = (time_of_day(), Instant::now());
        let server: Timestamp = SERVER_CLOCK.query_one(&client, &[]).await?.get("now");
        let round_trip = began.elapsed();
        let half = SignedDuration::try_from(round_trip / 2).unwrap_or(SignedDuration::MAX);
        Ok(ClockSkew { ahead: asked.duration_since(server).saturating_add(half), round_trip })
    })
    .await
}

/// Checks that the clocks agree closely enough, because days, windows and versions come from both.
///
/// # Errors
/// A message with the difference.
pub fn in_step(skew: SignedDuration, max: Duration) -> Result<(), String> {
    let skew = skew.unsigned_abs();
    if skew > max {
        return Err(format!(
            "this machine's clock and the database's differ by {} ms: synchronize them",
            skew.as_millis()
        ));
    }
    Ok(())
}

/// Runs the work with a time limit. A server that hangs keeps its connections open, so only a limit on this side ends the
/// wait.
///
/// Work that is cut off may have committed, or may still commit. Use this only for work that may be done twice. The pool
/// tests its connection before using it again.
///
/// # Errors
/// The error of the work, or [`Error::NoAnswer`].
pub async fn within<T, E: From<Error>>(
    limit: Duration,
    work: impl Future<Output = Result<T, E>>,
) -> Result<T, E> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| Err(Error::NoAnswer(limit).into()))
}

/// Reports every two seconds, until `stopped`, whether the pool has a connection that answers.
pub async fn watch(pool: Pool, report: impl Fn(Result<(), String>), stopped: impl Future<Output = ()>) {
    let mut stopped = std::pin::pin!(stopped);
    loop {
        let got = within(ANSWER_MAX, pool.get()).await;
        report(got.map(drop).map_err(|error| error.to_string()));
        tokio::select! {
            () = &mut stopped => return,
            () = tokio::time::sleep(WATCH_INTERVAL) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_the_maximum_in_either_direction() {
        let max = Duration::from_secs(5);
        for seconds in [-5, 0, 5] {
            assert_eq!(in_step(SignedDuration::from_secs(seconds), max), Ok(()));
        }
        for seconds in [-7, 7] {
            assert!(in_step(SignedDuration::from_secs(seconds), max).unwrap_err().contains("7000 ms"));
        }
    }
}
