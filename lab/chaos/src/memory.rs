//! Measures the memory of a worker with a backlog, and of an API while RabbitMQ is blocked, and checks that a backlog
//! survives thirty kills of its worker.
//!
//! Memory is the peak resident size of a process, from the kernel (`VmHWM`).

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use broker::{EncodedEvents, Publisher};
use database::bootstrap::RoleSettings;
use events::{Action, Channel, EngagementEvent, codec};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde::Serialize;
use stack::Stack;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::faults::Faults;
use crate::generator::{Generator, Progress};
use crate::plan::Target;
use crate::system::{EACH, Setup, System};

/// Most unconfirmed publishes at a time.
const WAITING: usize = 64;
const CONFIRM_MAX: Duration = Duration::from_secs(60);
/// Longest time for a backlog to drain.
const DRAIN_MAX: Duration = Duration::from_secs(1800);
/// Longest time for a worker to make a step of progress.
const STEP_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(20);
/// Connections and requests per second of the load on the API: as many as it can handle.
const CONNECTIONS: usize = 256;
const REQUESTS_PER_S: u32 = 100_000;

/// What to measure.
#[derive(Debug)]
pub struct Options {
    /// Events of the small backlog.
    pub few: u64,
    /// Events of the large backlog.
    pub many: u64,
    /// Kills of a worker on one backlog of three times `few` events.
    pub kills: u32,
    /// How long RabbitMQ is blocked under full load.
    pub blocked: Duration,
    /// The executable that runs a service by `serve NAME`.
    pub executable: std::path::PathBuf,
    /// The folder for the services' logs.
    pub directory: std::path::PathBuf,
    /// The roles.
    pub roles: RoleSettings,
}

/// The results in MiB.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Memory {
    /// Events of the small backlog, and the worker's memory on it.
    pub few: (u64, f64),
    /// Events of the large backlog, and the worker's memory on it.
    pub many: (u64, f64),
    /// Kills of a worker on one backlog.
    pub kills: u32,
    /// Events that were published, and counted, around these kills.
    pub killed: (i64, i64),
    /// The API's memory under full load, and after RabbitMQ had been blocked under it.
    pub api: (f64, f64),
    /// Events accepted while it was blocked.
    pub accepted_blocked: u64,
    /// RabbitMQ's version.
    pub rabbitmq: String,
}

/// Measures on these servers, and stops them.
///
/// # Errors
/// If a step fails, or events were lost, counted twice or parked.
pub async fn run(
    stack: Stack,
    options: Options,
    progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<Memory> {
    let setup = Setup {
        executable: options.executable.clone(),
        directory: &options.directory,
        roles: options.roles.clone(),
        without: None,
        alone: 1,
    };
    let system = Arc::new(System::set_up(stack, setup).await?);
    let measured = measure(&system, &options, progress).await;
    for slot in system.slots() {
        slot.lock().await.kill_9().await?;
    }
    tokio::task::block_in_place(|| drop(system));
    measured
}

async fn measure(
    system: &Arc<System>,
    options: &Options,
    progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<Memory> {
    let mut memory = Memory { rabbitmq: system.versions.rabbitmq.clone(), ..Memory::default() };
    let mut published = 0;
    for events in [options.few, options.many] {
        progress(&format!("publishing {events} events"));
        published += publish(system, events).await?;
        progress("a worker works them off");
        let peak = worked_off(system, published).await?;
        progress(&format!("{peak:.1} MiB"));
        if events == options.few { memory.few = (events, peak) } else { memory.many = (events, peak) }
    }
    // After a few kills the worker applies envelopes one by one, so few are done between two kills.
    let backlog = options.few * 3;
    progress(&format!("{} kills of a worker on {backlog} events", options.kills));
    let before = system.settled().await?;
    published += publish(system, backlog).await?;
    for n in 1..=options.kills {
        kill_on_the_way(system).await.with_context(|| format!("at kill {n}"))?;
    }
    worked_off(system, published).await?;
    memory.kills = options.kills;
    memory.killed = (i64::try_from(backlog)?, system.settled().await? - before);
    let left = system.leftovers().await?;
    ensure!(left.parked == 0, "{} events were parked", left.parked);
    let disagreements = system.disagreements().await?;
    ensure!(disagreements.is_empty(), "the tables disagree: {disagreements:?}");
    progress(&format!("RabbitMQ takes nothing for {} s", options.blocked.as_secs()));
    (memory.api, memory.accepted_blocked) = blocked(system, options.blocked).await?;
    Ok(memory)
}

/// Publishes events in full envelopes while no worker runs.
async fn publish(system: &System, events: u64) -> anyhow::Result<i64> {
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let mut registry = Registry::default();
    let publisher = Publisher::start(&system.broker, "chaos", &mut registry, &tasks, shutdown.clone())?;
    let mut waiting = FuturesUnordered::new();
    let (mut left, mut blogs) = (events, system.ground.shared.iter().cycle());
    while left > 0 || !waiting.is_empty() {
        while left > 0 && waiting.len() < WAITING {
            let envelope = fill(&mut left, &mut blogs)?;
            let publisher = publisher.clone();
            waiting.push(async move {
                publisher.publish(envelope, tokio::time::Instant::now() + CONFIRM_MAX).await
            });
        }
        if let Some(confirmed) = waiting.next().await {
            confirmed?;
        }
    }
    shutdown.cancel();
    tasks.close();
    tasks.wait().await;
    Ok(i64::try_from(events)?)
}

/// The next envelope, with as many of the remaining events as fit.
fn fill<'a>(left: &mut u64, blogs: &mut impl Iterator<Item = &'a i64>) -> anyhow::Result<EncodedEvents> {
    let mut share = || {
        let event = EngagementEvent {
            id: uuid::Uuid::now_v7(),
            blog_id: blogs.next().copied().unwrap_or_default(),
            time: Timestamp::now(),
            action: Action::Shared(Channel::Link),
            key: None,
            imported: false,
        };
        codec::encode_engagement(&event)
    };
    let mut envelope = EncodedEvents::one(share())?;
    *left -= 1;
    while *left > 0 && envelope.try_push(&share()) {
        *left -= 1;
    }
    Ok(envelope)
}

/// Lets a worker drain the queue until a total number of events is accounted for, and returns its peak memory.
async fn worked_off(system: &System, published: i64) -> anyhow::Result<f64> {
    let mut slot = system.slot_of(Target::Worker(0)).context("there is a worker")?.lock().await;
    slot.start(None).await?;
    let began = Instant::now();
    while system.settled().await? < published {
        ensure!(began.elapsed() < DRAIN_MAX, "the backlog does not drain");
        slot.service.as_mut().context("it was started")?.check()?;
        tokio::time::sleep(POLL * 10).await;
    }
    let peak = peak_mib(slot.service.as_ref().and_then(bench::Service::pid).context("it runs")?)?;
    slot.stop().await?;
    ensure!(system.settled().await? == published, "more was counted than was published");
    Ok(peak)
}

/// Lets a worker count some events, and kills it.
async fn kill_on_the_way(system: &System) -> anyhow::Result<()> {
    let mut slot = system.slot_of(Target::Worker(0)).context("there is a worker")?.lock().await;
    let before = system.settled().await?;
    slot.start(None).await?;
    let began = Instant::now();
    while system.settled().await? == before {
        ensure!(began.elapsed() < STEP_MAX, "the worker counts nothing");
        tokio::time::sleep(POLL).await;
    }
    slot.kill_9().await
}

/// The memory of an API under full load, before and after RabbitMQ was blocked for a time, and the number of events that it
/// accepted meanwhile.
async fn blocked(system: &Arc<System>, time: Duration) -> anyhow::Result<((f64, f64), u64)> {
    for target in [Target::Api(0), Target::Worker(0), Target::Worker(1)] {
        system.slot_of(target).context("no such service")?.lock().await.start(None).await?;
    }
    let slot = system.slot_of(Target::Api(0)).context("there is an API")?.lock().await;
    let pid = slot.service.as_ref().and_then(bench::Service::pid).context("it runs")?;
    drop(slot);
    let progress = Arc::new(Progress::default());
    let doors: Vec<_> = (0..EACH).map(|_| Arc::default()).collect();
    let faults =
        Faults::new(Arc::clone(system), doors.clone(), Arc::clone(&progress), Arc::new(AtomicU64::new(0)));
    let target = system.api_addresses.first().copied().context("there is an API")?;
    let generator = Generator {
        ground: Arc::clone(&system.ground),
        targets: vec![(target, doors.first().cloned().unwrap_or_default())],
        connections: CONNECTIONS,
        requests_per_s: REQUESTS_PER_S,
        deadline: Duration::from_secs(2),
        seed: 1,
        progress: Arc::clone(&progress),
    };
    let stop = CancellationToken::new();
    let mut load = tokio::task::JoinSet::new();
    load.spawn(generator.run(stop.clone()));
    tokio::time::sleep(time / 6).await;
    let before = peak_mib(pid)?;
    let accepted = || progress.accepted.load(std::sync::atomic::Ordering::Relaxed);
    let accepted_before = accepted();
    faults.apply(crate::plan::Fault::Alarm(time)).await?;
    let (after, accepted) = (peak_mib(pid)?, accepted() - accepted_before);
    stop.cancel();
    load.join_next().await.context("the generator ran")???;
    Ok(((before, after), accepted))
}

/// The peak resident memory of a process.
fn peak_mib(pid: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("the kernel keeps it")?;
    let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kib / 1024.0)
}
