//! Bounds of settings, as data: the loader checks them, its errors name them, and `commonplace settings` lists them.

use std::ops::RangeInclusive;

use config::{Map, Value, ValueKind};

use crate::error::{Origin, SettingsError};
use crate::table;

/// The allowed numbers of a key. Rules between several keys are code in the section that needs them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bound {
    key: &'static str,
    limits: Limits,
    reason: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Limits {
    Whole { least: u64, most: u64 },
    Fraction { least: f64, most: f64 },
}

/// A key that takes the whole numbers of `range`. A `*` in the key stands for any text, so the bound covers several keys.
#[must_use]
pub const fn bound(key: &'static str, range: RangeInclusive<u64>) -> Bound {
    Bound { key, limits: Limits::Whole { least: *range.start(), most: *range.end() }, reason: None }
}

/// A key that takes every whole number from `least` on.
#[must_use]
pub const fn at_least(key: &'static str, least: u64) -> Bound {
    bound(key, least..=u64::MAX)
}

/// A key that takes the numbers of `range`, fractions included.
#[must_use]
pub const fn fraction(key: &'static str, range: RangeInclusive<f64>) -> Bound {
    Bound { key, limits: Limits::Fraction { least: *range.start(), most: *range.end() }, reason: None }
}

impl Bound {
    /// Adds a reason to the error of a value outside these bounds.
    #[must_use]
    pub const fn because(self, reason: &'static str) -> Self {
        Self { reason: Some(reason), ..self }
    }

    /// The key that is bounded, or the pattern of several.
    #[must_use]
    pub const fn key(&self) -> &'static str {
        self.key
    }

    /// Whether it applies to this key. A `*` in its own key matches any text.
    #[must_use]
    pub fn covers(&self, key: &str) -> bool {
        match self.key.split_once('*') {
            Some((start, end)) => key.strip_prefix(start).is_some_and(|rest| rest.ends_with(end)),
            None => self.key == key,
        }
    }

    /// For a list: `1 to 500`, `1 or more`.
    #[must_use]
    pub fn listed(&self) -> String {
        match self.limits {
            Limits::Whole { least, most: u64::MAX } => format!("{least} or more"),
            Limits::Whole { least, most } => format!("{least} to {most}"),
            Limits::Fraction { least, most } => format!("{least} to {most}"),
        }
    }

    /// For an error: what the value must be.
    fn expected(&self) -> String {
        let limits = match self.limits {
            Limits::Whole { least, most: u64::MAX } => format!("at least {least}"),
            Limits::Whole { least, most } => format!("from {least} to {most}"),
            Limits::Fraction { least, most } => format!("from {least} to {most}"),
        };
        match self.reason {
            Some(reason) => format!("{limits}: {reason}"),
            None => limits,
        }
    }

    /// Whether a value is within the bounds. A value that is not a number is rejected elsewhere because of its type.
    fn takes(&self, value: &Value) -> bool {
        match (&value.kind, self.limits) {
            (ValueKind::I64(value), Limits::Whole { least, most }) => {
                u64::try_from(*value).is_ok_and(|value| (least..=most).contains(&value))
            }
            (ValueKind::Float(value), Limits::Fraction { least, most }) => (least..=most).contains(value),
            _ => false,
        }
    }

    /// The numbers that both bounds allow.
    fn and(self, other: Self) -> Self {
        let limits = match (self.limits, other.limits) {
            (Limits::Whole { least, most }, Limits::Whole { least: other_least, most: other_most }) => {
                Limits::Whole { least: least.max(other_least), most: most.min(other_most) }
            }
            (_, limits) => limits,
        };
        Self { key: self.key, limits, reason: other.reason.or(self.reason) }
    }
}

/// The bounds of a key. If a section has bounds and a service restricts one of its keys further, both apply.
pub(crate) fn of_key(bounds: &[&[Bound]], key: &str) -> Option<Bound> {
    bounds.iter().copied().flatten().filter(|bound| bound.covers(key)).copied().reduce(Bound::and)
}

/// Rejects the first value outside its bounds. Ignores bounds of keys that this process does not have.
pub(crate) fn check(bounds: &[&[Bound]], values: &Map<String, Value>) -> Result<(), SettingsError> {
    for (key, value) in table::leaves(values) {
        if let Some(bound) = of_key(bounds, &key).filter(|bound| !bound.takes(value)) {
            let (origin, expected) = (Origin::of(value), bound.expected());
            return Err(SettingsError::OutOfBounds { key, origin, expected });
        }
    }
    Ok(())
}
