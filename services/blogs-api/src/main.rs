//! The `blogs-api` binary.

use blogs_api::{DEFAULTS, Service, Settings};
use runtime::process::{self, About};

const ABOUT: About = About {
    name: env!("CARGO_PKG_NAME"),
    version: env!("CARGO_PKG_VERSION"),
    about: "Accounts, blogs, and the door for engagement",
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
