//! The `blogs-api` binary.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::process::main::<blogs_api::Service>().await
}
