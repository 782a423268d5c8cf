//! Reading, signing up, writing, liking, sharing and following, with and without scripts.

use serde_json::json;
use tests::{Running, World, away_from_midnight};

use super::{PHONE, Window};

/// Returns the faults of a page, at any width. Nothing may be wider than the window, every control needs a name, and
/// text must contrast with its background as WCAG 2.1 AA requires (4.5 to 1, or 3 to 1 for large text).
const FAULTS: &str = include_str!("faults.js");

/// Asserts that a page is accessible on a phone, in light and in dark mode.
pub(super) async fn assert_usable(window: &Window, url: &str) {
    for scheme in ["light", "dark"] {
        for size in [PHONE, super::DESKTOP] {
            window.scheme(scheme).await;
            window.size(size).await;
            window.go(url).await;
            window.loaded().await;
            let faults = window.js(&format!("(() => {{ {FAULTS} }})()")).await;
            assert_eq!(faults, json!([]), "{url}, {scheme}, {size:?}");
        }
    }
    window.scheme("light").await;
    window.size(super::DESKTOP).await;
}

/// An API and a worker with a view window of a day that does not end during the test, so that a reader's second view never
/// counts.
async fn counted_by_the_day(world: &World) -> (Running, Running) {
    away_from_midnight().await;
    let api = world.api_with(|loader| loader.set("engagement.view_window_s", 86_400)).await;
    (api, world.worker_with(|loader| loader.set("engagement.view_window_s", 86_400)).await)
}

async fn join(window: &Window, api: &Running, handle: &str) {
    window.go(&format!("http://{}/sign-up", api.address)).await;
    window.write("#handle", handle).await;
    window.write("#email", &format!("{handle}@example.org")).await;
    window.write("#password", "correct horse battery").await;
    window.submit("main button").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reader_signs_up_writes_and_likes_and_pages_show_the_databases_numbers() {
    let world = World::new().await;
    let (api, worker) = counted_by_the_day(&world).await;
    let window = Window::open().await;
    join(&window, &api, "ada").await;
    assert!(window.text("header.site").await.contains("Sign out"), "joining signs in");

    window.click("a[href='/write']").await;
    window.until("document.querySelector('#body')").await;
    window.write("#title", "Notes on the engine").await;
    window.write("#body", "# A part\n\nThe engine *weaves* [patterns](https://example.org/p).").await;
    window.write("#tags", "engines, Notes").await;
    window.submit("button[value='publish']").await;
    assert_eq!(window.text("h1").await, "Notes on the engine");
    assert_eq!(window.text(".prose h2").await, "A part");
    assert_eq!(window.text(".prose em").await, "weaves");
    let link = window.js("document.querySelector('.prose a').href").await;
    assert_eq!(link, "https://example.org/p");

    // Writing a blog is not a view. Reading it is one view, however often the reader does so within the window.
    let address = window.js("location.pathname").await.as_str().unwrap().to_owned();
    for _ in 0..2 {
        window.go(&format!("http://{}{address}", api.address)).await;
    }
    window.until("document.querySelector('[data-total=total_views]').textContent === '1'").await;
    window.click("form.like button").await;
    window.until("document.querySelector('form.like button').getAttribute('aria-pressed') === 'true'").await;
    window.until("document.querySelector('[data-total=total_likes]').textContent === '1'").await;
    assert_eq!(window.js("location.pathname").await, address, "a like with script stays on the page");
    window.click("details.share summary").await;
    window.submit("button[value='email']").await;
    assert!(window.text("[role=status]").await.contains("Thank you for sharing"));
    window.until("document.querySelector('[data-total=total_shares]').textContent === '1'").await;
    let totals = "select total_views || ' ' || total_likes || ' ' || total_shares from blogs.blog_counter";
    assert_eq!(world.value::<String>(totals, &[]).await, "1 1 1");
    window.click("form.like button").await;
    window.until("document.querySelector('[data-total=total_likes]').textContent === '0'").await;

    // Its address is found by tag, by author, and among the newest.
    for list in ["/", "/?tag=notes", "/a/ada", "/mine"] {
        window.go(&format!("http://{}{list}", api.address)).await;
        let listed = window.js(&format!("!!document.querySelector(\"a[href='{address}']\")")).await;
        assert_eq!(listed, true, "{list}");
    }
    window.close(&[]).await;
    world.assert_consistent().await;
    api.stop().await;
    worker.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_work_without_script() {
    let world = World::new().await;
    let (api, worker) = counted_by_the_day(&world).await;
    let notifier = world.notifier().await;
    let (_, author) = api.account("grace").await;
    let window = Window::open_without_script().await;
    join(&window, &api, "ada").await;
    window.go(&format!("http://{}/a/grace", api.address)).await;
    window.submit("button[name='follow']").await;
    assert!(window.text("main").await.contains("1 follower"));
    assert_eq!(window.js("document.querySelector('button[name=follow]').value").await, "no");

    // The follower is notified and finds the blog in the inbox.
    api.blog(&author, "A moth").await;
    world.until("select count(*) from notify.notification", 1_i64).await;
    window.go(&format!("http://{}/inbox", api.address)).await;
    assert!(window.text("header.site").await.contains("Inbox 1"), "{}", window.text("header.site").await);
    window.submit("main form button").await;
    assert!(!window.text("header.site").await.contains("Inbox 1"));
    window.submit("ol.blogs a").await;
    assert_eq!(window.text("h1").await, "A moth");

    let address = window.js("location.pathname").await.as_str().unwrap().to_owned();
    window.submit("form.like button").await;
    assert!(window.text("[role=status]").await.contains("like has been received"));
    world.until("select total_likes from blogs.blog_counter", 1_i64).await;
    window.go(&format!("http://{}{address}", api.address)).await;
    assert_eq!(window.text("[data-total=total_likes]").await, "1");
    window.submit("form.like button").await;
    world.until("select total_likes from blogs.blog_counter", 0_i64).await;
    world.until("select total_views from blogs.blog_counter", 1_i64).await;

    // Only its author sees a draft: the author writes it, edits it, and signs out.
    window.go(&format!("http://{}/write", api.address)).await;
    window.write("#title", "A draft").await;
    window.write("#body", "one").await;
    window.submit("button[value='draft']").await;
    window.submit("a.button").await;
    assert_eq!(window.js("document.querySelector('#body').value").await, "one");
    window.write("#body", "two").await;
    window.submit("button.main").await;
    assert_eq!(window.text(".prose").await.trim(), "two");
    assert!(window.text(".meta").await.contains("draft"));
    window.submit("header.site form button").await;
    assert!(window.text("header.site").await.contains("Sign in"), "signed out");
    window.go(&format!("http://{}/b/a-draft", api.address)).await;
    assert_eq!(window.text("h1").await, "Page not found");

    // A reader without a session is redirected to sign in and back.
    window.go(&format!("http://{}{address}", api.address)).await;
    window.go(&format!("http://{}/inbox", api.address)).await;
    assert_eq!(window.text("h1").await, "Sign in");
    window.write("#handle", "ada").await;
    window.write("#password", "wrong horse battery").await;
    window.submit("main button").await;
    assert!(window.text("[role=alert]").await.contains("wrong"));
    window.write("#password", "correct horse battery").await;
    window.submit("main button").await;
    assert_eq!(window.text("h1").await, "Inbox");
    // The expected errors come from a page that does not exist and from a wrong password.
    window.close(&["404 (Not Found)", "403 (Forbidden)"]).await;
    for service in [api, worker, notifier] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_meet_accessibility_rules() {
    let world = World::new().await;
    let api = world.api().await;
    let (_, token) = api.account("ada").await;
    let blog = api.blog(&token, &format!("A{}", "very-long-word-in-a-title-".repeat(7))).await;
    let body = format!(
        "# Code\n\n```\n{}\n```\n\n|a|b|\n|-|-|\n|{}|c|\n\n> a [link](/)\n",
        "x".repeat(300),
        "wide ".repeat(60)
    );
    let change = json!({"body": body, "tags": ["engines"]});
    api.send(reqwest::Method::PATCH, &format!("/v1/blogs/{blog}"), Some(&token), change).await;
    let window = Window::open().await;
    let at = |path: &str| format!("http://{}{path}", api.address);
    window.go(&at("/")).await;
    let address = window.js("document.querySelector('ol.blogs a').getAttribute('href')").await;
    let address = address.as_str().unwrap().to_owned();
    for path in ["/", &address, "/a/ada", "/a/ada/followers", "/sign-in", "/sign-up", "/nowhere"] {
        assert_usable(&window, &at(path)).await;
    }
    window.go(&at("/sign-in")).await;
    window.write("#handle", "ada").await;
    // Enter in the password field signs in, without a mouse.
    window.write("#password", "correct horse battery\u{e007}").await;
    window.until("location.pathname === '/'").await;
    for path in
        ["/write", "/mine", "/inbox", "/account", "/account/deleted", &address, &format!("{address}/edit")]
    {
        assert_usable(&window, &at(path)).await;
    }
    // The first link that the keyboard reaches skips the navigation.
    window.go(&at("/")).await;
    window.element("body").await.send_keys("\u{e004}").await.unwrap();
    assert_eq!(window.js("document.activeElement.className").await, "skip");
    window.close(&["404 (Not Found)"]).await;
    api.stop().await;
}
