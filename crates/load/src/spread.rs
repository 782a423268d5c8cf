//! Distributes requests over the blogs.

use rand::{Rng, RngExt};

/// The default exponent.
const ZIPF_EXPONENT: f64 = 1.1;

/// How requests are spread over the blogs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Spread {
    /// All on the first blog.
    Hot,
    /// Evenly over all of them.
    Uniform,
    /// The share of the k-th blog is proportional to k to the power of minus this exponent.
    Zipf(f64),
}

impl std::fmt::Display for Spread {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hot => f.write_str("one blog"),
            Self::Uniform => f.write_str("uniform"),
            Self::Zipf(exponent) => write!(f, "Zipf {exponent}"),
        }
    }
}

impl std::str::FromStr for Spread {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "hot" => Ok(Self::Hot),
            "uniform" => Ok(Self::Uniform),
            "zipf" => Ok(Self::Zipf(ZIPF_EXPONENT)),
            _ => {
                let exponent = text.strip_prefix("zipf:").and_then(|exponent| exponent.parse().ok());
                exponent.map(Self::Zipf).ok_or("use one of zipf, zipf:EXPONENT, uniform, hot")
            }
        }
    }
}

impl serde::Serialize for Spread {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A distribution over a number of items, prepared for drawing.
#[derive(Debug, Clone)]
pub enum Draw {
    /// Always the first item.
    First,
    /// Any of this many items, with equal probability.
    Even(usize),
    /// For each item, the total weight of all items up to it.
    Weighted(Vec<f64>),
}

impl Draw {
    /// Prepares to draw from this many items.
    #[must_use]
    pub fn new(spread: Spread, things: usize) -> Self {
        match spread {
            Spread::Hot => Self::First,
            Spread::Uniform => Self::Even(things),
            Spread::Zipf(exponent) => {
                let mut rank = 0.0_f64;
                let mut sum = 0.0;
                Self::Weighted(
                    std::iter::repeat_with(|| {
                        rank += 1.0;
                        sum += rank.powf(-exponent);
                        sum
                    })
                    .take(things)
                    .collect(),
                )
            }
        }
    }

    /// Draws the index of an item.
    pub fn draw(&self, random: &mut impl Rng) -> usize {
        match self {
            Self::First => 0,
            Self::Even(things) => random.random_range(0..*things),
            Self::Weighted(sums) => {
                let whole = sums.last().copied().unwrap_or_default();
                let at = random.random_range(0.0..whole);
                sums.partition_point(|&sum| sum <= at).min(sums.len() - 1)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(spread: Spread, things: usize, draws: u32) -> Vec<f64> {
        let draw = Draw::new(spread, things);
        let mut random: rand::rngs::SmallRng = rand::SeedableRng::seed_from_u64(7);
        let mut counts = vec![0.0; things];
        for _ in 0..draws {
            counts[draw.draw(&mut random)] += 1.0;
        }
        counts.iter().map(|count| count / f64::from(draws)).collect()
    }

    #[test]
    fn zipf_gives_each_rank_its_share() {
        let shares = shares(Spread::Zipf(1.0), 3, 60_000);
        // 1 : 1/2 : 1/3 of 11/6.
        for (share, expected) in shares.iter().zip([6.0 / 11.0, 3.0 / 11.0, 2.0 / 11.0]) {
            assert!((share - expected).abs() < 0.01, "{shares:?}");
        }
    }

    #[test]
    fn uniform_reaches_all_and_hot_only_the_first() {
        assert!(shares(Spread::Uniform, 10, 10_000).iter().all(|&share| (share - 0.1).abs() < 0.02));
        assert_eq!(shares(Spread::Hot, 3, 100), [1.0, 0.0, 0.0]);
    }
}
