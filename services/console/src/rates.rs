//! How counters grew between two samples.

use events::WritePath;

use crate::openmetrics::{Histogram, Samples};
use crate::sample::Sample;
use crate::scrape::Scraped;

/// The transactions of a path between two samples, as a histogram of events per transaction. The workers' transactions
/// belong to the message path.
pub(crate) fn transactions(before: &Sample, now: &Sample, path: WritePath) -> Option<Histogram> {
    if path == WritePath::Message {
        let batches = |samples: &Samples| samples.histogram("commonplace_worker_batch_events", &[]);
        return grown_histogram(&before.worker, &now.worker, batches);
    }
    let labels = [("path", path.name())];
    let transactions = |samples: &Samples| samples.histogram("engagement_transaction_events", &labels);
    grown_histogram(&before.api, &now.api, transactions)
}

/// How much a counter grew between two samples of the same processes. `None` if it shrank, because a process has
/// restarted.
pub(crate) fn grown(before: &Scraped, now: &Scraped, number: impl Fn(&Samples) -> f64) -> Option<f64> {
    let (before, now) = same(before, now)?;
    Some(number(now) - number(before)).filter(|grown| *grown >= 0.0)
}

/// As [`grown`], for a histogram.
pub(crate) fn grown_histogram(
    before: &Scraped,
    now: &Scraped,
    histogram: impl Fn(&Samples) -> Histogram,
) -> Option<Histogram> {
    let (before, now) = same(before, now)?;
    let (before, now) = (histogram(before), histogram(now));
    (now.count() >= before.count()).then(|| now.since(&before))
}

fn same<'a>(before: &'a Scraped, now: &'a Scraped) -> Option<(&'a Samples, &'a Samples)> {
    (before.answered == now.answered).then_some(())?;
    Some((before.samples.as_ref()?, now.samples.as_ref()?))
}

/// The growth of a counter between two samples, per second.
pub(crate) fn per_second(
    before: &Sample,
    now: &Sample,
    count: &impl Fn(&Sample, &Sample) -> Option<f64>,
) -> Option<f64> {
    let seconds = now.at.duration_since(before.at).as_secs_f64();
    Some(count(before, now)? / seconds).filter(|rate| rate.is_finite())
}
