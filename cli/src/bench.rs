//! `commonplace bench`: measurements on private servers, with the services in processes of their own. What is
//! measured and how stands in the `bench` and `chaos` crates; here are the arguments, the servers, and the printed report.

mod bare_endpoint;
mod contrast;
mod fan_out;
pub(crate) mod machine;
mod memory;
mod recommendations;

use bench::report::DatabaseSettings;
use clap::Subcommand;
use database::bootstrap::RoleSettings;
use runtime::settings::Loader;

use crate::{defaults, migrate};

/// Measure the system on private servers
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    measurement: Measurement,
}

#[derive(Debug, Subcommand)]
enum Measurement {
    Contrast(contrast::Arguments),
    FanOut(fan_out::Arguments),
    Memory(memory::Arguments),
    BareEndpoint(bare_endpoint::Arguments),
    Recommendations(recommendations::Arguments),
}

/// Measures, prints, and fails when the tables do not agree with what was accepted.
pub(crate) async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.measurement {
        Measurement::Contrast(arguments) => Box::pin(contrast::run(arguments)).await,
        Measurement::FanOut(arguments) => Box::pin(fan_out::run(arguments)).await,
        Measurement::Memory(arguments) => Box::pin(memory::run(arguments)).await,
        Measurement::BareEndpoint(arguments) => Box::pin(bare_endpoint::run(arguments)).await,
        Measurement::Recommendations(arguments) => Box::pin(recommendations::run(arguments)).await,
    }
}

/// The shares and rights of the roles as `commonplace migrate` makes them, with the direct path open and
/// passwords that only this run knows.
pub(crate) fn roles() -> anyhow::Result<RoleSettings> {
    let password = || format!("{:032x}", rand::random::<u128>());
    let settings: migrate::Settings = Loader::new(defaults::MIGRATE)
        .environment([])
        .set("roles.blogs_api_password", password())
        .set("roles.analytics_worker_password", password())
        .set("roles.notification_worker_password", password())
        .set("roles.recommendation_api_password", password())
        .set("roles.console_password", password())
        .set("roles.operator_password", password())
        .set("roles.direct_path", true)
        .load()?;
    Ok(settings.roles)
}

/// What the database promises, in a line.
fn promises(database: &DatabaseSettings) -> String {
    format!(
        "{}, fsync {}, synchronous_commit {}, full_page_writes {}, shared_buffers {}",
        database.server_version,
        database.fsync,
        database.synchronous_commit,
        database.full_page_writes,
        database.shared_buffers
    )
}
