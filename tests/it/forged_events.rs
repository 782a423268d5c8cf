//! Only the Blogs API's login can publish engagement. Earlier, any service's login could publish it in every account's
//! name.

use std::time::Duration;

use broker::{PublishError, Publisher, Queue, State};
use events::codec;
use prometheus_client::registry::Registry;
use runtime::settings::Loader;
use tests::{DEADLINE, World, wait_until};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::message_path::view;

const VIEWS: &str = "select coalesce(sum(total_views), 0)::bigint from blogs.blog_counter";

async fn settings_of(world: &World, user: &str) -> broker::Settings {
    #[derive(serde::Deserialize)]
    struct Settings {
        broker: broker::Settings,
    }
    let loader = Loader::new("").environment([]).set("broker.url", world.amqp_url_of(user).await);
    loader.load::<Settings>().unwrap().broker
}

/// A hundred views by a hundred visitors, in one envelope, published with this login.
async fn forge(world: &World, user: &str, blog: i64, until: Duration) -> (Result<(), PublishError>, State) {
    let (tasks, shutdown) = (TaskTracker::new(), CancellationToken::new());
    let settings = settings_of(world, user).await;
    let publisher = Publisher::start(&settings, "it", &mut Registry::default(), &tasks, shutdown).unwrap();
    let mut encoded = (0..100).map(|visitor| codec::encode_engagement(&view(blog, visitor)));
    let mut item = broker::EncodedEvents::one(encoded.next().unwrap()).unwrap();
    assert!(encoded.all(|event| item.try_push(&event)), "the events fit into one envelope");
    let mut state = publisher.state();
    let denied =
        |state: &State| matches!(state, State::Disconnected(reason) if reason.contains("ACCESS_REFUSED"));
    let watched = async {
        let reached = timeout(until, state.wait_for(denied)).await;
        reached.map_or(None, |state| state.ok().map(|state| state.clone()))
    };
    let (outcome, last) = tokio::join!(publisher.publish(item, Instant::now() + until), watched);
    let last = last.unwrap_or_else(|| publisher.state().borrow().clone());
    (outcome.map(drop), last)
}

#[tokio::test]
async fn only_the_blogs_apis_login_publishes_engagement() {
    let world = World::new().await;
    let blog = world.blogs(1).await[0];
    let worker = world.worker().await;
    worker.ready().await;
    for user in ["analytics_worker", "notification_worker", "console"] {
        let (outcome, state) = forge(&world, user, blog, Duration::from_secs(10)).await;
        println!("{user}: {outcome:?}, {state:?}");
        assert_eq!(outcome, Err(PublishError::TimedOut), "{user}");
        assert!(
            matches!(&state, State::Disconnected(reason) if reason.contains("ACCESS_REFUSED")),
            "{user}: {state:?}"
        );
    }
    let settings = settings_of(&world, "console").await;
    assert_eq!(broker::queue_depth(&settings, Queue::Engagement).await.unwrap(), 0);
    assert_eq!(world.value::<i64>(VIEWS, &[]).await, 0, "nothing of it is counted");

    // The Blogs API's login can still forge events, because it is trusted with every account's engagement.
    let forging = forge(&world, "blogs_api", blog, DEADLINE);
    let counted = wait_until(async || world.value::<i64>(VIEWS, &[]).await == 100);
    let counted = async {
        tokio::select! {
            biased;
            counted = counted => counted,
            (outcome, state) = forging => panic!("it ended early: {outcome:?}, {state:?}"),
        }
    };
    assert!(counted.await);
    worker.stop().await;
    world.assert_consistent().await;
}
