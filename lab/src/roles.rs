//! The roles that services connect with in a measurement.

use database::bootstrap::{RoleSettings, login_roles};
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
    let loader = Loader::new(MIGRATE).environment([]).set("roles.direct_path", true);
    let loader =
        login_roles().fold(loader, |loader, role| loader.set(format!("roles.{role}_password"), password()));
    let settings: Settings = loader.load()?;
    Ok(settings.roles)
}
