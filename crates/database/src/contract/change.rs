//! A change of a server between two readings.

/// One changed value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// For example `role blogs_api: rolcanlogin`.
    pub line: String,
    /// Its value before, if it existed.
    pub was: Option<String>,
    /// Its value now, if it exists.
    pub is: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, was, is } = self;
        match (was, is) {
            (Some(was), Some(is)) => write!(f, "{line} was {was}, is {is} now"),
            (Some(was), None) => write!(f, "{line} was {was}, does not exist now"),
            (None, Some(is)) => write!(f, "{line} is {is} now, did not exist before"),
            (None, None) => f.write_str(line),
        }
    }
}
