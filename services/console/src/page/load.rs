//! The form that starts a load, and its results, one column per path.

use events::WritePath;
use maud::{Markup, html};

use super::path::ABOUT;
use crate::load::{Phase, Run, Status};
use crate::number::{bytes, or_dash, plain, seconds};
use crate::settings::LoadSettings;

/// The form. It stays unchanged while the rest of the page is updated.
pub(super) fn form(settings: &LoadSettings, refusal: &str) -> Markup {
    html! {
        section #load aria-labelledby="load-title" {
            h2 #load-title { "Try it" }
            p.quiet { "Sends views by new visitors to the Blogs API, as browsers do. They are real views and count." }
            div.loads {
            form.load method="post" action="/load" {
                span.field { label for="seconds" { "seconds per path" }
                    input #seconds name="seconds" type="number" inputmode="numeric" min="1" max=(settings.seconds_max) value=(settings.seconds_max.min(8)) required; }
                span.field { label for="senders" { "concurrent requests" }
                    input #senders name="senders" type="number" inputmode="numeric" min="1" max=(settings.senders_max) value=(settings.senders_max.min(32)) required; }
                span.buttons {
                    button.main type="submit" name="path" value="each" { "All paths in turn" }
                    @for about in &ABOUT { button type="submit" name="path" value=(about.name()) { (about.name()) } }
                }
            }
            form.load method="post" action="/load/stop" { button type="submit" { "Stop" } }
            }
            p #said.refusal role="status" { (refusal) }
        }
    }
}

/// The results of the running or the last load, one column per path.
pub(super) fn runs(status: &Status) -> Markup {
    if status.runs.is_empty() {
        return html! {};
    }
    html! {
        @if let Some(failure) = &status.failure { p.refusal { (failure) } }
        div.scroll tabindex="0" role="group" aria-label="Results of the load" {
            table {
                thead { tr { th scope="col" { "path" } @for run in &status.runs { th scope="col" { (run.path.name()) } } } }
                tbody {
                    (row("", &status.runs, |run| html! { span.state { (phase(run)) } }))
                    (row("accepted", &status.runs, |run| html! { b data-run=(run.path.name()) data-value="accepted" { (plain(run.accepted as f64)) } }))
                    (row("refused", &status.runs, |run| html! {
                        (plain(run.refused as f64)) @if let Some(refusal) = &run.refusal { span.quiet { " " (refusal) } }
                    }))
                    (row("events/s", &status.runs, |run| html! { b { (or_dash(rate(run), plain)) } }))
                    (row("accepted in, p50", &status.runs, |run| html! { (or_dash(run.accept_s[0], seconds)) }))
                    (row("accepted in, p99", &status.runs, |run| html! { (or_dash(run.accept_s[1], seconds)) }))
                    (row("all counted after", &status.runs, |run| html! { (counted(run)) }))
                    (row("commits per 1000 events", &status.runs, |run| html! { (or_dash(each(run, run.commits).map(|n| n * 1000.0), plain)) }))
                    (row("WAL per event", &status.runs, |run| html! { (or_dash(each(run, run.wal_bytes), bytes)) }))
                }
            }
        }
        p.quiet { "WAL is what the whole server wrote during the run, so other activity is included." }
    }
}

fn row(name: &str, runs: &[Run], cell: impl Fn(&Run) -> Markup) -> Markup {
    html! { tr { th scope="row" { (name) } @for run in runs { td { (cell(run)) } } } }
}

fn phase(run: &Run) -> String {
    match run.phase {
        Phase::Waiting => "waiting".to_owned(),
        Phase::Sending => format!("sending for {} s with {} senders", run.seconds, run.senders),
        Phase::Counting => "counting".to_owned(),
        Phase::Done => "done".to_owned(),
    }
}

/// On the direct paths, an accepted event is already counted.
fn counted(run: &Run) -> String {
    if run.path == WritePath::Message {
        return or_dash(run.counted_s, seconds);
    }
    or_dash(run.counted_s, |_| "on response".to_owned())
}

fn rate(run: &Run) -> Option<f64> {
    (run.sent_s > 0.0).then(|| run.accepted as f64 / run.sent_s)
}

fn each(run: &Run, whole: Option<f64>) -> Option<f64> {
    whole.filter(|_| run.accepted > 0).map(|whole| whole / run.accepted as f64)
}
