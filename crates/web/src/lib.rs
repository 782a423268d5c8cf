//! The code that all HTTP services share, so that they behave alike: reading requests ([`extract`], [`page`]), identifying
//! clients ([`tokens`], [`client_address`]), rate limits ([`limits`]), the layer around every request ([`frame`],
//! [`server`]), and error responses ([`problem`], [`openapi`]). [`api`] puts them together for an API that reads.
//!
//! This crate knows nothing about a service's domain. Each part gets what it needs from a service's state through `FromRef`.

pub mod api;
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

/// The statements of this crate. Every service that verifies tokens sends them.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
