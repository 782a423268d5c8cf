//! The `digest-api` binary.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::process::main::<digest_api::Service>().await
}
