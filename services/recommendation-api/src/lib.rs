//! The Recommendation API: what a reader may like, what is like a blog, and what is popular.
//!
//! It learns from the shared tables: which accounts like which blogs stands in `analytics.blog_like`, and each row says by
//! which transaction it was last changed, so that changes are read in the order in which they become visible, each once
//! (`learn`). What is learnt are the nearest neighbours of each blog; the computation is one SQL function,
//! `recommend.pairs_of`, for the blogs that have changed and, chunk by chunk, for all of them (`rebuild`). It depends on
//! nothing but what the tables say now, so doing it again changes nothing, and what is killed goes on. No account stands in
//! what was learnt.
//!
//! Answers (`answer`) come from one statement each, bounded on every side. What is popular is Analytics' word, and what a
//! live blog is Blogs'; neither is written again here. It may take little: few connections, short statements, little
//! memory (the role's own limits), pauses while it rebuilds, and, if there is one, a replica for everything that is read.

mod answer;
mod freshness;
mod learn;
mod metrics;
mod rebuild;
mod rows;
mod service;
mod settings;

use runtime::settings::Defaults;

pub use service::Service;
pub use settings::{LearningSettings, RateSettings, RecommendationSettings, Settings};

/// The defaults of this service, `config/recommendation-api.toml`.
pub const DEFAULTS: Defaults = Defaults::new(
    include_str!("../../../config/recommendation-api.toml"),
    &[
        runtime::traces::BOUNDS,
        database::BOUNDS,
        web::settings::BOUNDS,
        web::tokens::BOUNDS,
        web::limits::BOUNDS,
        settings::BOUNDS,
    ],
);

/// The statements of this service alone; it also sends those of the `web` crate.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
