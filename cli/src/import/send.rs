//! Sends views to the API in full batches, several requests at a time, and collects the answers.

use std::mem;
use std::sync::Arc;

use anyhow::ensure;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::api::{Api, BatchAnswer, Event};
use super::blogs::Blogs;
use super::reason::LeftOut;
use super::view::View;

/// The size and number of requests.
#[derive(Debug, Clone, Copy, clap::Args)]
pub(super) struct Load {
    /// Views of one request
    #[arg(long, value_name = "VIEWS", default_value_t = 1000, value_parser = clap::value_parser!(u16).range(1..=1000))]
    batch: u16,
    /// Concurrent requests
    #[arg(long, value_name = "REQUESTS", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,
}

impl Load {
    /// Views of one request.
    pub(super) fn batch(self) -> usize {
        self.batch.into()
    }

    /// Concurrent requests.
    pub(super) fn connections(self) -> usize {
        self.connections.into()
    }
}

/// The results of the views.
#[derive(Debug, Default)]
pub(super) struct Sent {
    pub(super) counted: u64,
    /// Counted before.
    pub(super) repeat: u64,
    /// Counted or repeats, on the message path.
    pub(super) accepted: u64,
    /// Not sent, because of --dry-run.
    pub(super) unsent: u64,
    pub(super) left_out: LeftOut,
    pub(super) blogs_made: u64,
}

/// Sends every view and waits for every answer. `sent` holds the results so far, even after a failure.
///
/// # Errors
/// The error of the API.
pub(super) async fn send(
    api: Arc<Api>,
    blogs: &mut Blogs,
    mut views: mpsc::Receiver<Vec<View>>,
    load: Load,
    sent: &mut Sent,
) -> anyhow::Result<()> {
    let mut requests = JoinSet::new();
    let mut waiting = Vec::new();
    while let Some(views) = views.recv().await {
        blogs.learn(&api, views.iter().map(|view| view.source_path.as_str()).collect()).await?;
        for view in views {
            match blogs.of(&view.source_path) {
                Ok(blog_id) => waiting.push(event(blog_id, &view)),
                Err(reason) => sent.left_out.add(reason),
            }
            if waiting.len() == load.batch() {
                sent.take(&mut requests, load.connections() - 1).await?;
                requests.spawn(one(Arc::clone(&api), mem::take(&mut waiting)));
            }
        }
    }
    if !waiting.is_empty() {
        requests.spawn(one(api, waiting));
    }
    sent.take(&mut requests, 0).await
}

/// Receives the views without sending them, and returns their number.
pub(super) async fn count(mut views: mpsc::Receiver<Vec<View>>, sent: &mut Sent) {
    while let Some(views) = views.recv().await {
        sent.unsent += views.len() as u64;
    }
}

async fn one(api: Arc<Api>, events: Vec<Event>) -> anyhow::Result<BatchAnswer> {
    let answer = api.engage(&events).await?;
    let known = answer.counted.zip(answer.repeat).map(|(counted, repeat)| counted + repeat);
    let answered = answer.accepted + answer.rejected.len() as u64;
    ensure!(
        answered == events.len() as u64 && known.is_none_or(|known| known == answer.accepted),
        "the answer of the Blogs API does not add up: {} events were sent, {} accepted ({:?} counted, {:?} repeat), {} \
         rejected",
        events.len(),
        answer.accepted,
        answer.counted,
        answer.repeat,
        answer.rejected.len()
    );
    Ok(answer)
}

fn event(blog_id: i64, view: &View) -> Event {
    Event {
        r#type: "blog.viewed",
        blog_id,
        visitor: format!("{:032x}", view.visitor),
        occurred_at: view.time,
        key: format!("{:032x}", view.key),
    }
}

impl Sent {
    /// Collects answers until at most `under_way_max` requests are in flight.
    async fn take(
        &mut self,
        requests: &mut JoinSet<anyhow::Result<BatchAnswer>>,
        under_way_max: usize,
    ) -> anyhow::Result<()> {
        while requests.len() > under_way_max
            && let Some(answer) = requests.join_next().await
        {
            self.add(answer??);
        }
        Ok(())
    }

    fn add(&mut self, answer: BatchAnswer) {
        match answer.counted.zip(answer.repeat) {
            Some((counted, repeat)) => {
                self.counted += counted;
                self.repeat += repeat;
            }
            None => self.accepted += answer.accepted,
        }
        for rejected in answer.rejected {
            self.left_out.add(rejected.reason);
        }
    }
}
