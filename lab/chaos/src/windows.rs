//! Crash windows: a process is started repeatedly, under load, so that it crashes at a named place of its code. It counts
//! as a hit only if the process crashed there: it aborts, and nothing else makes it abort.

use std::time::{Duration, Instant};

use anyhow::Context;
use proxy::Mode;

use crate::faults::Faults;
use crate::plan::Target;

/// The exit status of an aborted process, as the guard's shell reports it.
const ABORTED: i32 = 128 + 6;
/// Longest time until a process reaches its fail point.
const DEATH_MAX: Duration = Duration::from_secs(15);
/// Attempts for each hit: a zombie without deliveries, or a checkpoint that ended earlier, is not a hit.
const TRIES: u32 = 4;
const ZOMBIE: &str = "zombie worker resumed after redelivery";
const CHECKPOINT: &str = "Postgres killed in a checkpoint";
/// How long a worker may take to apply the envelopes on which its predecessors crashed.
const FORGIVEN_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// How long the outbox fills for the relay's window.
const FILLING: Duration = Duration::from_millis(400);

/// The condition for reaching a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// The API has no RabbitMQ.
    RabbitMqAway,
    /// The outbox has envelopes, and only this API can relay them.
    OutboxFilled,
}

const WINDOWS: [(&str, Target, When); 10] = [
    ("api-after-enqueue", Target::Api(0), When::Always),
    ("api-after-write", Target::Api(0), When::Always),
    ("api-after-confirm", Target::Api(0), When::Always),
    ("api-after-spill", Target::Api(0), When::RabbitMqAway),
    ("relay-after-publish", Target::Api(0), When::OutboxFilled),
    ("worker-after-receive", Target::Worker(0), When::Always),
    ("worker-mid-batch", Target::Worker(0), When::Always),
    ("worker-in-commit", Target::Worker(0), When::Always),
    ("worker-after-commit", Target::Worker(0), When::Always),
    ("worker-after-ack", Target::Worker(0), When::Always),
];

/// Names of the windows in the report.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    WINDOWS.iter().map(|(name, ..)| *name).chain([ZOMBIE, CHECKPOINT])
}

/// Hits each window a number of times.
pub(crate) async fn run(
    faults: &Faults,
    hits: u32,
    progress: &mut (dyn FnMut(&str) + Send),
) -> anyhow::Result<()> {
    if hits == 0 {
        return Ok(());
    }
    for (name, target, when) in WINDOWS {
        progress(&format!("crash window {name}, {hits} times"));
        for _ in 0..hits {
            hit(faults, name, target, when).await.with_context(|| format!("in the crash window {name}"))?;
            if let Target::Worker(_) = target {
                forgiven(faults, target).await?;
            }
        }
        if let Target::Api(_) = target {
            let mut slot = faults.system.slot_of(target).context("no such service")?.lock().await;
            slot.to_rabbitmq.set(Mode::Open);
            slot.start(None).await?;
            set_other(faults, Mode::Open).await?;
        }
    }
    progress(&format!("a zombie worker, {hits} times"));
    let is_hit = |name| faults.done().get(name).map_or(0, |done| done.under_way) >= u64::from(hits);
    for n in 0..hits * TRIES {
        if is_hit(ZOMBIE) {
            break;
        }
        faults.zombie(usize::from(n % 2 == 1)).await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    progress(&format!("Postgres killed in a checkpoint, {hits} times"));
    for _ in 0..hits * TRIES {
        if is_hit(CHECKPOINT) {
            break;
        }
        faults.kill_in_checkpoint().await?;
        // Gives the next checkpoint pages to write.
        tokio::time::sleep(FILLING).await;
    }
    Ok(())
}

/// Lets the worker run until it has applied the envelopes on which its predecessors crashed. Otherwise an envelope on which
/// three workers in a row crash would rightly be parked, because it looks like the cause.
async fn forgiven(faults: &Faults, target: Target) -> anyhow::Result<()> {
    faults.system.slot_of(target).context("no such service")?.lock().await.start(None).await?;
    let deadline = Instant::now() + FORGIVEN_MAX;
    while faults.system.attempts().await? > 0 {
        if Instant::now() > deadline {
            faults.differs(format!("{target} did not come through what its predecessors ended on"));
            break;
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn hit(faults: &Faults, name: &'static str, target: Target, when: When) -> anyhow::Result<()> {
    let mut slot = faults.system.slot_of(target).context("no such service")?.lock().await;
    slot.kill_9().await?;
    match when {
        When::Always => {}
        When::RabbitMqAway => {
            slot.to_rabbitmq.set(Mode::Refuse);
            slot.to_rabbitmq.cut();
        }
        When::OutboxFilled => {
            set_other(faults, Mode::Refuse).await?;
            slot.to_rabbitmq.set(Mode::Open);
            tokio::time::sleep(FILLING).await;
        }
    }
    slot.spawn(Some(name))?;
    let service = slot.service.as_mut().context("it was started")?;
    let status = tokio::time::timeout(DEATH_MAX, service.ended()).await;
    match status {
        Ok(status) if status.as_ref().is_ok_and(|status| status.code() == Some(ABORTED)) => {
            faults.note_as(name, true);
        }
        Ok(status) => {
            faults.differs(format!("{target} ended in the window {name}, but not by it: {status:?}"));
        }
        Err(_) => {
            faults.differs(format!("{target} never came to {name}"));
            slot.kill_9().await?;
        }
    }
    Ok(())
}

/// The other API's access to RabbitMQ.
async fn set_other(faults: &Faults, mode: Mode) -> anyhow::Result<()> {
    let other = faults.system.slot_of(Target::Api(1)).context("no such service")?.lock().await;
    other.to_rabbitmq.set(mode);
    if mode == Mode::Refuse {
        other.to_rabbitmq.cut();
    }
    Ok(())
}
