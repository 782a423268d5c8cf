//! The compose files: what a container may do, which containers it reaches, and that published secrets stay on one
//! machine. No Docker is needed: the files are read here, and the commands run as the containers would run them.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod files;
mod rules;
mod secrets;
mod services;
