//! The roles that services connect with in a measurement.

use database::bootstrap::RoleSettings;
use runtime::settings::{Defaults, Loader};
use serde::Deserialize;

/// What `commonplace migrate` makes the roles from.
const MIGRATE: Defaults = Defaults::new(
    include_str!("../../config/migrate.toml"),
    &[database::BOUNDS, database::bootstrap::BOUNDS, broker::ADMINISTRATION_BOUNDS],
);

#[derive(Debug, Deserialize)]
struct Settings {
    roles: RoleSettings,
}

/// The shares and rights of the roles as `commonplace migrate` makes them, with the direct path open and
/// passwords that only this run knows.
///
/// # Errors
/// When the settings do not fit together.
pub(crate) fn roles() -> anyhow::Result<RoleSettings> {
    let password = || format!("{:032x}", rand::random::<u128>());
    let settings: Settings = Loader::new(MIGRATE)
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
