//! Likes with their times, from a file or generated.

use std::collections::HashSet;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

const SEED: u64 = 2026;
const ACCOUNTS: u32 = 2000;
const GROUPS: u32 = 20;
const BLOGS_PER_GROUP: u32 = 60;
const LIKES_PER_ACCOUNT: u32 = 20;

/// A like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interaction {
    /// The account.
    pub account: u32,
    /// The item.
    pub item: u32,
    /// The time in seconds.
    pub at_s: i64,
}

/// Reads lines of `account,item,rating,seconds` and keeps those with at least this rating, ordered by time.
///
/// # Errors
/// The number of the first line that cannot be parsed.
pub fn read(text: &str, rating_min: f64) -> Result<Vec<Interaction>, usize> {
    let mut interactions = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let fields: Vec<&str> = line.split(',').map(str::trim).collect();
        let [account, item, rating, at_s] = fields.as_slice() else { return Err(index + 1) };
        let bad = |_| index + 1;
        let rating: f64 = rating.parse().map_err(|_| index + 1)?;
        if rating >= rating_min {
            interactions.push(Interaction {
                account: account.parse().map_err(bad)?,
                item: item.parse().map_err(bad)?,
                at_s: at_s.parse().map_err(bad)?,
            });
        }
    }
    interactions.sort_by_key(|one| (one.at_s, one.account, one.item));
    Ok(interactions)
}

/// Generates likes with planted taste groups: four of five likes go to the account's own group, more often to its first blogs.
pub(super) fn generated() -> Vec<Interaction> {
    let mut random = SmallRng::seed_from_u64(SEED);
    let mut seen = HashSet::new();
    let mut interactions = Vec::new();
    for round in 0..LIKES_PER_ACCOUNT {
        for account in 0..ACCOUNTS {
            let group =
                if random.random_bool(0.8) { account % GROUPS } else { random.random_range(0..GROUPS) };
            let place: f64 = random.random();
            let place = (0..BLOGS_PER_GROUP)
                .take_while(|n| f64::from(*n) < f64::from(BLOGS_PER_GROUP) * place * place);
            let item =
                group * BLOGS_PER_GROUP + u32::try_from(place.count()).unwrap_or_default() % BLOGS_PER_GROUP;
            if seen.insert((account, item)) {
                interactions.push(Interaction { account, item, at_s: i64::from(round) });
            }
        }
    }
    interactions
}
