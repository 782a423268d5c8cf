//! The page, part by part. Each part has a place of its own, so that a browser that is told of a change swaps what changed
//! and nothing else; what one can press or type into stands outside of them.

mod load;
mod overview;
mod path;

use maud::{DOCTYPE, Markup, html};

use crate::picture::Picture;
use crate::settings::LoadSettings;

/// Every part by the id of its place.
pub(crate) fn parts(picture: &Picture) -> Vec<(&'static str, Markup)> {
    let mut parts = vec![
        ("clock", overview::clock(picture)),
        ("servers", overview::servers(picture)),
        ("outages", overview::outages(picture)),
        ("equation", overview::equation(picture)),
        ("database", overview::database(picture)),
        ("parked", overview::parked(picture)),
        ("fan-outs", overview::fan_outs(picture)),
        ("runs", load::runs(&picture.load)),
    ];
    for about in &path::ABOUT {
        parts.push((about.place, path::card(picture, about)));
    }
    parts
}

/// The buttons alone.
pub(crate) fn load_alone(load: Option<&LoadSettings>) -> Markup {
    refused(load, "")
}

/// The same, with why a load was not started.
pub(crate) fn refused(load: Option<&LoadSettings>, refusal: &str) -> Markup {
    let main = html! {
        main {
            h1 { "Commonplace " span { "console" } }
            @match load {
                Some(settings) => (load::form(settings, refusal)),
                None => p { "Loads are not enabled here (load.enabled)." },
            }
            p { a href="/" { "Back to the console" } }
        }
    };
    frame(main, None)
}

/// The form that asks for the token.
pub(crate) fn sign_in(wrong: Option<&str>) -> Markup {
    frame(
        html! {
            main.narrow {
                h1 { "Console" }
                @if let Some(wrong) = wrong { p.refusal role="alert" { (wrong) } }
                form method="post" action="/sign-in" {
                    label for="token" { "Token" }
                    input #token name="token" type="password" autocomplete="current-password" required;
                    button.main type="submit" { "Look" }
                }
            }
        },
        None,
    )
}

/// The whole page.
pub(crate) fn whole(picture: &Picture, load: Option<&LoadSettings>) -> Markup {
    let parts = parts(picture);
    let part = |name: &str| parts.iter().find(|(id, _)| *id == name).map(|(_, markup)| markup);
    let place = |name: &str, class: &str| html! { div id=(name) class=(class) { @if let Some(part) = part(name) { (part) } } };
    frame(
        html! {
            a.skip href="#paths" { "Skip to the write paths" }
            header.top {
                h1 { "Commonplace " span { "console" } }
                p.now {
                    span #clock { @if let Some(part) = part("clock") { (part) } }
                    " " span #link role="status" { "still" }
                    " " button #pause type="button" aria-pressed="false" hidden { "Pause" }
                }
            }
            main {
                (place("servers", "servers"))
                div #outages role="alert" { @if let Some(part) = part("outages") { (part) } }
                section #paths aria-labelledby="paths-title" {
                    h2 #paths-title { "Write paths" }
                    div.cards { @for about in &path::ABOUT { (place(about.place, "card")) } }
                }
                @if let Some(settings) = load {
                    (load::form(settings, ""))
                    noscript { p { "This page reloads itself; " a href="/load" { "the buttons on one that stands still" } "." } }
                }
                @if load.is_some() { (place("runs", "runs")) }
                div.columns {
                    section aria-labelledby="equation-title" {
                        h2 #equation-title { "Nothing is lost, nothing counts twice" }
                        (place("equation", "panel"))
                    }
                    section aria-labelledby="database-title" {
                        h2 #database-title { "Database" }
                        (place("database", "panel"))
                    }
                    section aria-labelledby="parked-title" {
                        h2 #parked-title { "Set aside" }
                        (place("parked", "panel"))
                    }
                    section aria-labelledby="fan-outs-title" {
                        h2 #fan-outs-title { "Telling followers" }
                        (place("fan-outs", "panel"))
                    }
                }
            }
        },
        Some(2),
    )
}

/// The outermost. Without script it loads itself again after so many seconds.
fn frame(body: Markup, reload_s: Option<u32>) -> Markup {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { "Commonplace console" }
                link rel="icon" type="image/svg+xml" href="/assets/icon.svg";
                link rel="stylesheet" href="/assets/console.css";
                @if let Some(seconds) = reload_s {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                    script defer src="/assets/console.js" {}
                }
            }
            body { (body) }
        }
    }
}
