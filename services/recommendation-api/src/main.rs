//! The `recommendation-api` binary.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::process::main::<recommendation_api::Service>().await
}
