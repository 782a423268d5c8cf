//! Carries out a plan and counts its faults. Kills that hit no work in progress are counted separately.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context;
use database::{Session, Statement, statement};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use proxy::{Mode, Proxy};
use serde::Serialize;
use stack::{Postgres, RabbitMq};

use crate::generator::{Door, Progress};
use crate::plan::{Fault, Harm, Target, Wire};
use crate::system::{System, lock};

const CHECKPOINT: Statement = statement!("checkpoint.sql");
const EMPTY_BALLAST: Statement = statement!("empty_ballast.sql");
const FILL_BALLAST: Statement = statement!("fill_ballast.sql");
/// Delay of bytes on a slow connection.
const LATENCY: Duration = Duration::from_millis(60);
/// Pause between portions on a throttled connection.
const PORTION_PAUSE: Duration = Duration::from_millis(10);
/// Longest recovery of Postgres.
const ACCEPTS_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Two kills within this are one double kill.
const SAME_MOMENT: Duration = Duration::from_millis(100);
/// Time from the start of a checkpoint to the kill.
const INTO_CHECKPOINT: Duration = Duration::from_millis(10);
/// Interval between checks for work under way. A request takes some milliseconds.
const UNDER_WAY_POLL: Duration = Duration::from_micros(500);

/// Counts of a fault.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Done {
    /// How often it was done.
    pub times: u64,
    /// How often it was done with unanswered requests or with accepted events not yet counted.
    pub under_way: u64,
}

/// Injects faults into a system.
pub(crate) struct Faults {
    pub(crate) system: Arc<System>,
    pub(crate) doors: Vec<Arc<Door>>,
    pub(crate) progress: Arc<Progress>,
    /// Events accounted for at the last query of the tables.
    pub(crate) settled: Arc<std::sync::atomic::AtomicU64>,
    done: Mutex<BTreeMap<String, Done>>,
    differences: Mutex<Vec<String>>,
}

impl Faults {
    pub(crate) fn new(
        system: Arc<System>,
        doors: Vec<Arc<Door>>,
        progress: Arc<Progress>,
        settled: Arc<std::sync::atomic::AtomicU64>,
    ) -> Self {
        Self { system, doors, progress, settled, done: Mutex::default(), differences: Mutex::default() }
    }

    /// The faults so far.
    pub(crate) fn done(&self) -> BTreeMap<String, Done> {
        lock(&self.done).clone()
    }

    /// Unexpected errors.
    pub(crate) fn differences(&self) -> Vec<String> {
        lock(&self.differences).clone()
    }

    /// The current state in one line.
    pub(crate) fn line(&self) -> String {
        let Progress { accepted, unknown, refused, .. } = &*self.progress;
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        format!(
            "{} accepted, {} unknown, {} refused; {} accounted for; {} kills",
            of(accepted),
            of(unknown),
            of(refused),
            of(&self.settled),
            lock(&self.done)
                .iter()
                .filter(|(name, _)| name.starts_with("kill -9"))
                .map(|(_, done)| done.times)
                .sum::<u64>()
        )
    }

    pub(crate) fn note(&self, what: impl Into<String>) {
        let under_way = self.is_under_way();
        self.note_as(what, under_way);
    }

    pub(crate) fn note_as(&self, what: impl Into<String>, under_way: bool) {
        let mut done = lock(&self.done);
        let done = done.entry(what.into()).or_default();
        done.times += 1;
        done.under_way += u64::from(under_way);
    }

    pub(crate) fn differs(&self, what: String) {
        lock(&self.differences).push(what);
    }

    /// True if requests are unanswered, or accepted events are not yet accounted for.
    fn is_under_way(&self) -> bool {
        let waiting = |door: &Arc<Door>| door.outstanding.load(Ordering::Relaxed) > 0;
        let accepted = self.progress.accepted.load(Ordering::Relaxed);
        self.doors.iter().any(waiting) || accepted > self.settled.load(Ordering::Relaxed)
    }

    /// Waits for this time, and then until work is under way.
    async fn work_is_under_way_after(&self, wait: Duration) {
        tokio::time::sleep(wait).await;
        while !self.is_under_way() {
            tokio::time::sleep(UNDER_WAY_POLL).await;
        }
    }

    /// Carries out one fault, and returns when every process runs again.
    pub(crate) async fn apply(&self, fault: Fault) -> anyhow::Result<()> {
        match fault {
            Fault::Kill(target, down) => {
                self.kill(target).await?;
                tokio::time::sleep(down).await;
                self.start(target).await
            }
            Fault::KillBoth(one, other, down) => {
                self.kill_both(one, other).await?;
                tokio::time::sleep(down).await;
                let (first, second) = tokio::join!(self.start(one), self.start(other));
                first.and(second)
            }
            Fault::KillBackend => self.kill_backend().await,
            Fault::KillInCheckpoint => self.kill_in_checkpoint().await,
            Fault::Alarm(time) => self.alarm(time).await,
            Fault::Pause(target, time) => self.pause(target, time).await,
            Fault::Restart(target) => self.restart(target).await,
            Fault::Net(wire, harm) => self.harm(wire, harm).await,
        }
    }

    /// Kills both. It counts as a double kill only if both die at the same time, which the other track can prevent by holding
    /// one of the slots.
    pub(crate) async fn kill_both(&self, one: Target, other: Target) -> anyhow::Result<()> {
        let (first, second) = tokio::join!(self.kill(one), self.kill(other));
        let (first, second) = (first?, second?);
        if first.max(second) - first.min(second) < SAME_MOMENT {
            self.note("double kill");
        }
        Ok(())
    }

    /// Kills it, and returns the time of the kill.
    pub(crate) async fn kill(&self, target: Target) -> anyhow::Result<Instant> {
        let at;
        match target {
            Target::RabbitMq => {
                self.note("kill -9 RabbitMQ");
                at = Instant::now();
                System::with(&self.system.rabbitmq, RabbitMq::kill_9).await??;
            }
            Target::Postgres => {
                self.note("kill -9 Postgres");
                at = Instant::now();
                System::with(&self.system.postgres, Postgres::kill_9).await??;
            }
            Target::Api(_) | Target::Worker(_) => {
                let mut slot = self.system.slot_of(target).context("no such service")?.lock().await;
                if let Some(Err(error)) = slot.service.as_mut().map(bench::Service::check) {
                    self.differs(format!("{target}: {error}"));
                }
                self.note(match target {
                    Target::Api(_) => "kill -9 api",
                    _ => "kill -9 worker",
                });
                at = Instant::now();
                slot.kill_9().await?;
            }
        }
        Ok(at)
    }

    pub(crate) async fn start(&self, target: Target) -> anyhow::Result<()> {
        match target {
            Target::RabbitMq => System::with(&self.system.rabbitmq, RabbitMq::restart).await??,
            Target::Postgres => System::with(&self.system.postgres, Postgres::restart).await??,
            Target::Api(_) | Target::Worker(_) => {
                let mut slot = self.system.slot_of(target).context("no such service")?.lock().await;
                // The other track may have found it dead and restarted it.
                if !slot.runs() {
                    slot.start(None).await?;
                }
            }
        }
        Ok(())
    }

    async fn kill_backend(&self) -> anyhow::Result<()> {
        self.postgres_accepts().await?;
        let Some(pid) = self.system.busy_backend().await? else { return Ok(()) };
        self.note("kill -9 a backend of Postgres");
        // It may have ended in the meantime.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        Ok(())
    }

    /// Waits until Postgres accepts connections: it recovers by itself after a backend was killed.
    async fn postgres_accepts(&self) -> anyhow::Result<Session> {
        let deadline = Instant::now() + ACCEPTS_MAX;
        loop {
            match Session::open(&self.system.database).await {
                Err(_) if Instant::now() < deadline => tokio::time::sleep(POLL).await,
                opened => return Ok(opened?),
            }
        }
    }

    pub(crate) async fn kill_in_checkpoint(&self) -> anyhow::Result<()> {
        let session = self.postgres_accepts().await?;
        // The load alone may leave so few dirty pages that a checkpoint ends before the kill.
        for statement in [EMPTY_BALLAST, FILL_BALLAST] {
            session.run(statement.file, statement.sql).await?;
        }
        let checkpoint = session.client.batch_execute(CHECKPOINT.sql);
        tokio::select! {
            // The kill misses a checkpoint that is already done.
            done = checkpoint => { done?; }
            () = self.work_is_under_way_after(INTO_CHECKPOINT) => self.note_as("Postgres killed in a checkpoint", true),
        }
        self.kill(Target::Postgres).await?;
        self.start(Target::Postgres).await
    }

    async fn alarm(&self, time: Duration) -> anyhow::Result<()> {
        System::with(&self.system.rabbitmq, |server| server.set_short_of_memory(true)).await??;
        self.note("memory alarm of RabbitMQ");
        tokio::time::sleep(time).await;
        System::with(&self.system.rabbitmq, |server| server.set_short_of_memory(false)).await??;
        Ok(())
    }

    async fn pause(&self, target: Target, time: Duration) -> anyhow::Result<()> {
        match target {
            Target::RabbitMq => {
                self.note("SIGSTOP RabbitMQ");
                System::with(&self.system.rabbitmq, |server| server.pause()).await?;
                tokio::time::sleep(time).await;
                System::with(&self.system.rabbitmq, |server| server.resume()).await?;
            }
            Target::Postgres => {
                self.note("SIGSTOP Postgres");
                System::with(&self.system.postgres, |server| server.pause()).await?;
                tokio::time::sleep(time).await;
                System::with(&self.system.postgres, |server| server.resume()).await?;
            }
            Target::Api(number) => {
                let slot = self.system.slot_of(target).context("no such service")?.lock().await;
                let _disturbed = Disturbed::new(self.doors.get(number));
                self.note("SIGSTOP api");
                slot.signal(Signal::SIGSTOP);
                tokio::time::sleep(time).await;
                slot.signal(Signal::SIGCONT);
            }
            Target::Worker(_) => {
                let slot = self.system.slot_of(target).context("no such service")?.lock().await;
                self.note("SIGSTOP worker");
                slot.signal(Signal::SIGSTOP);
                tokio::time::sleep(time).await;
                slot.signal(Signal::SIGCONT);
            }
        }
        Ok(())
    }

    async fn restart(&self, target: Target) -> anyhow::Result<()> {
        match target {
            Target::RabbitMq => self.note("restart RabbitMQ"),
            Target::Postgres => self.note("restart Postgres"),
            Target::Api(_) | Target::Worker(_) => {
                let mut slot = self.system.slot_of(target).context("no such service")?.lock().await;
                self.note("restart of a service");
                if let Err(error) = slot.stop().await {
                    self.differs(format!("{target}: {error}"));
                }
                return slot.start(None).await;
            }
        }
        self.start(target).await
    }

    async fn harm(&self, wire: Wire, harm: Harm) -> anyhow::Result<()> {
        let target = match wire {
            Wire::Http(number) => {
                let proxy = self.system.http.get(number).context("no such wire")?;
                let _disturbed = Disturbed::new(self.doors.get(number));
                self.harm_proxy(proxy, harm).await;
                return Ok(());
            }
            Wire::ToRabbitMq(target) | Wire::ToPostgres(target) => target,
        };
        // The slot is held meanwhile, so this track does not also kill a process behind a faulty connection.
        let slot = self.system.slot_of(target).context("no such service")?.lock().await;
        let proxy = if matches!(wire, Wire::ToRabbitMq(_)) { &slot.to_rabbitmq } else { &slot.to_postgres };
        self.harm_proxy(proxy, harm).await;
        Ok(())
    }

    async fn harm_proxy(&self, proxy: &Proxy, harm: Harm) {
        let (mode, time, name) = match harm {
            Harm::Cut => {
                self.note("cut");
                return proxy.cut();
            }
            Harm::Reset => {
                self.note("reset");
                return proxy.reset();
            }
            Harm::Late(time) => (Mode::Late(LATENCY), time, "latency"),
            Harm::Slow(time) => (Mode::Slow(PORTION_PAUSE), time, "slow"),
            Harm::HalfOpen(time) => (Mode::Swallow, time, "half-open"),
            Harm::Silent(time) => (Mode::Silent, time, "silence"),
        };
        self.note(name);
        proxy.set(mode);
        tokio::time::sleep(time).await;
        proxy.set(Mode::Open);
        if matches!(harm, Harm::HalfOpen(_) | Harm::Silent(_)) {
            proxy.cut();
        }
    }

    /// Stops a worker that holds deliveries, lets them go to the other worker, and then continues it.
    pub(crate) async fn zombie(&self, number: usize) -> anyhow::Result<()> {
        let slot = self.system.slot_of(Target::Worker(number)).context("no such service")?.lock().await;
        let under_way = self.is_under_way();
        slot.signal(Signal::SIGSTOP);
        slot.to_rabbitmq.cut();
        let before = self.settled.load(Ordering::Relaxed);
        let moved = async {
            while self.settled.load(Ordering::Relaxed) == before {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        // Its deliveries go to the other worker, which may have to wait for the zombie's transaction.
        let _ = tokio::time::timeout(Duration::from_millis(600), moved).await;
        slot.signal(Signal::SIGCONT);
        self.note_as("zombie worker resumed after redelivery", under_way);
        Ok(())
    }
}

/// Marks a door while a fault affects the way to it.
struct Disturbed<'a>(Option<&'a Arc<Door>>);

impl<'a> Disturbed<'a> {
    fn new(door: Option<&'a Arc<Door>>) -> Self {
        if let Some(door) = door {
            door.disturbance.fetch_add(1, Ordering::Relaxed);
        }
        Self(door)
    }
}

impl Drop for Disturbed<'_> {
    fn drop(&mut self) {
        if let Some(door) = self.0 {
            door.disturbance.fetch_add(1, Ordering::Relaxed);
        }
    }
}
