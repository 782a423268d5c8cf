//! Names of databases and vhosts. On kept servers a name says which process made it, so that a later run can tell what is
//! left of processes that have ended.

use stack::kept;

/// The name of this process's template or of one test's database.
pub(crate) fn name(kind: &str, number: Option<u32>, are_kept: bool) -> String {
    let mut name = kind.to_owned();
    if are_kept {
        name += &format!("_{}_{}", std::process::id(), kept::own_start());
    }
    if let Some(number) = number {
        name += &format!("_{number}");
    }
    name
}

/// Whether the process that made this has ended. False for names that are not of a kept server's tests.
pub(crate) fn is_left(name: &str) -> bool {
    let mut parts = name.split('_').skip(1);
    let mut next = || parts.next()?.parse::<u64>().ok();
    match (next(), next()) {
        (Some(pid), Some(started)) => !u32::try_from(pid).is_ok_and(|pid| kept::is_running(pid, started)),
        _ => false,
    }
}
