//! The defaults of the commands. Those of the services are in their own crates.

use runtime::settings::{Defaults, Loader};

/// The settings that `migrate` adds.
pub(crate) const MIGRATE: Defaults = Defaults::new(
    include_str!("../../config/migrate.toml"),
    &[database::BOUNDS, database::bootstrap::BOUNDS, broker::ADMINISTRATION_BOUNDS],
);
/// The settings of the operator's commands.
pub(crate) const OPERATOR: Defaults = Defaults::new(
    include_str!("../../config/operator.toml"),
    &[database::BOUNDS, engagement::BOUNDS, web::tokens::BOUNDS],
);
/// The settings of `secrets`.
pub(crate) const SECRETS: Defaults = Defaults::new(include_str!("../../config/secrets.toml"), &[]);

/// Services and commands share one environment, so each ignores the variables that only another one knows.
pub(crate) const COMMANDS: [Defaults; 3] = [MIGRATE, OPERATOR, SECRETS];

/// A loader for the settings of a command, which reads the shared environment.
pub(crate) fn loader(of: Defaults) -> Loader {
    services::loader(of, &COMMANDS)
}
