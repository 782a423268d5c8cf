//! The defaults of every command and service.

use runtime::settings::Defaults;

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

/// Commands that start several services or none take one environment for all: what one of these knows, the
/// others pass over.
pub(crate) const EVERY_DEFAULTS: [Defaults; 8] = [
    blogs_api::DEFAULTS,
    analytics_worker::DEFAULTS,
    notification_worker::DEFAULTS,
    recommendation_api::DEFAULTS,
    console::DEFAULTS,
    MIGRATE,
    OPERATOR,
    SECRETS,
];
