//! What the HTTP services share, so that they answer alike: how a request is read ([`extract`], [`page`]), who asks
//! ([`tokens`], [`client_address`]) and how often he may ([`limits`]), what surrounds every request ([`frame`],
//! [`server`]), and what goes wrong, as the client reads it ([`problem`], [`openapi`]).
//!
//! Nothing here knows what a service is about. What a part needs of a service's state it takes by `FromRef`.

pub mod client_address;
pub mod extract;
pub mod frame;
mod held;
pub mod limits;
pub mod openapi;
pub mod page;
pub mod problem;
pub mod same_origin;
pub mod server;
pub mod settings;
pub mod tokens;

/// The statements of this crate; every service that verifies tokens sends them.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
