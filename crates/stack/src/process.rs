//! Processes by id, read from `/proc`.

use std::fs;
use std::path::Path;
use std::str::FromStr;

use nix::sys::signal::{self, Signal};
use nix::unistd::Pid;

/// Sends a signal. Does nothing if the process has ended.
pub(crate) fn send(pid: u32, signal: Signal) {
    if let Ok(pid) = i32::try_from(pid)
        && pid > 1
    {
        // This fails only if the process has ended or is not ours; in the second case the wait for its end fails.
        let _ = signal::kill(Pid::from_raw(pid), signal);
    }
}

/// Whether the process exists and its command line contains `path`.
pub(crate) fn speaks_of(pid: u32, path: &Path) -> bool {
    use std::os::unix::ffi::OsStrExt;
    let wanted = path.as_os_str().as_bytes();
    fs::read(format!("/proc/{pid}/cmdline"))
        .is_ok_and(|line| line.windows(wanted.len().max(1)).any(|part| part == wanted))
}

/// All descendants of `root`, without `root` itself.
pub(crate) fn descendants(root: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, parent_of(pid)?)))
        .collect();
    let mut found = vec![root];
    let mut next = 0;
    while let Some(&parent) = found.get(next) {
        found.extend(parents.iter().filter(|(_, of)| *of == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

/// The parent of a process, if the process exists.
pub(crate) fn parent_of(pid: u32) -> Option<u32> {
    parent(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// When a process was started, in clock ticks since boot. Together with the id this identifies a process uniquely, although
/// ids are reused.
pub(crate) fn started(pid: u32) -> Option<u64> {
    field(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?, 19)
}

/// The parent's id in a line of `/proc/<pid>/stat`.
fn parent(stat: &str) -> Option<u32> {
    field(stat, 1)
}

/// A field of a line of `/proc/<pid>/stat`, counted from the state of the process. The name before it is in parentheses and
/// may contain any characters.
fn field<T: FromStr>(stat: &str, index: usize) -> Option<T> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(index)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_read_whatever_the_process_is_called() {
        assert_eq!(parent("812 (a) b (c)) S 77 812 812 0 -1"), Some(77));
        assert_eq!(parent("nonsense"), None);
        assert!(started(std::process::id()) >= started(1) && started(u32::MAX).is_none());
    }

    #[test]
    fn a_child_is_found_as_a_descendant_and_by_its_arguments() {
        let path = Path::new("/a/path/that/only/this/test/names");
        let mut child = std::process::Command::new("sh")
            .args(["-c", "echo; read -r line", "sh"])
            .arg(path)
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let pid = child.id();
        // Its command line is readable for certain only once it runs.
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        let found = descendants(std::process::id());
        let (speaks, silent) = (speaks_of(pid, path), speaks_of(pid, Path::new("/another")));
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(found.contains(&pid) && speaks && !silent);
    }
}
