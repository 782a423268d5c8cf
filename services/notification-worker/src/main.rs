//! The `notification-worker` binary.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::process::main::<notification_worker::Service>().await
}
