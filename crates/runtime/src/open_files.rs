//! The limit of open files of this process. Each connection is an open file.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files in addition to the clients' connections: connections to servers, listeners, logs, and connections that are
/// being closed.
const RESERVE: u64 = 256;

/// Raises the limit to the maximum that this process may have. The default is usually 1024, for programs that use `select`.
pub(crate) fn raise() {
    let maximum = getrlimit(Resource::Nofile).maximum;
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}

/// Checks that this process may open this many connections.
///
/// # Errors
/// A message that says what to change.
pub fn check(connections: u64) -> Result<(), String> {
    check_below(connections, getrlimit(Resource::Nofile).maximum)
}

fn check_below(connections: u64, maximum: Option<u64>) -> Result<(), String> {
    let needed = connections.saturating_add(RESERVE);
    match maximum {
        Some(maximum) if needed > maximum => Err(format!(
            "this process may need {needed} open files ({connections} for clients' connections and {RESERVE} others), but \
             its limit is {maximum}: lower requests.connections_max, or raise the hard limit of open files (ulimit -Hn; \
             ulimits.nofile in a compose file, LimitNOFILE in a systemd unit)"
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_fit_into_the_hard_limit() {
        for fits in [None, Some(1000)] {
            check_below(744, fits).unwrap();
        }
        let refused = check_below(745, Some(1000)).unwrap_err();
        assert!(
            refused.contains("may need 1001 open files") && refused.contains("its limit is 1000"),
            "{refused}"
        );
    }

    #[test]
    fn the_soft_limit_is_raised_to_the_hard_one() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let lower = maximum.map_or(1024, |maximum| maximum.min(1024));
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), maximum }).unwrap();
        raise();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }
}
