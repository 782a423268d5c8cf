//! The `console` binary.

use console::{DEFAULTS, Service, Settings};
use runtime::process::{self, About};

const ABOUT: About = About {
    name: "console",
    version: env!("CARGO_PKG_VERSION"),
    about: "Shows operators the write paths, the ledger and the database, live",
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    process::main(
        ABOUT,
        DEFAULTS,
        |settings: &Settings| (&settings.log, &settings.traces, settings.http.readiness()),
        async |settings, shutdown| Service::start(settings).await?.run(shutdown).await,
    )
    .await
}
