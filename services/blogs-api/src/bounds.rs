//! A bound of one setting.

use std::fmt::Display;
use std::ops::RangeInclusive;

use anyhow::ensure;

/// Refuses a value outside of its range, with a sentence that names its key.
pub(crate) fn within<T>(key: &str, value: T, range: RangeInclusive<T>) -> anyhow::Result<()>
where
    T: PartialOrd + Display,
{
    let (low, high) = (range.start(), range.end());
    ensure!(range.contains(&value), "{key} is {value} and must be from {low} to {high}");
    Ok(())
}
