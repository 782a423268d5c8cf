//! One outage at a time and no other fault: measures the latency of requests and the time to recover, and checks that no
//! request is refused while one of the two servers is up.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use database::Session;
use proxy::Mode;
use tokio::net::TcpStream;

use crate::faults::Faults;
use crate::plan::Target;
use crate::report::{Outage, Resumed};
use crate::slot::fetch;
use crate::system::{EACH, System};

/// The length of an outage.
const AWAY: Duration = Duration::from_secs(5);
/// How long the rate before an outage is measured.
const BEFORE: Duration = Duration::from_secs(2);
/// Delay in each direction when RabbitMQ is slow: a round trip takes more than half of a request's timeout.
const LATE: Duration = Duration::from_millis(700);
/// A request's timeout plus 100 ms.
const ANSWER_MAX_MS: u64 = 2100;
const PUBLISHING_MAX_MS: u64 = 3000;
const COUNTING_MAX_MS: u64 = 5000;
const POLL: Duration = Duration::from_millis(10);
/// Longest wait for a recovery.
const GOES_ON_MAX: Duration = Duration::from_secs(60);
/// Most events in flight while the system is healthy.
const ON_THEIR_WAY: u64 = 2000;

/// A kind of outage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    RabbitMqKilled,
    RabbitMqAlarmed,
    RabbitMqSlow,
    RabbitMqSilent,
    RabbitMqRefusing,
    PostgresKilled,
    BothKilled,
}

impl Way {
    const ALL: [Self; 7] = [
        Self::RabbitMqKilled,
        Self::RabbitMqAlarmed,
        Self::RabbitMqSlow,
        Self::RabbitMqSilent,
        Self::RabbitMqRefusing,
        Self::PostgresKilled,
        Self::BothKilled,
    ];

    fn name(self) -> &'static str {
        match self {
            Self::RabbitMqKilled => "RabbitMQ killed",
            Self::RabbitMqAlarmed => "RabbitMQ short of memory",
            Self::RabbitMqSlow => "RabbitMQ slow",
            Self::RabbitMqSilent => "RabbitMQ silent",
            Self::RabbitMqRefusing => "RabbitMQ refuses connections",
            Self::PostgresKilled => "Postgres killed",
            Self::BothKilled => "both killed",
        }
    }
}

/// Runs every kind of outage for a number of rounds.
pub(crate) async fn run(
    faults: &Faults,
    rounds: u32,
    progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<Resumed> {
    let mut resumed = Resumed { rounds, ..Resumed::default() };
    for round in 1..=rounds {
        for way in Way::ALL {
            progress(&format!("nothing but: {} (round {round} of {rounds})", way.name()));
            let outage = outage(faults, way, &mut resumed).await.with_context(|| way.name())?;
            resumed.add(outage);
        }
    }
    judge(faults, &resumed);
    Ok(resumed)
}

fn judge(faults: &Faults, resumed: &Resumed) {
    for outage in &resumed.outages {
        let (what, slowest) = (&outage.what, outage.slowest_ms);
        if slowest > ANSWER_MAX_MS {
            faults.differs(format!("{what}: an answer took {slowest} ms, of {ANSWER_MAX_MS}"));
        }
        if *what == Way::BothKilled.name() {
            continue;
        }
        if outage.not_accepted > 0 {
            faults.differs(format!("{what}: {} events were not accepted", outage.not_accepted));
        }
    }
    for (took, most, what) in [
        (resumed.publishing_ms, PUBLISHING_MAX_MS, "publishing again after RabbitMQ listened"),
        (resumed.counting_ms, COUNTING_MAX_MS, "counting again after Postgres took connections"),
    ] {
        if took > most {
            faults.differs(format!("{what} took {took} ms, of {most}"));
        }
    }
}

async fn outage(faults: &Faults, way: Way, resumed: &mut Resumed) -> anyhow::Result<Outage> {
    caught_up(faults).await;
    let before_per_s = rate(faults, BEFORE).await;
    faults.progress.slowest_ms.store(0, Ordering::Relaxed);
    let lost = not_accepted(faults);
    begin(faults, way).await?;
    let away_per_s = rate(faults, AWAY).await;
    end(faults, way, resumed).await?;
    Ok(Outage {
        what: way.name(),
        before_per_s,
        away_per_s,
        not_accepted: not_accepted(faults) - lost,
        slowest_ms: faults.progress.slowest_ms.load(Ordering::Relaxed),
    })
}

async fn begin(faults: &Faults, way: Way) -> anyhow::Result<()> {
    match way {
        Way::RabbitMqKilled => faults.kill(Target::RabbitMq).await.map(drop),
        Way::RabbitMqAlarmed => alarm(faults, true).await,
        Way::RabbitMqSlow => wires(faults, Mode::Late(LATE), false).await,
        Way::RabbitMqSilent => wires(faults, Mode::Silent, false).await,
        Way::RabbitMqRefusing => wires(faults, Mode::Refuse, true).await,
        Way::PostgresKilled => faults.kill(Target::Postgres).await.map(drop),
        Way::BothKilled => faults.kill_both(Target::RabbitMq, Target::Postgres).await,
    }
}

async fn end(faults: &Faults, way: Way, resumed: &mut Resumed) -> anyhow::Result<()> {
    match way {
        Way::RabbitMqKilled => {
            let (started, took) = tokio::join!(faults.start(Target::RabbitMq), publishing(faults));
            resumed.publishing_ms = resumed.publishing_ms.max(millis(took));
            started
        }
        Way::RabbitMqAlarmed => alarm(faults, false).await,
        Way::RabbitMqSlow | Way::RabbitMqSilent | Way::RabbitMqRefusing => {
            wires(faults, Mode::Open, way == Way::RabbitMqSilent).await
        }
        Way::PostgresKilled => {
            let (started, took) = tokio::join!(faults.start(Target::Postgres), counting(faults));
            resumed.counting_ms = resumed.counting_ms.max(millis(took));
            started?;
            drain_ratio(faults, resumed).await;
            Ok(())
        }
        Way::BothKilled => {
            let (one, other) = tokio::join!(faults.start(Target::RabbitMq), faults.start(Target::Postgres));
            one.and(other)
        }
    }
}

async fn alarm(faults: &Faults, on: bool) -> anyhow::Result<()> {
    System::with(&faults.system.rabbitmq, move |server| server.set_short_of_memory(on)).await??;
    if on {
        faults.note("memory alarm of RabbitMQ");
    }
    Ok(())
}

/// Sets what the proxies between the APIs and RabbitMQ do, and optionally cuts their connections.
async fn wires(faults: &Faults, mode: Mode, cut: bool) -> anyhow::Result<()> {
    for number in 0..EACH {
        let slot = faults.system.slot_of(Target::Api(number)).context("no such service")?.lock().await;
        slot.to_rabbitmq.set(mode);
        if cut {
            slot.to_rabbitmq.cut();
        }
    }
    Ok(())
}

/// The time from RabbitMQ listening until every API publishes.
async fn publishing(faults: &Faults) -> Duration {
    until(async || TcpStream::connect(faults.system.amqp).await.is_ok()).await;
    let since = Instant::now();
    for api in &faults.system.api_addresses {
        until(async || broker_works(*api).await).await;
    }
    since.elapsed()
}

/// The time from Postgres accepting connections until more events are accounted for than before the outage.
async fn counting(faults: &Faults) -> Duration {
    let before = faults.settled.load(Ordering::Relaxed);
    until(async || Session::open(&faults.system.database).await.is_ok()).await;
    let since = Instant::now();
    until(async || {
        faults.system.settled().await.is_ok_and(|now| u64::try_from(now).unwrap_or_default() > before)
    })
    .await;
    since.elapsed()
}

/// Events counted while a backlog drains, divided by events accepted meanwhile.
async fn drain_ratio(faults: &Faults, resumed: &mut Resumed) {
    let (accepted_before, settled_before) = (accepted(faults), faults.settled.load(Ordering::Relaxed));
    let began = Instant::now();
    caught_up(faults).await;
    let arrived = accepted(faults).saturating_sub(accepted_before);
    let drained = faults.settled.load(Ordering::Relaxed).saturating_sub(settled_before);
    // Without a backlog there is nothing to measure.
    if began.elapsed() > Duration::from_millis(100) && arrived > 0 {
        let ratio = drained as f64 / arrived as f64;
        resumed.drain_ratio = Some(resumed.drain_ratio.map_or(ratio, |least| least.min(ratio)));
    }
}

/// Events accepted per second, over a period.
async fn rate(faults: &Faults, time: Duration) -> f64 {
    let before = accepted(faults);
    let began = Instant::now();
    tokio::time::sleep(time).await;
    accepted(faults).saturating_sub(before) as f64 / began.elapsed().as_secs_f64()
}

/// Waits until accepted events are accounted for, except for those in flight.
async fn caught_up(faults: &Faults) {
    until(async || accepted(faults) < faults.settled.load(Ordering::Relaxed) + ON_THEIR_WAY).await;
}

async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + GOES_ON_MAX;
    while !is_so().await && Instant::now() < deadline {
        tokio::time::sleep(POLL).await;
    }
}

async fn broker_works(api: SocketAddr) -> bool {
    let Some((_, body)) = fetch(api, "/readyz").await else { return false };
    let parsed: serde_json::Value = serde_json::from_str(&body).unwrap_or_default();
    parsed.pointer("/parts/broker/works") == Some(&serde_json::Value::Bool(true))
}

fn accepted(faults: &Faults) -> u64 {
    faults.progress.accepted.load(Ordering::Relaxed)
}

fn not_accepted(faults: &Faults) -> u64 {
    let progress = &faults.progress;
    progress.refused.load(Ordering::Relaxed) + progress.unknown.load(Ordering::Relaxed)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
