//! The parts that show servers and outages, the accounting of events, the database, parked events, and fan-outs.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use maud::{Markup, html};

use crate::number::{bytes, count, or_dash, plain};
use crate::picture::{KEPT, Picture, Server};
use crate::plot;
use crate::statistics::{FanOut, Kind, PARKED_MAX};

/// The time of the sample.
pub(super) fn clock(picture: &Picture) -> Markup {
    html! {
        @match picture.time {
            Some(time) => time datetime=(time) { (at(time)) " UTC" },
            None => "no sample yet",
        }
    }
}

/// The servers and services, each with its state in words as well as in colour.
pub(super) fn servers(picture: &Picture) -> Markup {
    html! {
        ul aria-label="Servers and services" {
            @for server in &picture.servers {
                li.away[server.away_since.is_some()] data-server=(server.name) {
                    b { (server.name) } " "
                    span { @if server.away_since.is_some() { "down" } @else { (server.note) } }
                }
            }
        }
    }
}

/// The servers and services that are down, since when, and the consequences.
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
        h2 { (server.name) " is down" }
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

/// Both sides of the accounting of events, with the numbers.
pub(super) fn equation(picture: &Picture) -> Markup {
    let Some((asked_at, costly)) = &picture.costly else { return html! { p.quiet { "No data yet." } } };
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
            @if equation.holds() { "It holds exactly." }
            @else {
                "It does not hold: " (count(equation.taken_in() - total.sum())) " events are not accounted for. "
                (count(total.parked)) " events are counted as parked; the table of parked events has " (count(total.parked_rows)) "."
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
            "One snapshot, taken at " (at(*asked_at)) " UTC"
            @if equation.dropped_days > 0 {
                "; " (count(equation.dropped_days)) " of the events taken in are in days that have been dropped"
            }
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

/// Commits, WAL, and the share of database time by role.
pub(super) fn database(picture: &Picture) -> Markup {
    let database = &picture.database;
    let now = |values: &[Option<f64>]| values.last().copied().flatten();
    let (commits, wal) = (now(&database.commits), now(&database.wal));
    let commits_label = format!("commits per second over two minutes; now {}", or_dash(commits, plain));
    let wal_label = format!("bytes of WAL per second over two minutes; now {}", or_dash(wal, bytes));
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
            "Counter updates that changed no index (HOT): "
            b { (or_dash(database.hot, |share| format!("{:.1} %", share * 100.0))) }
        }
    }
}

/// The share of each role in database time, sampled four times a second.
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
            p.quiet { (format!("{whole:.2}")) " busy sessions on average" }
        } @else {
            p.quiet { "No session was busy." }
        }
    }
}

/// Parked events, by reason.
pub(super) fn parked(picture: &Picture) -> Markup {
    let Some((_, costly)) = &picture.costly else { return html! { p.quiet { "No data yet." } } };
    if costly.parked.is_empty() {
        return html! { p.quiet { "No event is parked." } };
    }
    let more = if costly.parked_events >= PARKED_MAX { " or more" } else { "" };
    html! {
        p {
            b data-value="parked" { (count(costly.parked_events)) (more) } " events need attention: run "
            code { "commonplace parked list" }
        }
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

/// The progress of fan-outs.
pub(super) fn fan_outs(picture: &Picture) -> Markup {
    let fan_outs = picture.costly.as_ref().map(|(_, costly)| costly.fan_outs.as_slice()).unwrap_or_default();
    html! {
        @if fan_outs.is_empty() { p.quiet { "No fan-out has run yet." } }
        ul.fan-outs { @for fan_out in fan_outs { li { (progress(fan_out)) } } }
    }
}

fn progress(fan_out: &FanOut) -> Markup {
    let label = format!("blog {}", fan_out.blog_id);
    html! {
        "blog " (fan_out.blog_id) " " span.state { (fan_out.state) } " "
        progress max=(fan_out.total.max(1)) value=(if fan_out.state == "done" { fan_out.total.max(1) } else { fan_out.looked_at }) aria-label=(label) {}
        span.quiet {
            (count(fan_out.looked_at)) " of " (count(fan_out.total)) " followers, " (count(fan_out.notified)) " notified"
            @if fan_out.state == "running" { ", " (plain(fan_out.per_s)) "/s" }
        }
    }
}

fn at(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%H:%M:%S").to_string()
}
