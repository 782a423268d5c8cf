//! The Recommendation API: blogs that a reader may like, blogs similar to a blog, and popular blogs.
//!
//! It learns from the shared tables. `analytics.blog_like` holds which accounts like which blogs, and each row carries
//! the id of the transaction that last changed it, so changes are read once each, in the order in which they become
//! visible (`learn`). The result is the list of each blog's nearest neighbours. One SQL function, `recommend.pairs_of`,
//! computes it, both for blogs that have changed and, chunk by chunk, for all blogs (`rebuild`). The result depends
//! only on the current rows, so repeating a step changes nothing and a killed process loses no work that was committed.
//! Learnt data names no account.
//!
//! Each answer (`answer`) comes from one statement whose cost is bounded. Analytics defines popularity and Blogs
//! defines live blogs; this service repeats neither definition. It leaves most of the database's capacity to the
//! others: few connections, short statements, little memory (limits of its role), pauses during a rebuild, and
//! optionally a replica for all reads.

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
pub use settings::{LearningSettings, RecommendationSettings, Settings};

/// The defaults of this service, from `config/recommendation-api.toml`.
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

/// The statements of this service; those of the `web` crate come in addition.
pub static SQL: include_dir::Dir<'static> = include_dir::include_dir!("$CARGO_MANIFEST_DIR/sql");
