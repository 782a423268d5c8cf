use tokio::time::Instant;

use super::*;

fn scraped(text: &str) -> Scraped {
    Scraped { samples: Some(Samples::parse(text)), answered: 1, silent: 0 }
}

fn sample(at: Instant, api: Scraped, queues: Result<Depths, String>) -> Sample {
    Sample {
        at,
        time: Timestamp::now(),
        api,
        worker: Scraped::default(),
        others: ["notification_worker", "recommendation_api", "sixth_service"]
            .map(|role| (role.to_owned(), Scraped::default()))
            .into(),
        database: Err("away".to_owned()),
        queues,
    }
}

fn history(accepted: &[Option<u32>]) -> History {
    let begun = Instant::now();
    let mut history = History::default();
    for (second, accepted) in (0_u64..).zip(accepted) {
        let api = accepted.map_or_else(Scraped::default, |n| {
            scraped(&format!("engagement_accepted_total{{path=\"message\"}} {n}"))
        });
        let depths = Depths { engagement: 7, dead: 0, blogs: 0 };
        history.push(sample(begun + Duration::from_secs(second), api, Ok(depths)));
    }
    history
}

#[test]
fn rate_needs_two_samples_of_the_same_processes() {
    let history = history(&[Some(5), Some(15), Some(15), None, Some(20), Some(3), Some(4)]);
    let picture = Picture::of(&history, &Found::default(), load::Status::default());
    let known = [Some(10.0), Some(0.0), None, None, None, Some(1.0)];
    assert_eq!(picture.paths[0].accepted, known);
    assert_eq!(picture.paths[1].accepted[0], Some(0.0), "an unused path has a rate of zero");
    assert_eq!(picture.message.depths.unwrap().engagement, 7);
}

#[test]
fn operators_requests_do_not_count_as_recommendations() {
    let begun = Instant::now();
    let mut history = History::default();
    for (second, asked, scrapes) in [(0, 10, 7), (2, 14, 107)] {
        let text = format!(
            "http_requests_total{{route=\"/v1/trending\"}} {asked}\nhttp_requests_total{{route=\"/metrics\"}} {scrapes}"
        );
        let sample = sample(begun + Duration::from_secs(second), Scraped::default(), Err(String::new()));
        let others = BTreeMap::from([("recommendation_api".to_owned(), scraped(&text))]);
        history.push(Sample { others, ..sample });
    }
    let picture = Picture::of(&history, &Found::default(), load::Status::default());
    assert_eq!(picture.servers[4].note, format!("1 process, {}/s", plain(2.0)));
}

#[test]
fn outage_begins_with_the_first_failed_sample() {
    let mut history = history(&[Some(1)]);
    let since = history.samples[0].time;
    let picture = |history: &History| Picture::of(history, &Found::default(), load::Status::default());
    let away = |picture: &Picture| -> Vec<(String, Option<Timestamp>)> {
        picture.servers.iter().map(|server| (server.name.clone(), server.away_since)).collect()
    };
    let names = |expected: &[(&str, Option<Timestamp>)]| -> Vec<(String, Option<Timestamp>)> {
        expected.iter().map(|(name, since)| ((*name).to_owned(), *since)).collect()
    };
    history.push(sample(Instant::now(), Scraped::default(), Err("refused".to_owned())));
    let second = history.samples[1].time;
    let expected = [
        ("Postgres", Some(since)),
        ("RabbitMQ", Some(second)),
        ("Blogs API", Some(second)),
        ("Analytics worker", Some(since)),
        ("Notification worker", Some(since)),
        ("Recommendation API", Some(since)),
        ("Sixth service", Some(since)),
    ];
    assert_eq!(away(&picture(&history)), names(&expected));
    assert_eq!(picture(&history).servers[1].note, "refused");
    history.push(sample(Instant::now(), scraped(""), Ok(Depths { engagement: 0, dead: 0, blogs: 0 })));
    assert_eq!(away(&picture(&history))[1..3], names(&[("RabbitMQ", None), ("Blogs API", None)]));
}
