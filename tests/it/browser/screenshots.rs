//! The pictures in `docs/`: `cargo test -p tests --test it -- --ignored screenshots`.

use std::path::Path;

use super::{PHONE, Window};
use tests::World;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/screens");

#[tokio::test(flavor = "multi_thread")]
#[ignore = "makes the pictures of the documentation"]
async fn screenshots() {
    let world = World::new().await;
    let (api, worker, notifier) = (world.api().await, world.worker().await, world.notifier().await);
    let scrape = format!("http://{}", notifier.address);
    let console = world
        .console_with(api.address, worker.address, |loader| {
            loader.set("scrape.every_ms", 500).set("scrape.notification_worker", vec![scrape])
        })
        .await;
    let (_, token) = api.account("ines-calder").await;
    for title in ["Counting the swifts", "A hedge in four seasons", "Maps drawn from memory"] {
        let body = "I asked nine neighbours to draw our quarter. *Everyone* drew the bakery.\n\n## What was left out\n\n> Nobody drew the police station, which is next door to it, and larger.\n\nThe [originals](https://example.org) hang in the library; `north` is up in seven of them.\n";
        let blog = serde_json::json!({"title": title, "body": body, "tags": ["cities", "journeys"], "publish": true});
        api.send(reqwest::Method::POST, "/v1/blogs", Some(&token), blog).await;
    }
    let window = Window::open().await;
    let reader = format!("http://{}", api.address);
    let (blog, watched) =
        (format!("{reader}/b/maps-drawn-from-memory"), format!("http://{}/", console.address));
    window.size([900, 760]).await;
    shoot(&window, &blog, "1", "reader-desktop.png").await;
    window.size(PHONE).await;
    shoot(&window, &reader, "3", "reader-phone.png").await;
    window.scheme("dark").await;
    shoot(&window, &blog, "1", "reader-dark.png").await;
    window.scheme("light").await;

    window.size([1280, 1330]).await;
    window.go(&watched).await;
    window.until("document.documentElement.dataset.link === 'live'").await;
    window.write("#seconds", "3").await;
    window.write("#senders", "32\u{e007}").await;
    window.until("[...document.querySelectorAll('#runs .state')].map((s) => s.innerText).join() === 'done,done,done'").await;
    save(&window, "console-load.png").await;
    window.scheme("dark").await;
    save(&window, "console-dark.png").await;
    window.size(PHONE).await;
    save(&window, "console-phone.png").await;
    window.size([1280, 620]).await;
    window.scheme("light").await;
    world.close_database().await;
    window.until("document.querySelector('#outages').innerText.includes('Postgres is down')").await;
    save(&window, "console-outage.png").await;
    world.open_database().await;
    window.until("!document.querySelector('.outage')").await;
    window.driver.quit().await.unwrap();
    for service in [console, api, worker, notifier] {
        service.stop().await;
    }
}

/// A page, once it shows a number of blogs or views.
async fn shoot(window: &Window, url: &str, shown: &str, name: &str) {
    window.go(url).await;
    let many = "document.querySelectorAll('ol.blogs li').length";
    let views = "document.querySelector('.engage [data-total=total_views]')?.textContent";
    window.until(&format!("{many} == {shown} || {views} == {shown}")).await;
    save(window, name).await;
}

async fn save(window: &Window, name: &str) {
    std::fs::create_dir_all(FOLDER).unwrap();
    window.driver.screenshot(&Path::new(FOLDER).join(name)).await.unwrap();
}
