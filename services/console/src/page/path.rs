//! The card of a write path: its rate, its latency, and how its events reach the database.

use events::WritePath;
use maud::{Markup, html};

use crate::number::{count, or_dash, plain, seconds};
use crate::picture::{KEPT, Message, Path, Picture};
use crate::plot;

/// The description of a path.
pub(super) struct About {
    path: WritePath,
    pub(super) place: &'static str,
    how: &'static str,
}

impl About {
    pub(super) fn name(&self) -> &'static str {
        self.path.name()
    }
}

pub(super) const ABOUT: [About; 3] = [
    About {
        path: WritePath::Message,
        place: "path-message",
        how: "Through RabbitMQ; workers count in batches. The API answers once RabbitMQ has confirmed the event.",
    },
    About {
        path: WritePath::Direct,
        place: "path-direct",
        how: "One transaction per request. The API answers once the event is counted.",
    },
    About {
        path: WritePath::DirectBatched,
        place: "path-direct-batched",
        how: "Waiting requests share a transaction. The API answers once the event is counted.",
    },
];

/// The card of a path. The rate is its largest number; the plot below shows the rate over the last two minutes.
pub(super) fn card(picture: &Picture, about: &About) -> Markup {
    let none = Path::default();
    let path = picture.paths.iter().find(|path| path.name == about.name()).unwrap_or(&none);
    let rate = path.accepted.last().copied().flatten();
    let highest = path.accepted.iter().flatten().copied().fold(0.0, f64::max);
    // All cards share one scale, so that they can be compared.
    let scale =
        picture.paths.iter().flat_map(|path| path.accepted.iter().flatten()).copied().fold(10.0, f64::max);
    let label = format!(
        "{}: events accepted per second over two minutes; now {}, highest {}",
        about.name(),
        or_dash(rate, plain),
        plain(highest)
    );
    let [half, most, nearly_all] = path.accept_s;
    html! {
        h3 { (about.name()) }
        p.how { (about.how) }
        p.rate { b data-value="rate" { (or_dash(rate, plain)) } " events/s" }
        (plot::line(&path.accepted, KEPT - 1, scale, &label))
        p.scale { "highest " (plain(highest)) " · scale to " (plain(scale)) }
        dl.facts {
            (fact("accepted in", html! {
                b { (or_dash(half, seconds)) } span.unit { "\u{a0}p50" } " "
                b { (or_dash(most, seconds)) } span.unit { "\u{a0}p95" } " "
                b { (or_dash(nearly_all, seconds)) } span.unit { "\u{a0}p99" }
            }))
            (fact("commits", html! {
                b { (or_dash(path.commits, plain)) } "/s "
                span.unit { "of " } b { (or_dash(path.events_per_commit, plain)) } span.unit { " events" }
            }))
            @if about.path == WritePath::Message { (message(&picture.message)) }
            @else { (fact("visible", html! { "on response" })) }
            (fact("accepted", html! { b data-value="accepted" { (or_dash(path.accepted_total, |n| plain(n.round()))) } }))
        }
    }
}

fn message(message: &Message) -> Markup {
    let depth = message.depths.map(|depths| i64::from(depths.engagement));
    let deepest = message.depth.iter().flatten().copied().fold(0.0, f64::max);
    let label = format!(
        "envelopes in the queue over two minutes; now {}, highest {}",
        or_dash(depth, count),
        plain(deepest)
    );
    let [half, nearly_all] = message.freshness_s;
    html! {
        (fact("visible after", html! {
            b { (or_dash(half, seconds)) } span.unit { "\u{a0}p50" } " " b { (or_dash(nearly_all, seconds)) } span.unit { "\u{a0}p99" }
        }))
        (fact("envelope", html! { b { (or_dash(message.events_per_envelope, plain)) } " events" }))
        (fact("batch", html! { b { (or_dash(message.envelopes_per_batch, plain)) } " envelopes" }))
        (fact("queue", html! {
            b data-value="depth" { (or_dash(depth, count)) } " envelopes"
            (plot::line(&message.depth, KEPT - 1, 4.0, &label))
        }))
        (fact("outbox", html! { b data-value="outbox" { (or_dash(message.outbox, plain)) } " envelopes" }))
    }
}

fn fact(name: &str, value: Markup) -> Markup {
    html! { div { dt { (name) } dd { (value) } } }
}
