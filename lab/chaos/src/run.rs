//! A whole run: it starts the system, applies load and faults, lets the system drain, and checks the result.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use database::bootstrap::RoleSettings;
use proxy::Mode;
use stack::{RabbitMq, Stack};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::account;
use crate::faults::Faults;
use crate::generator::{Door, Generator, Progress};
use crate::plan::{Plan, Step};
use crate::report::{Report, Resumed};
use crate::system::{Control, EACH, Setup, System};
use crate::tally::Tally;
use crate::{calm, windows};

/// How long the system may take to drain after the load.
const DRAIN_MAX: Duration = Duration::from_secs(300);
/// Interval between two queries of the events accounted for.
const LOOK: Duration = Duration::from_millis(200);
/// Interval between two lines of progress.
const LINE: Duration = Duration::from_secs(15);
/// Number of single-event blogs for each second of load.
const ALONE_PER_S: u64 = 160;
const ALONE_MAX: u64 = 200_000;
/// The default of `engagement.accept_timeout_ms`.
const DEADLINE: Duration = Duration::from_secs(2);

/// What to run.
#[derive(Debug)]
pub struct Options {
    /// The seed of all randomness.
    pub seed: u64,
    /// How long faults are injected, without setup and drain.
    pub duration: Duration,
    /// Connections of the generator.
    pub connections: usize,
    /// Requests per second, if they are answered at once.
    pub requests_per_s: u32,
    /// Rounds of single outages before the faults, in which recovery times are measured.
    pub calm_rounds: u32,
    /// Hits of each crash window after the faults; they need a build with fail points.
    pub window_hits: u32,
    /// A safeguard that is removed, so that the run must fail.
    pub without: Option<Control>,
    /// The executable that runs a service by `serve NAME`.
    pub executable: PathBuf,
    /// The folder for the services' logs.
    pub directory: PathBuf,
    /// The roles.
    pub roles: RoleSettings,
}

/// Runs on these servers, and stops them.
///
/// # Errors
/// If a step fails. Wrong counts are not an error; the report lists them.
pub async fn run(
    stack: Stack,
    options: Options,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<Report> {
    let load_s =
        options.duration.as_secs() + 60 * u64::from(options.calm_rounds + options.window_hits).min(10);
    let setup = Setup {
        executable: options.executable.clone(),
        directory: &options.directory,
        roles: options.roles.clone(),
        without: options.without,
        alone: i32::try_from((load_s * ALONE_PER_S).min(ALONE_MAX))?,
    };
    progress("making the database, the vhost and the services");
    let system = Arc::new(System::set_up(stack, setup).await?);
    let ended = conduct(&system, &options, stop, progress).await;
    // Every process is stopped, even after an error.
    for slot in system.slots() {
        slot.lock().await.kill_9().await?;
    }
    tokio::task::block_in_place(|| drop(system));
    ended
}

async fn conduct(
    system: &Arc<System>,
    options: &Options,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<Report> {
    let deadlocks_before = system.deadlocks_logged();
    start_all(system).await?;
    // A killed node can lose a quorum queue that is only seconds old; one clean restart persists it.
    System::with(&system.rabbitmq, RabbitMq::restart).await??;
    ready_all(system).await?;

    let doors: Vec<Arc<Door>> = (0..EACH).map(|_| Arc::default()).collect();
    let (counters, settled) = (Arc::new(Progress::default()), Arc::new(AtomicU64::new(0)));
    let targets = system.http.iter().map(proxy::Proxy::address).zip(doors.iter().cloned()).collect();
    let generator = Generator {
        ground: Arc::clone(&system.ground),
        targets,
        connections: options.connections,
        requests_per_s: options.requests_per_s,
        deadline: DEADLINE,
        seed: options.seed,
        progress: Arc::clone(&counters),
    };
    let faults =
        Arc::new(Faults::new(Arc::clone(system), doors, Arc::clone(&counters), Arc::clone(&settled)));
    let (silence, began) = (CancellationToken::new(), Instant::now());
    let mut load = JoinSet::new();
    load.spawn(generator.run(silence.clone()));
    let mut looking = JoinSet::new();
    looking.spawn(look(Arc::clone(system), Arc::clone(&settled)));

    let broken = break_it(&faults, options, stop, progress).await;
    silence.cancel();
    let tally = load.join_next().await.context("the generator ran")???;
    let load_s = began.elapsed().as_secs_f64();
    let resumed = broken?;
    progress("the load has ended; waiting until everything is accounted for");
    let drain_s = drain(system, &faults).await?;
    looking.shutdown().await;
    for slot in system.slots() {
        let mut slot = slot.lock().await;
        if let Err(error) = slot.stop().await {
            faults.differs(format!("{} did not end well: {error}", slot.name));
        }
    }
    let mut report = count(system, options, &faults, &tally).await?;
    (report.load_s, report.drain_s, report.resumed) = (load_s, drain_s, resumed);
    report.deadlocks = report.deadlocks.max(system.deadlocks_logged() - deadlocks_before);
    if report.deadlocks > 0 {
        report.differences.push(format!("{} deadlocks", report.deadlocks));
    }
    Ok(report)
}

/// The faults during the load.
async fn break_it(
    faults: &Arc<Faults>,
    options: &Options,
    stop: &CancellationToken,
    progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<Resumed> {
    let resumed = calm::run(faults, options.calm_rounds, progress).await?;
    let plan = Plan::of(options.seed, options.duration);
    let until = Instant::now() + options.duration;
    progress(&format!("the plan of seed {} begins, for {} s", options.seed, options.duration.as_secs()));
    let (lines, mut said) = tokio::sync::mpsc::channel(64);
    let (mut tracks, halt) = (JoinSet::new(), stop.child_token());
    for (name, steps) in [("servers", plan.servers), ("services", plan.services)] {
        let track = follow(Arc::clone(faults), name, steps, until, halt.clone(), lines.clone());
        // A track that fails also ends the other one.
        let halt = halt.clone();
        tracks.spawn(async move { track.await.inspect_err(|_| halt.cancel()) });
    }
    drop(lines);
    let mut ticks = tokio::time::interval(LINE);
    loop {
        tokio::select! {
            line = said.recv() => match line {
                Some(line) => progress(&line),
                None => break,
            },
            _ = ticks.tick() => progress(&faults.line()),
        }
    }
    while let Some(track) = tracks.join_next().await {
        track??;
    }
    if stop.is_cancelled() {
        bail!("stopped before the end");
    }
    // The whole system must be up before the crash windows, which must not wait for the effects of earlier faults.
    ready_all(&faults.system).await?;
    windows::run(faults, options.window_hits, progress).await?;
    Ok(resumed)
}

async fn follow(
    faults: Arc<Faults>,
    name: &'static str,
    steps: Vec<Step>,
    until: Instant,
    stop: CancellationToken,
    lines: tokio::sync::mpsc::Sender<String>,
) -> anyhow::Result<()> {
    for (number, Step { pause, fault }) in steps.into_iter().enumerate() {
        tokio::time::sleep(pause).await;
        if Instant::now() >= until || stop.is_cancelled() {
            break;
        }
        let _ = lines.send(format!("{name} {}: {fault}", number + 1)).await;
        faults.apply(fault).await.with_context(|| fault.to_string())?;
    }
    Ok(())
}

/// Polls the number of events accounted for, and retries while the database is down.
async fn look(system: Arc<System>, settled: Arc<AtomicU64>) {
    loop {
        let asked = tokio::time::timeout(Duration::from_secs(2), system.settled()).await;
        if let Ok(Ok(now)) = asked {
            settled.store(u64::try_from(now).unwrap_or_default(), Ordering::Relaxed);
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn start_all(system: &System) -> anyhow::Result<()> {
    for slot in system.slots() {
        slot.lock().await.start(None).await?;
    }
    ready_all(system).await
}

async fn ready_all(system: &System) -> anyhow::Result<()> {
    for slot in system.slots() {
        slot.lock().await.ready().await?;
    }
    Ok(())
}

/// Waits until queues and outbox are empty and no further event is counted. Returns how long that took.
async fn drain(system: &System, faults: &Faults) -> anyhow::Result<f64> {
    let began = Instant::now();
    for proxy in &system.http {
        proxy.set(Mode::Open);
    }
    for slot in system.slots() {
        let mut slot = slot.lock().await;
        slot.to_rabbitmq.set(Mode::Open);
        slot.to_postgres.set(Mode::Open);
        if let Err(error) = slot.ready().await {
            faults.differs(format!("at the end {error:#}"));
        }
    }
    let mut last = -1;
    while began.elapsed() < DRAIN_MAX {
        let now = system.settled().await?;
        let empty = system.queued().await? == 0 && system.leftovers().await?.outbox == 0;
        if empty && now == last {
            return Ok(began.elapsed().as_secs_f64());
        }
        last = now;
        // Longer than a batch takes, so that a batch held by a worker is noticed.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    faults.differs(format!("not everything was accounted for within {} s", DRAIN_MAX.as_secs()));
    Ok(began.elapsed().as_secs_f64())
}

async fn count(system: &System, options: &Options, faults: &Faults, tally: &Tally) -> anyhow::Result<Report> {
    let (alone, mut differences) = account::compare(tally, &system.counters().await?);
    differences.extend(system.disagreements().await?.into_iter().map(|line| format!("the tables: {line}")));
    let left = system.leftovers().await?;
    let queued = system.queued().await?;
    for (n, what) in [
        (i64::from(queued), "envelopes are left in the queues"),
        (left.outbox, "envelopes are left in the outbox"),
        (left.parked, "events were parked"),
        (left.discarded, "events were discarded"),
    ] {
        if n != 0 {
            differences.push(format!("{n} {what}"));
        }
    }
    let total = tally.total;
    // A request with a key that was sent several times has several entries in the ledger.
    if left.ledger < total.accepted {
        differences.push(format!("the ledger holds {} events of {} accepted", left.ledger, total.accepted));
    }
    differences.extend(tally.strange.iter().map(|(said, n)| format!("{n} answers of {said}")));
    differences.extend(faults.differences());
    for name in windows::names() {
        let times = faults.done().get(name).map_or(0, |done| done.under_way);
        if times < u64::from(options.window_hits) {
            differences.push(format!("{name} was hit {times} times of {}", options.window_hits));
        }
    }
    let versions = &system.versions;
    Ok(Report {
        seed: options.seed,
        load_s: 0.0,
        drain_s: 0.0,
        postgres: versions.postgres.clone(),
        rabbitmq: format!("{} on Erlang {}", versions.rabbitmq, versions.erlang),
        requests: tally.requests,
        accepted: total.accepted,
        refused: total.refused,
        unknown: total.unknown,
        ledger: left.ledger,
        alone,
        done: faults.done(),
        resumed: Resumed::default(),
        late: tally.late,
        slowest_ms: tally.slowest_ms,
        deadlocks: left.deadlocks,
        parked: left.parked,
        differences,
    })
}
