//! The defaults of every command and service.

/// The settings that `migrate` adds.
pub(crate) const MIGRATE: &str = include_str!("../../config/migrate.toml");
/// The settings of the operator's commands.
pub(crate) const OPERATOR: &str = include_str!("../../config/operator.toml");
/// The settings of `secrets`.
pub(crate) const SECRETS: &str = include_str!("../../config/secrets.toml");

/// Commands that start several services or none take one environment for all: what one of these knows, the
/// others pass over.
pub(crate) const EVERY_DEFAULTS: [&str; 8] = [
    blogs_api::DEFAULTS,
    analytics_worker::DEFAULTS,
    notification_worker::DEFAULTS,
    recommendation_api::DEFAULTS,
    console::DEFAULTS,
    MIGRATE,
    OPERATOR,
    SECRETS,
];
