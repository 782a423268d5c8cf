//! Renders the page, part by part. Each part has its own element, so that a browser replaces only what has changed.
//! Buttons and inputs are outside these elements.

mod load;
mod overview;
mod path;

use maud::{DOCTYPE, Markup, html};

use crate::picture::Picture;
use crate::settings::LoadSettings;

/// Renders every part, with the id of its element.
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

/// Renders the load form alone.
pub(crate) fn load_alone(load: Option<&LoadSettings>) -> Markup {
    refused(load, "")
}

/// Renders the load form with the reason why a load was not started.
pub(crate) fn refused(load: Option<&LoadSettings>, refusal: &str) -> Markup {
    let main = html! {
        main {
            h1 { "Commonplace " span { "console" } }
            @match load {
                Some(settings) => (load::form(settings, refusal)),
                None => p { "Loads are disabled (load.enabled)." },
            }
            p { a href="/" { "Back to the console" } }
        }
    };
    frame(main, None)
}

/// Renders the sign-in form.
pub(crate) fn sign_in(wrong: Option<&str>) -> Markup {
    frame(
        html! {
            main.narrow {
                h1 { "Console" }
                @if let Some(wrong) = wrong { p.refusal role="alert" { (wrong) } }
                form method="post" action="/sign-in" {
                    label for="token" { "Token" }
                    input #token name="token" type="password" autocomplete="current-password" required;
                    button.main type="submit" { "Sign in" }
                }
            }
        },
        None,
    )
}

/// Renders the whole page.
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
                    " " span #link role="status" { "static" }
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
                    noscript { p { "This page reloads itself; to start a load, use " a href="/load" { "a page that does not" } "." } }
                }
                @if load.is_some() { (place("runs", "runs")) }
                div.columns {
                    section aria-labelledby="equation-title" {
                        h2 #equation-title { "Every event is accounted for" }
                        (place("equation", "panel"))
                    }
                    section aria-labelledby="database-title" {
                        h2 #database-title { "Database" }
                        (place("database", "panel"))
                    }
                    section aria-labelledby="parked-title" {
                        h2 #parked-title { "Parked events" }
                        (place("parked", "panel"))
                    }
                    section aria-labelledby="fan-outs-title" {
                        h2 #fan-outs-title { "Notifying followers" }
                        (place("fan-outs", "panel"))
                    }
                }
            }
        },
        Some(2),
    )
}

/// Renders the document. Without script, it reloads itself every `reload_s` seconds.
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
