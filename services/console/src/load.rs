//! A bounded load, started by hand: views by new visitors, sent to the Blogs API as any reader would, path by path, so that
//! what each costs can be told apart. One at a time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use events::WritePath;
use hdrhistogram::Histogram;
use serde::Deserialize;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

use crate::rates::{grown, transactions};
use crate::sample::{Sample, Sampler};
use crate::settings::LoadSettings;

/// How long the workers may take to count what was accepted, and how often that is looked at.
const COUNTED_WITHIN: Duration = Duration::from_secs(30);
const COUNTED_POLL: Duration = Duration::from_millis(100);
/// Times are kept in microseconds, up to a minute.
const TIME_MAX_US: u64 = 60_000_000;
/// Longer than any answer that the API gives.
const ANSWER_WITHIN: Duration = Duration::from_secs(20);

/// What is asked for.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    /// A path, or `each`: all of them in turn.
    pub(crate) path: String,
    pub(crate) seconds: u32,
    pub(crate) senders: u32,
}

/// Starts loads; clones are the same.
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
    /// Of the path whose turn it is.
    tally: Arc<Tally>,
}

/// How far the load has got, or how the last one went.
#[derive(Debug, Clone, Default)]
pub(crate) struct Status {
    pub(crate) is_running: bool,
    /// Why there is none.
    pub(crate) failure: Option<String>,
    pub(crate) runs: Vec<Run>,
}

/// One path's turn.
#[derive(Debug, Clone)]
pub(crate) struct Run {
    pub(crate) path: WritePath,
    pub(crate) phase: Phase,
    pub(crate) seconds: u32,
    pub(crate) senders: u32,
    /// Events that were accepted, and requests that were answered otherwise or not at all.
    pub(crate) accepted: u64,
    pub(crate) refused: u64,
    /// What the first of these was told.
    pub(crate) refusal: Option<String>,
    /// How long it sent.
    pub(crate) sent_s: f64,
    /// Seconds until half, and 99 of 100, were answered.
    pub(crate) accept_s: [Option<f64>; 2],
    /// Seconds from the last answer until everything was counted.
    pub(crate) counted_s: Option<f64>,
    pub(crate) commits: Option<f64>,
    /// Bytes of WAL of the whole server meanwhile.
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

/// What a run is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Another path has its turn.
    Waiting,
    /// Requests are sent.
    Sending,
    /// What was accepted is being counted.
    Counting,
    /// It is over.
    Done,
}

/// What the senders of a run have in common.
#[derive(Debug, Default)]
struct Tally {
    accepted: AtomicU64,
    refused: AtomicU64,
    refusal: Mutex<Option<String>>,
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

    /// What may be asked for, where anything may.
    pub(crate) fn settings(&self) -> Option<&LoadSettings> {
        Some(&self.settings).filter(|settings| settings.enabled)
    }

    /// How far it has got.
    pub(crate) fn status(&self) -> Status {
        let state = self.lock();
        let mut status = state.status.clone();
        for run in status.runs.iter_mut().filter(|run| run.phase == Phase::Sending) {
            run.accepted = state.tally.accepted.load(Ordering::Relaxed);
            run.refused = state.tally.refused.load(Ordering::Relaxed);
        }
        status
    }

    /// Starts.
    ///
    /// # Errors
    /// A sentence that says why not.
    pub(crate) fn start(&self, order: &Order) -> Result<(), String> {
        let settings = self.settings().ok_or("loads are not enabled here (load.enabled)")?;
        let all = WritePath::ALL.into_iter();
        let paths: Vec<WritePath> =
            all.filter(|path| order.path == "each" || order.path == path.name()).collect();
        if paths.is_empty() {
            return Err(format!("the path must be each or one of {}", WritePath::NAMES.join(", ")));
        }
        for (name, value, max) in [
            ("seconds", order.seconds, settings.seconds_max),
            ("senders", order.senders, settings.senders_max),
        ] {
            if !(1..=max).contains(&value) {
                return Err(format!("{name} must be from 1 to {max}"));
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
            tally: Arc::default(),
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

    /// Ends the load that is running, if there is one.
    pub(crate) fn stop(&self) {
        if let Some(stop) = &self.lock().stop {
            stop.cancel();
        }
    }

    async fn run(&self, runs: usize, stop: &CancellationToken) -> Result<(), String> {
        let blog_id = self.blog_id().await?;
        for place in 0..runs {
            if stop.is_cancelled() {
                return Err("stopped".to_owned());
            }
            self.one(place, blog_id, stop).await;
        }
        Ok(())
    }

    /// One path's turn: sends, waits until all of it is counted, and reckons what it cost.
    async fn one(&self, place: usize, blog_id: i64, stop: &CancellationToken) {
        let Some(Run { path, seconds, senders, .. }) = self.lock().status.runs.get(place).cloned() else {
            return;
        };
        let before = self.sampler.take().await;
        let tally = Arc::new(Tally::default());
        self.lock().tally = Arc::clone(&tally);
        self.change(place, |run| run.phase = Phase::Sending);
        let begun = Instant::now();
        let deadline = begun + Duration::from_secs(seconds.into());
        let mut tasks = JoinSet::new();
        for _ in 0..senders {
            let address = format!("{}/v1/blogs/{blog_id}/views", self.settings.api.trim_end_matches('/'));
            tasks.spawn(send(self.client.clone(), address, path, deadline, stop.clone(), Arc::clone(&tally)));
        }
        let mut all = times();
        while let Some(ended) = tasks.join_next().await {
            if let (Some(all), Ok(Some(own))) = (&mut all, ended) {
                // They have the same bounds.
                let _always = all.add(own);
            }
        }
        let accepted = tally.accepted.load(Ordering::Relaxed);
        self.change(place, |run| {
            run.phase = Phase::Counting;
            run.accepted = accepted;
            run.refused = tally.refused.load(Ordering::Relaxed);
            run.refusal = tally.refusal.lock().unwrap_or_else(PoisonError::into_inner).clone();
            run.sent_s = begun.elapsed().as_secs_f64();
            let all = all.filter(|times| !times.is_empty());
            let at = |share| all.as_ref().map(|times| times.value_at_quantile(share) as f64 / 1e6);
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
    }

    /// Waits until the workers have counted as many events as were accepted. On the direct paths that is so already.
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

    async fn blog_id(&self) -> Result<i64, String> {
        if self.settings.blog_id > 0 {
            return Ok(self.settings.blog_id);
        }
        let address = format!("{}/v1/blogs?limit=1", self.settings.api.trim_end_matches('/'));
        let asked = async {
            let answer = self.client.get(address).timeout(ANSWER_WITHIN).send().await?.error_for_status()?;
            answer.json::<serde_json::Value>().await
        };
        let page =
            asked.await.map_err(|_| "the Blogs API does not say which blog is the newest".to_owned())?;
        page.pointer("/items/0/id")
            .and_then(serde_json::Value::as_i64)
            .ok_or_else(|| "there is no blog yet".to_owned())
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

/// One sender: the next view goes out when the last was answered.
async fn send(
    client: reqwest::Client,
    address: String,
    path: WritePath,
    deadline: Instant,
    stop: CancellationToken,
    tally: Arc<Tally>,
) -> Option<Histogram<u64>> {
    let mut times = times();
    while Instant::now() < deadline && !stop.is_cancelled() {
        let view = serde_json::json!({ "visitor": Uuid::now_v7().to_string() });
        let request =
            client.post(&address).header("x-write-path", path.name()).timeout(ANSWER_WITHIN).json(&view);
        let begun = Instant::now();
        let refusal = match request.send().await {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(refused(answer).await),
            Err(error) => Some(error.without_url().to_string()),
        };
        match refusal {
            None => {
                let micros = u64::try_from(begun.elapsed().as_micros()).unwrap_or(TIME_MAX_US);
                if let Some(times) = &mut times {
                    times.saturating_record(micros);
                }
                tally.accepted.fetch_add(1, Ordering::Relaxed);
            }
            Some(said) => {
                tally.refused.fetch_add(1, Ordering::Relaxed);
                tally.refusal.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(said);
                // Whoever is refused comes again a little later.
                tokio::select! {
                    () = sleep(COUNTED_POLL) => {}
                    () = stop.cancelled() => {}
                }
            }
        }
    }
    times
}

async fn refused(answer: reqwest::Response) -> String {
    let status = answer.status();
    let problem: Option<serde_json::Value> = answer.json().await.ok();
    let detail = problem.as_ref().and_then(|problem| problem.get("detail")?.as_str()).unwrap_or_default();
    format!("{} {detail}", status.as_u16())
}

/// For times up to a minute, to three digits. With these bounds there is always one.
fn times() -> Option<Histogram<u64>> {
    Histogram::new_with_max(TIME_MAX_US, 3).ok()
}
