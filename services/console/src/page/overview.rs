//! What is there and what is away, both sides of the equation, the database, what was set aside, and fan-outs.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::number::{bytes, count, or_dash, plain};
use crate::picture::{KEPT, Picture, Server};
use crate::plot;
use crate::statistics::{FanOut, Kind, PARKED_MAX};

/// When it was seen.
pub(super) fn clock(picture: &Picture) -> Markup {
    html! {
        @match picture.time {
            Some(time) => time datetime=(time) { (at(time)) " UTC" },
            None => "not yet looked",
        }
    }
}

/// What everything depends on, each with its state in words as well as in colour.
pub(super) fn servers(picture: &Picture) -> Markup {
    html! {
        ul aria-label="Servers and services" {
            @for server in &picture.servers {
                li.away[server.away_since.is_some()] data-server=(server.name) {
                    b { (server.name) } " "
                    span { @if server.away_since.is_some() { "away" } @else { (server.note) } }
                }
            }
        }
    }
}

/// What is away, since when, and what that means.
pub(super) fn outages(picture: &Picture) -> Markup {
    html! {
        @for server in &picture.servers {
            @if let Some(since) = server.away_since {
                div.outage { (outage(server, since, picture)) }
            }
        }
    }
}

fn outage(server: &Server, since: Timestamp, picture: &Picture) -> Markup {
    html! {
        h2 { (server.name) " is away" }
        p {
            "Since " (at(since)) " UTC. " (server.meaning)
            @if server.name == "RabbitMQ" && let Some(outbox) = picture.message.outbox {
                " The outbox holds " (plain(outbox)) " envelopes."
            }
            @if server.name == "Postgres" && let Some(depths) = picture.message.depths {
                " The queue holds " (count(depths.engagement.into())) " envelopes."
            }
        }
        p.reason { (server.note) }
    }
}

/// The equation with its numbers.
pub(super) fn equation(picture: &Picture) -> Markup {
    let Some((asked_at, costly)) = &picture.costly else { return html! { p.quiet { "Not yet asked." } } };
    let equation = &costly.equation;
    let total = equation.total();
    html! {
        p.equation {
            span.term { b data-value="taken-in" { (count(equation.taken_in())) } " taken in" }
            " = " span.term { b data-value="counted" { (count(total.counted)) } " counted" }
            " + " span.term { b { (count(total.repeat)) } " repeated" }
            " + " span.term { b { (count(total.discarded)) } " discarded" }
            " + " span.term { b { (count(total.parked)) } " parked" }
        }
        p.verdict.broken[!equation.holds()] {
            @if equation.holds() { "It holds, to the event." }
            @else {
                "It does not hold: " (count(equation.taken_in() - total.sum())) " events are not accounted for, and of "
                (count(total.parked)) " that are accounted for as parked " (count(total.parked_rows)) " are there."
            }
        }
        div.scroll tabindex="0" role="group" aria-label="By kind" {
            table {
                thead { tr {
                    th scope="col" { "kind" } th scope="col" { "counted" } th scope="col" { "repeated" }
                    th scope="col" { "discarded" } th scope="col" { "parked" }
                } }
                tbody { @for kind in &equation.kinds { (row(kind)) } }
            }
        }
        p.quiet {
            "In one snapshot, as of " (at(*asked_at)) " UTC"
            @if equation.dropped_days > 0 { "; " (count(equation.dropped_days)) " of them in days that have been dropped" }
            "."
        }
    }
}

fn row(kind: &Kind) -> Markup {
    html! {
        tr {
            th scope="row" { (kind.kind) }
            td { (count(kind.counted)) } td { (count(kind.repeat)) } td { (count(kind.discarded)) } td { (count(kind.parked)) }
        }
    }
}

/// Commits, WAL, and whose time it is.
pub(super) fn database(picture: &Picture) -> Markup {
    let database = &picture.database;
    let now = |values: &[Option<f64>]| values.last().copied().flatten();
    let (commits, wal) = (now(&database.commits), now(&database.wal));
    let commits_label = format!("commits a second over two minutes; now {}", or_dash(commits, plain));
    let wal_label = format!("bytes of WAL a second over two minutes; now {}", or_dash(wal, bytes));
    html! {
        div.pair {
            div {
                p.rate { b { (or_dash(commits, plain)) } " commits/s" }
                (plot::line(&database.commits, KEPT - 1, 10.0, &commits_label))
            }
            div {
                p.rate { b data-value="wal" { (or_dash(wal, bytes)) } " WAL/s" }
                (plot::line(&database.wal, KEPT - 1, 10_000.0, &wal_label))
            }
        }
        (busy(&picture.busy))
        p.quiet {
            "Counter updates that touch no index: "
            b { (or_dash(database.hot, |share| format!("{:.1} %", share * 100.0))) }
        }
    }
}

/// The share of each role in what sessions executed; sampled four times a second.
fn busy(busy: &[(String, f64)]) -> Markup {
    let whole: f64 = busy.iter().map(|(_, sessions)| sessions).sum();
    let share = |sessions: f64| if whole > 0.0 { sessions / whole * 100.0 } else { 0.0 };
    let parts: Vec<(usize, f64)> =
        busy.iter().enumerate().map(|(place, (_, sessions))| (place, *sessions)).collect();
    html! {
        h3 { "Share of database time, last minute" }
        @if whole > 0.0 {
            (plot::shares(&parts, "Share of database time by role; the list below has the numbers"))
            ul.legend {
                @for (place, (role, sessions)) in busy.iter().enumerate() {
                    li { span class={"key part-" (place)} {} (role) " " b { (format!("{:.0} %", share(*sessions))) } }
                }
            }
            p.quiet { (format!("{whole:.2}")) " sessions busy on average" }
        } @else {
            p.quiet { "Nobody was seen at work." }
        }
    }
}

/// Parked events by reason.
pub(super) fn parked(picture: &Picture) -> Markup {
    let Some((_, costly)) = &picture.costly else { return html! { p.quiet { "Not yet asked." } } };
    if costly.parked.is_empty() {
        return html! { p.quiet { "No event is parked." } };
    }
    let more = if costly.parked_events >= PARKED_MAX { " or more" } else { "" };
    html! {
        p { b data-value="parked" { (count(costly.parked_events)) (more) } " events wait for somebody to look: " code { "commonplace parked list" } }
        ul.reasons {
            @for parked in &costly.parked {
                li {
                    b { (count(parked.events)) } " "
                    (parked.kind.as_deref().unwrap_or("unreadable")) ": " (parked.reason)
                    @if let Some(sqlstate) = &parked.sqlstate { " (" (sqlstate) ")" }
                    span.quiet { " newest " (at(parked.newest_at)) " UTC" }
                }
            }
        }
    }
}

/// How far followers have been told.
pub(super) fn fan_outs(picture: &Picture) -> Markup {
    let fan_outs = picture.costly.as_ref().map(|(_, costly)| costly.fan_outs.as_slice()).unwrap_or_default();
    html! {
        @if fan_outs.is_empty() { p.quiet { "No blog has been told of yet." } }
        ul.fan-outs { @for fan_out in fan_outs { li { (progress(fan_out)) } } }
    }
}

fn progress(fan_out: &FanOut) -> Markup {
    let label = format!("blog {}", fan_out.blog_id);
    html! {
        "blog " (fan_out.blog_id) " " span.state { (fan_out.state) } " "
        progress max=(fan_out.total.max(1)) value=(if fan_out.state == "done" { fan_out.total.max(1) } else { fan_out.looked_at }) aria-label=(label) {}
        span.quiet {
            (count(fan_out.looked_at)) " of " (count(fan_out.total)) " followers, " (count(fan_out.notified)) " told"
            @if fan_out.state == "running" { ", " (plain(fan_out.per_s)) "/s" }
        }
    }
}

fn at(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%H:%M:%S").to_string()
}
