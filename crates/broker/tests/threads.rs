//! An abandoned connection leaves no thread behind. This test has its own process, because it counts the threads.

use std::fs;
use std::net::TcpListener;
use std::time::{Duration, Instant};

use broker::{Consumer, Queue, Settings};

#[tokio::test(flavor = "multi_thread")]
async fn connections_to_a_silent_server_leave_no_threads() {
    // The kernel accepts connections for this listener, but nothing answers them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let settings = Settings {
        url: format!("amqp://guest:guest@{}/%2f", silent.local_addr().unwrap()).into(),
        connect_timeout_ms: 50,
        answer_timeout_ms: 50,
        heartbeat_s: 30,
        backoff_min_ms: 10,
        backoff_max_ms: 10,
        waiting_max: 1,
        waiting_bytes_max: 1 << 20,
        unconfirmed_max: 1,
        confirm_timeout_ms: 1000,
    };
    let mut most = 0;
    for _ in 0..10 {
        Consumer::open(&settings, Queue::Engagement, 1, "test").await.unwrap_err();
        most = most.max(connection_threads().unwrap());
    }
    assert!(most > 0, "the threads have another name now");
    let give_up = Instant::now() + Duration::from_secs(30);
    while connection_threads().unwrap() > 0 {
        assert!(Instant::now() < give_up, "{} threads are left", connection_threads().unwrap());
        tokio::task::yield_now().await;
    }
}

fn connection_threads() -> std::io::Result<usize> {
    let mut count = 0;
    for thread in fs::read_dir("/proc/self/task")? {
        // A thread may end while they are being listed.
        let name = fs::read_to_string(thread?.path().join("comm")).unwrap_or_default();
        count += usize::from(name.trim_end() == "lapin-io-loop");
    }
    Ok(count)
}
