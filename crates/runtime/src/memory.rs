//! The memory limit of this process.

use std::fs::read_to_string;
use std::path::Path;

/// The lowest memory limit of this process's control groups, in bytes; `None` if none can be read. A container sees its own
/// limit at the top of its hierarchy.
#[must_use]
pub fn limit() -> Option<u64> {
    limit_below(Path::new("/"))
}

fn limit_below(root: &Path) -> Option<u64> {
    let groups = read_to_string(root.join("proc/self/cgroup")).ok()?;
    let hierarchies = root.join("sys/fs/cgroup");
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':');
            let (controllers, group) = (parts.nth(1)?, parts.next()?);
            // Version 2 has one hierarchy for all controllers; version 1 has one for memory.
            let (hierarchy, file) = match controllers {
                "" => (hierarchies.clone(), "memory.max"),
                _ if controllers.split(',').any(|name| name == "memory") => {
                    (hierarchies.join("memory"), "memory.limit_in_bytes")
                }
                _ => return None,
            };
            let group = Path::new(group.trim_start_matches('/'));
            let limits = group.ancestors().filter_map(|group| {
                read_to_string(hierarchy.join(group).join(file)).ok()?.trim().parse::<u64>().ok()
            });
            limits.min()
        })
        .min()
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir_all, remove_dir_all, write};

    use super::*;

    #[test]
    fn the_lowest_limit_of_a_group_and_its_parents_is_found() {
        let root = std::env::temp_dir().join(format!("memory-limit-{}", uuid::Uuid::now_v7()));
        let file = |path: &str, text: &str| {
            let path = root.join(path);
            create_dir_all(path.parent().unwrap()).unwrap();
            write(path, text).unwrap();
        };
        assert_eq!(limit_below(&root), None);
        file("proc/self/cgroup", "0::/a/b\n");
        assert_eq!(limit_below(&root), None);
        file("sys/fs/cgroup/a/memory.max", "1000\n");
        file("sys/fs/cgroup/a/b/memory.max", "max\n");
        assert_eq!(limit_below(&root), Some(1000));
        file("sys/fs/cgroup/memory.max", "900\n");
        assert_eq!(limit_below(&root), Some(900));
        file("proc/self/cgroup", "4:cpu,memory:/elsewhere\n3:cpuset:/\n");
        file("sys/fs/cgroup/memory/memory.limit_in_bytes", "800\n");
        assert_eq!(limit_below(&root), Some(800));
        remove_dir_all(&root).unwrap();
    }
}
