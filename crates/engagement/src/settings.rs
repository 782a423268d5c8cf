//! The settings of counting. Every process that counts must use the same values.

use configuration::{Bound, bound};
use serde::Deserialize;

const DAY_S: u32 = 24 * 60 * 60;

/// Bounds of those keys of the `[engagement]` section that define what counts.
pub const BOUNDS: &[Bound] = &[bound("engagement.view_window_s", 0..=86_400)];

/// Those keys of the `[engagement]` section that define what counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// A visitor's views of a blog count once per window of this many seconds. Windows start at UTC midnight, so the length
    /// must divide a day. With 0 every view counts and no row is stored for it.
    pub view_window_s: u32,
}

/// The window does not divide the day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "engagement.view_window_s is {0}, which does not divide a day: choose 0 (every view counts) or a divisor of \
     86400, such as 300, 1800 or 3600"
)]
pub struct SettingsError(u32);

impl Settings {
    /// Checks that the window divides a day.
    ///
    /// # Errors
    /// [`SettingsError`] if it does not.
    pub fn validate(&self) -> Result<(), SettingsError> {
        if self.view_window_s == 0 || DAY_S.is_multiple_of(self.view_window_s) {
            Ok(())
        } else {
            Err(SettingsError(self.view_window_s))
        }
    }
}
