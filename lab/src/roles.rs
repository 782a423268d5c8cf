//! The roles with which services connect during a measurement.

use database::bootstrap::{RoleSettings, login_roles};
use runtime::settings::{Defaults, Loader};
use serde::Deserialize;

/// The settings from which `commonplace migrate` makes the roles.
const MIGRATE: Defaults = Defaults::new(
    include_str!("../../config/migrate.toml"),
    &[database::BOUNDS, database::bootstrap::BOUNDS, broker::ADMINISTRATION_BOUNDS],
);

#[derive(Debug, Deserialize)]
struct Settings {
    roles: RoleSettings,
}

/// The roles as `commonplace migrate` makes them, with the direct path enabled and random passwords.
///
/// # Errors
/// If the settings are inconsistent.
pub(crate) fn roles() -> anyhow::Result<RoleSettings> {
    let password = || format!("{:032x}", rand::random::<u128>());
    let loader = Loader::new(MIGRATE).environment([]).set("roles.direct_path", true);
    let loader =
        login_roles().fold(loader, |loader, role| loader.set(format!("roles.{role}_password"), password()));
    let settings: Settings = loader.load()?;
    Ok(settings.roles)
}
