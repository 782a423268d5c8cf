//! The `analytics-worker` binary.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::process::main::<analytics_worker::Service>().await
}
