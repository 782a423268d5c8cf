//! The `console` binary.

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    runtime::process::main::<console::Service>().await
}
