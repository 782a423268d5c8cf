//! A bounded load that an operator starts: views by new visitors, sent to the Blogs API as ordinary requests, one write
//! path after another, so that the cost of each path can be compared. Only one load runs at a time.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::load::{Ask, Pace, Progress, Spread, Tally};
use events::WritePath;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::rates::{grown, transactions};
use crate::sample::{Sample, Sampler};
use crate::scrape::addresses;
use crate::settings::LoadSettings;

/// How long the workers may take to count what was accepted, and the interval at which the console checks.
const COUNTED_WITHIN: Duration = Duration::from_secs(30);
const COUNTED_POLL: Duration = Duration::from_millis(100);
/// The pause of a sender after a refusal.
const REFUSED_PAUSE: Duration = Duration::from_millis(100);
/// Timeout for a connection to the Blogs API.
const CONNECTED_WITHIN: Duration = Duration::from_secs(2);
/// Timeout for a response; longer than any response of the API takes.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// The load that an operator requests.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// A write path, or `each` for all paths in turn.
    pub(crate) path: String,
    pub(crate) seconds: u32,
    pub(crate) senders: u32,
}

/// Starts and stops loads; clones share the state.
#[derive(Debug, Clone)]
pub(crate) struct Load {
    settings: LoadSettings,
    sampler: Sampler,
    client: reqwest::Client,
    state: Arc<Mutex<State>>,
    tasks: TaskTracker,
    shutdown: CancellationToken,
}

#[derive(Debug, Default)]
struct State {
    stop: Option<CancellationToken>,
    status: Status,
    /// The progress of the current path.
    progress: Arc<Progress>,
}

/// The state of the running load, or the result of the last one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub(crate) is_running: bool,
    /// Why the load failed.
    pub(crate) failure: Option<String>,
    pub(crate) runs: Vec<Run>,
}

/// The part of a load on one write path.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) path: WritePath,
    pub(crate) phase: Phase,
    pub(crate) seconds: u32,
    pub(crate) senders: u32,
    /// Accepted events, and requests that were refused or failed.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// The reason for the first refusal or failure.
    pub(crate) refusal: Option<String>,
    /// How long requests were sent.
    pub(crate) sent_s: f64,
    /// Time to accept a request: p50 and p99, in seconds.
    pub(crate) accept_s: [Option<f64>; 2],
    /// Seconds from the last response until everything was counted.
    pub(crate) counted_s: Option<f64>,
    pub(crate) commits: Option<f64>,
    /// Bytes of WAL that the whole server wrote during this time.
    pub(crate) wal_bytes: Option<f64>,
}

impl Run {
    fn waiting(path: WritePath, order: &Order) -> Self {
        Self {
            path,
            phase: Phase::Waiting,
            seconds: order.seconds,
            senders: order.senders,
            accepted: 0,
            refused: 0,
            refusal: None,
            sent_s: 0.0,
            accept_s: [None; 2],
            counted_s: None,
            commits: None,
            wal_bytes: None,
        }
    }
}

/// The phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Another path runs first.
    Waiting,
    /// Requests are being sent.
    Sending,
    /// The workers are counting the accepted events.
    Counting,
    /// The run has ended.
    Done,
}

impl Load {
    pub(crate) fn new(
        settings: &LoadSettings,
        sampler: Sampler,
        client: reqwest::Client,
        tasks: TaskTracker,
        shutdown: CancellationToken,
    ) -> Self {
        let settings = settings.clone();
        Self { settings, sampler, client, state: Arc::default(), tasks, shutdown }
    }

    /// The limits of a load, if loads are enabled.
    pub(crate) fn settings(&self) -> Option<&LoadSettings> {
        Some(&self.settings).filter(|settings| settings.enabled)
    }

    /// The current state.
    pub(crate) fn status(&self) -> Status {
        let state = self.lock();
        let mut status = state.status.clone();
        for run in status.runs.iter_mut().filter(|run| run.phase == Phase::Sending) {
            run.accepted = state.progress.accepted.load(Ordering::Relaxed);
            run.refused = state.progress.failed.load(Ordering::Relaxed);
        }
        status
    }

    /// Starts a load.
    ///
    /// # Errors
    /// The reason why the load cannot start.
    pub(crate) fn start(&self, order: &Order) -> Result<(), String> {
        let settings = self.settings().ok_or("loads are disabled; set load.enabled to allow them")?;
        let all = WritePath::ALL.into_iter();
        let paths: Vec<WritePath> =
            all.filter(|path| order.path == "each" || order.path == path.name()).collect();
        if paths.is_empty() {
            return Err(format!("the path must be `each` or one of {}", WritePath::NAMES.join(", ")));
        }
        for (name, value, max) in [
            ("seconds", order.seconds, settings.seconds_max),
            ("senders", order.senders, settings.senders_max),
        ] {
            if !(1..=max).contains(&value) {
                return Err(format!("{name} must be between 1 and {max}"));
            }
        }
        let stop = self.shutdown.child_token();
        let mut state = self.lock();
        if state.status.is_running {
            return Err("a load is running; stop it first".to_owned());
        }
        let runs = paths.iter().map(|path| Run::waiting(*path, order)).collect();
        *state = State {
            stop: Some(stop.clone()),
            status: Status { is_running: true, failure: None, runs },
            progress: Arc::default(),
        };
        drop(state);
        let load = self.clone();
        self.tasks.spawn(async move {
            let failure = load.run(paths.len(), &stop).await.err();
            let mut state = load.lock();
            state.status.is_running = false;
            state.status.failure = failure;
        });
        Ok(())
    }

    /// Stops the running load, if there is one.
    pub(crate) fn stop(&self) {
        if let Some(stop) = &self.lock().stop {
            stop.cancel();
        }
    }

    async fn run(&self, runs: usize, stop: &CancellationToken) -> Result<(), String> {
        let blog_id = self.blog_id().await?;
        let target = self.target().await?;
        for place in 0..runs {
            if stop.is_cancelled() {
                return Err("stopped".to_owned());
            }
            self.one(place, target, blog_id, stop).await?;
        }
        Ok(())
    }

    /// Runs one path: sends, waits until everything is counted, and computes the cost.
    async fn one(
        &self,
        place: usize,
        target: SocketAddr,
        blog_id: i64,
        stop: &CancellationToken,
    ) -> Result<(), String> {
        let Some(Run { path, seconds, senders, .. }) = self.lock().status.runs.get(place).cloned() else {
            return Ok(());
        };
        let before = self.sampler.take().await;
        let progress = Arc::new(Progress::default());
        self.lock().progress = Arc::clone(&progress);
        self.change(place, |run| run.phase = Phase::Sending);
        let load = ::load::Load {
            target,
            anywhere: true,
            connections: usize::try_from(senders).unwrap_or(usize::MAX),
            duration: Duration::from_secs(seconds.into()),
            ask: Ask::View(path),
            pace: Pace::Closed { think: Duration::ZERO },
            blogs: vec![blog_id],
            spread: Spread::Hot,
            answer_max: ANSWER_WITHIN,
            refused_pause: REFUSED_PAUSE,
            progress: Some(progress),
            keep_times: false,
        };
        let tally = load.run(stop).await.map_err(|error| error.to_string())?;
        let accepted = tally.accepted;
        self.change(place, |run| {
            run.phase = Phase::Counting;
            run.accepted = accepted;
            run.refused = refused(&tally);
            run.refusal = refusal(&tally);
            run.sent_s = tally.elapsed.as_secs_f64();
            let at = |share| (accepted > 0).then(|| tally.latency(share).as_secs_f64());
            run.accept_s = [at(0.5), at(0.99)];
        });
        let (after, counted_s) = self.counted(&before, path, accepted, stop).await;
        self.change(place, |run| {
            run.phase = Phase::Done;
            run.counted_s = counted_s;
            run.commits = transactions(&before, &after, path).map(|batches| batches.count());
            let wal =
                |sample: &Sample| sample.database.as_ref().ok().map(|database| database.wal_bytes as f64);
            run.wal_bytes = wal(&after).zip(wal(&before)).map(|(after, before)| after - before);
        });
        Ok(())
    }

    /// Waits until the workers have counted as many events as were accepted. On the direct paths, they are already
    /// counted.
    async fn counted(
        &self,
        before: &Sample,
        path: WritePath,
        accepted: u64,
        stop: &CancellationToken,
    ) -> (Sample, Option<f64>) {
        let begun = Instant::now();
        loop {
            let now = self.sampler.take().await;
            if path != WritePath::Message {
                return (now, Some(0.0));
            }
            let counted = grown(&before.worker, &now.worker, |samples| {
                samples.sum("commonplace_worker_events_total", &[])
            });
            if counted.is_some_and(|counted| counted >= accepted as f64) {
                return (now, Some(begun.elapsed().as_secs_f64()));
            }
            if begun.elapsed() > COUNTED_WITHIN || self.shutdown.is_cancelled() {
                return (now, None);
            }
            tokio::select! {
                () = sleep(COUNTED_POLL) => {}
                () = stop.cancelled() => return (now, None),
            }
        }
    }

    /// The first address of the Blogs API that accepts a connection.
    async fn target(&self) -> Result<SocketAddr, String> {
        for address in addresses(&self.settings.api).await {
            if matches!(timeout(CONNECTED_WITHIN, TcpStream::connect(address)).await, Ok(Ok(_))) {
                return Ok(address);
            }
        }
        Err("the Blogs API accepts no connections".to_owned())
    }

    async fn blog_id(&self) -> Result<i64, String> {
        if self.settings.blog_id > 0 {
            return Ok(self.settings.blog_id);
        }
        let address = format!("{}/v1/blogs?limit=1", self.settings.api.trim_end_matches('/'));
        let asked = async {
            let answer = self.client.get(address).timeout(ANSWER_WITHIN).send().await?.error_for_status()?;
            answer.json::<serde_json::Value>().await
        };
        let page = asked.await.map_err(|_| "the Blogs API did not return its newest blog".to_owned())?;
        page.pointer("/items/0/id")
            .and_then(serde_json::Value::as_i64)
            .ok_or_else(|| "there is no blog to view yet".to_owned())
    }

    fn change(&self, place: usize, change: impl FnOnce(&mut Run)) {
        if let Some(run) = self.lock().status.runs.get_mut(place) {
            change(run);
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Number of requests that were not accepted.
fn refused(tally: &Tally) -> u64 {
    tally.refused_total() + tally.unknown + tally.unopened
}

/// The reason for the first of them.
fn refusal(tally: &Tally) -> Option<String> {
    if let Some((status, body)) = &tally.refusal {
        let problem: Option<serde_json::Value> = serde_json::from_slice(body).ok();
        let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str()).unwrap_or_default();
        return Some(format!("{status} {detail}"));
    }
    let unopened = || (tally.unopened > 0).then(|| "the Blogs API accepts no connections".to_owned());
    tally.broken.clone().or_else(unopened)
}
