//! The console: it updates, it agrees with the database, its buttons work, and it shows outages.

use std::net::SocketAddr;

use proxy::{Mode, Proxy};
use tests::World;

use super::Window;
use super::readers::assert_usable;

#[tokio::test(flavor = "multi_thread")]
async fn numbers_move_and_equal_the_database() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let console = world.console_with(api.address, worker.address, |loader| loader).await;
    let blog = world.blogs(1).await[0];
    let window = Window::open().await;
    window.go(&format!("http://{}/", console.address)).await;
    window.until("document.querySelector('#path-message [data-value=accepted]').textContent === '0'").await;
    for (path, views) in [("message", 7), ("direct", 3), ("direct-batched", 2)] {
        for n in 0..views {
            let view = api.request(reqwest::Method::POST, &format!("/v1/blogs/{blog}/views"));
            let view = view
                .header("x-write-path", path)
                .json(&serde_json::json!({"visitor": format!("{path} {n}")}));
            assert!(view.send().await.unwrap().status().is_success());
        }
        let shown =
            format!("document.querySelector('#path-{path} [data-value=accepted]').textContent === '{views}'");
        window.until(&shown).await;
    }
    world.until("select total_views from blogs.blog_counter", 12_i64).await;
    // The rate rises above zero and falls back, so the plot shows a peak.
    window
        .until("document.querySelector('#path-message .plot .stroke').getAttribute('d').includes(' 2.0')")
        .await;
    window.until("document.querySelector('#path-message [data-value=rate]').textContent === '0'").await;
    window.until("document.querySelector('[data-value=taken-in]').textContent === '12'").await;
    let ledger = "select sum(n)::bigint from analytics.envelope_ledger";
    assert_eq!(world.value::<i64>(ledger, &[]).await, window.number("[data-value=taken-in]").await);
    let counted = "select sum(n)::bigint from analytics.outcome where outcome = 'counted'";
    assert_eq!(world.value::<i64>(counted, &[]).await, window.number("[data-value=counted]").await);
    assert!(window.text(".verdict").await.contains("It holds"));

    // A parked event is shown with its reason, as text. It has no outcome, so it is missing on the right side of the
    // equation.
    world
        .run(
            "insert into analytics.parked (envelope_id, index, kind, reason, body, in_ledger) values \
             (gen_random_uuid(), 0, 'view', 'a reason <img src=x onerror=alert(1)>', '', true)",
        )
        .await;
    window.until("document.querySelector('#parked').innerText.includes('a reason <img src=x')").await;
    assert_eq!(window.number("[data-value=parked]").await, 1);
    let verdict = "document.querySelector('.verdict').textContent";
    window
        .until(&format!(
            "{verdict}.includes('not hold: 0 events') && {verdict}.includes('parked events has 1.')"
        ))
        .await;
    world.run("update analytics.outcome set n = n - 1 where (hour, kind, outcome, slot) = (select hour, kind, outcome, slot from analytics.outcome limit 1)").await;
    window.until(&format!("{verdict}.includes('not hold: 1 events')")).await;
    window.close(&[]).await;
    for service in [console, api, worker] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn button_starts_a_load_and_every_event_of_it_counts() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let blog = world.blogs(1).await[0];
    let console =
        world.console_with(api.address, worker.address, |loader| loader.set("load.blog_id", blog)).await;
    let window = Window::open().await;
    window.go(&format!("http://{}/", console.address)).await;
    window.until("document.documentElement.dataset.link === 'live'").await;
    window.write("#seconds", "1").await;
    // By keyboard: Enter in a field presses the first button, which starts a load on every path.
    window.write("#senders", "4\u{e007}").await;
    window.until("[...document.querySelectorAll('#runs .state')].map((s) => s.innerText).join() === 'done,done,done'").await;
    assert_eq!(
        window.js("document.activeElement.id").await,
        "senders",
        "the field that has the focus is not replaced"
    );
    let mut accepted = 0;
    for path in events::WritePath::NAMES {
        let of_path = window.number(&format!("[data-run={path}]")).await;
        assert!(of_path > 0, "{path}");
        accepted += of_path;
    }
    let total = "select total_views from blogs.blog_counter";
    assert_eq!(world.value::<i64>(total, &[]).await, accepted, "a load is over when all of it is counted");

    // A second load while one runs, and a load that is too large, are refused with a message.
    window.write("#seconds", "30").await;
    window.click("button[value=direct]").await;
    window.until("document.querySelector('#runs .state')?.innerText.startsWith('sending')").await;
    window.click("button[value=message]").await;
    window.until("document.querySelector('#said').textContent.includes('a load is running')").await;
    window.click("form[action='/load/stop'] button").await;
    window.until("document.querySelector('#runs .state').innerText === 'done'").await;
    // The browser reports the refusals above as errors.
    window.close(&["422 (Unprocessable"]).await;
    world.assert_consistent().await;
    for service in [console, api, worker] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn outage_of_either_server_is_visible() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let amqp = world.amqp_url_of("console").await;
    let (begin, rest) = amqp.split_once('@').unwrap();
    let (broker, vhost) = rest.split_once('/').unwrap();
    let broker: SocketAddr = broker.parse().unwrap();
    let between = Proxy::start(broker, Mode::Open).await.unwrap();
    let through = format!("{begin}@{}/{vhost}", between.address());
    let console =
        world.console_with(api.address, worker.address, |loader| loader.set("broker.url", through)).await;
    let window = Window::open().await;
    window.go(&format!("http://{}/", console.address)).await;
    // Postgres, RabbitMQ, and each service but the console itself.
    let servers = 2 + services::SERVICES.len() - 1;
    let all_there = format!(
        "document.querySelectorAll('.servers li').length === {servers} && !document.querySelector('.outage, .away')"
    );
    window.until(&all_there).await;

    between.set(Mode::Refuse);
    between.cut();
    window.until("document.querySelector('#outages').innerText.includes('RabbitMQ is down')").await;
    assert!(window.text("#outages").await.contains("kept in the outbox"));
    window.until("document.querySelector('[data-server=RabbitMQ]').classList.contains('away')").await;
    between.set(Mode::Open);
    window.until(&all_there).await;

    world.close_database().await;
    window.until("document.querySelector('#outages').innerText.includes('Postgres is down')").await;
    assert!(window.text("#outages").await.contains("Since "));
    // Screen readers announce it at once, and the rest of the page still works.
    assert_eq!(window.js("document.querySelector('#outages').getAttribute('role')").await, "alert");
    world.open_database().await;
    window.until(&all_there).await;

    worker.stop().await;
    window.until("document.querySelector('#outages').innerText.includes('Analytics worker is down')").await;
    window.close(&[]).await;
    for service in [console, api] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_script_the_console_reloads_itself_and_its_buttons_work() {
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let blog = world.blogs(1).await[0];
    let console =
        world.console_with(api.address, worker.address, |loader| loader.set("load.blog_id", blog)).await;
    let window = Window::open_without_script().await;
    window.go(&format!("http://{}/", console.address)).await;
    window.until("document.querySelector('#path-direct [data-value=accepted]').textContent === '0'").await;
    // A page that reloads itself would lose what the user types, so the buttons are also on a page of their own.
    window.go(&format!("http://{}/load", console.address)).await;
    window.write("#seconds", "1").await;
    window.write("#senders", "1").await;
    window.submit("button[value=direct]").await;
    window.until("document.querySelector('#runs .state')?.innerText === 'done'").await;
    let accepted = window.number("[data-run=direct]").await;
    window.until(&format!("document.querySelector('#path-direct [data-value=accepted]').innerText.replace(/\\D/g, '') === '{accepted}'")).await;
    assert_eq!(world.value::<i64>("select total_views from blogs.blog_counter", &[]).await, accepted);
    window.close(&[]).await;
    for service in [console, api, worker] {
        service.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn console_requires_its_token_from_every_user() {
    let token = "0123456789abcdef0123456789abcdef";
    let world = World::new().await;
    let (api, worker) = (world.api().await, world.worker().await);
    let open = world.console_with(api.address, worker.address, |loader| loader).await;
    let closed =
        world.console_with(api.address, worker.address, |loader| loader.set("access.token", token)).await;
    let window = Window::open().await;
    window.go(&format!("http://{}/", open.address)).await;
    window.until("document.querySelector('.verdict')").await;
    assert_usable(&window, &format!("http://{}/", open.address)).await;

    window.go(&format!("http://{}/", closed.address)).await;
    assert_usable(&window, &format!("http://{}/sign-in", closed.address)).await;
    window.write("#token", "not the token").await;
    window.submit("button").await;
    assert!(window.text("[role=alert]").await.contains("not the token"));
    window.write("#token", token).await;
    window.submit("button").await;
    window.until("document.documentElement.dataset.link === 'live'").await;
    window.close(&["403 (Forbidden)"]).await;

    // A request without the token is refused. The console without a token refuses another host name and requests from
    // another site.
    let client =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let closed_url = format!("http://{}", closed.address);
    for path in ["/events", "/load"] {
        let status = client.get(format!("{closed_url}{path}")).send().await.unwrap().status();
        assert_eq!(status, 401, "{path}");
    }
    let renamed = client.get(format!("http://{}/", open.address)).header("host", "evil.example");
    assert_eq!(renamed.send().await.unwrap().status(), 403);
    let foreign = client.post(format!("http://{}/load", open.address)).header("sec-fetch-site", "cross-site");
    assert_eq!(foreign.body("path=each&seconds=1&senders=1").send().await.unwrap().status(), 403);
    for service in [open, closed, api, worker] {
        service.stop().await;
    }
}
