//! Processor time and memory of processes, from `/proc`.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

/// `USER_HZ`: the unit of processor time in `/proc`, the same on every Linux.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process in `/proc`.
#[derive(Debug)]
pub(crate) struct Stat {
    pub(crate) parent: u32,
    /// Its own processor time.
    pub(crate) own_s: f64,
    /// The processor time of its children that have ended.
    pub(crate) children_s: f64,
}

impl Stat {
    pub(crate) fn of(pid: u32) -> Option<Self> {
        Self::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    /// The name is in parentheses and may contain any character, so fields are counted from its end.
    fn parse(text: &str) -> Option<Self> {
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok().map(|ticks| ticks / TICKS_PER_SECOND);
        Some(Self {
            parent: fields.get(1)?.parse().ok()?,
            own_s: ticks(11)? + ticks(12)?,
            children_s: ticks(13)? + ticks(14)?,
        })
    }
}

/// All current processes.
pub(crate) fn everybody() -> impl Iterator<Item = (u32, Stat)> {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes.filter_map(|process| {
        let pid = process.file_name().to_str()?.parse().ok()?;
        Some((pid, Stat::of(pid)?))
    })
}

/// The cost of processes by their given names, including the processes that they started.
#[derive(Debug, Default)]
pub(crate) struct Usages {
    groups: Vec<Group>,
}

#[derive(Debug)]
struct Group {
    name: &'static str,
    roots: Vec<u32>,
    /// The processor time of each process when it was first and last seen; the first is 0 for a process that started later.
    cpu_s: BTreeMap<u32, (f64, f64)>,
    memory_peak_bytes: u64,
}

/// The cost of the processes with one name.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Usage {
    /// The name.
    pub name: &'static str,
    /// Processor time, in seconds.
    pub cpu_s: f64,
    /// Peak of their total memory in bytes: their private memory plus the largest shared segment once. It is sampled, so a
    /// short peak can be missed.
    pub memory_peak_bytes: u64,
}

impl Usages {
    /// Starts to watch these processes and their descendants.
    pub(crate) fn watch(roots: &[(&'static str, u32)]) -> Self {
        let mut usages = Self::default();
        for &(name, root) in roots {
            usages.also(name, root);
        }
        usages.look(true);
        usages
    }

    /// Also watches another process, such as a restarted server.
    pub(crate) fn also(&mut self, name: &'static str, root: u32) {
        match self.groups.iter_mut().find(|group| group.name == name) {
            Some(group) => group.roots.push(root),
            None => self.groups.push(Group {
                name,
                roots: vec![root],
                cpu_s: BTreeMap::new(),
                memory_peak_bytes: 0,
            }),
        }
    }

    /// Samples all processes. A process belongs to its nearest root, so a server is not charged to the process that started it.
    pub(crate) fn look(&mut self, is_first: bool) {
        let all: BTreeMap<u32, Stat> = everybody().collect();
        let roots: BTreeMap<u32, &str> =
            self.groups.iter().flat_map(|group| group.roots.iter().map(|&root| (root, group.name))).collect();
        let owners: BTreeMap<u32, &str> =
            all.keys().filter_map(|&pid| Some((pid, owner(&all, pid, &roots)?))).collect();
        for group in &mut self.groups {
            let (mut own, mut shared) = (0, 0);
            for (&pid, stat) in all.iter().filter(|(pid, _)| owners.get(pid) == Some(&group.name)) {
                let first = if is_first { stat.own_s } else { 0.0 };
                group.cpu_s.entry(pid).or_insert((first, 0.0)).1 = stat.own_s;
                let memory = Memory::of(pid).unwrap_or_default();
                own += memory.own_bytes;
                shared = shared.max(memory.shared_bytes);
            }
            group.memory_peak_bytes = group.memory_peak_bytes.max(own + shared);
        }
    }

    /// Their cost since the start.
    pub(crate) fn all(&self) -> Vec<Usage> {
        let cpu_s = |group: &Group| group.cpu_s.values().map(|(first, last)| (last - first).max(0.0)).sum();
        let usage = |group: &Group| Usage {
            name: group.name,
            cpu_s: cpu_s(group),
            memory_peak_bytes: group.memory_peak_bytes,
        };
        self.groups.iter().map(usage).collect()
    }
}

/// The name of the nearest of the roots, itself or above it.
fn owner<'name>(
    all: &BTreeMap<u32, Stat>,
    pid: u32,
    roots: &BTreeMap<u32, &'name str>,
) -> Option<&'name str> {
    let parent = |pid: &u32| all.get(pid).map(|stat| stat.parent).filter(|&parent| parent > 1);
    std::iter::successors(Some(pid), parent).find_map(|ancestor| roots.get(&ancestor).copied())
}

/// Resident memory of a process.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Memory {
    own_bytes: u64,
    shared_bytes: u64,
}

impl Memory {
    fn of(pid: u32) -> Option<Self> {
        Some(Self::parse(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?))
    }

    fn parse(status: &str) -> Self {
        let bytes = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
            kib.unwrap_or_default() * 1024
        };
        Self { own_bytes: bytes("RssAnon:"), shared_bytes: bytes("RssShmem:") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let text = "42 (a) b (c) S 7 42 42 0 -1 4194304 1 2 3 4 150 50 30 20 20 0 1 0 99 1 1";
        let stat = Stat::parse(text).unwrap();
        assert_eq!((stat.parent, stat.own_s, stat.children_s), (7, 2.0, 0.5));
        assert!(Stat::parse("nothing").is_none());
        assert!(Stat::of(std::process::id()).unwrap().parent > 0);
    }

    #[test]
    fn memory_is_read_from_its_two_lines() {
        let memory = Memory::parse("Name:\tx\nRssAnon:\t     2048 kB\nRssFile:\t 9 kB\nRssShmem:\t  1 kB\n");
        assert_eq!(memory, Memory { own_bytes: 2 << 20, shared_bytes: 1024 });
        assert!(Memory::of(std::process::id()).unwrap().own_bytes > 0);
    }

    #[test]
    fn process_belongs_to_its_nearest_root() {
        let stat = |parent| Stat { parent, own_s: 0.0, children_s: 0.0 };
        let all = BTreeMap::from([
            (1, stat(0)),
            (7, stat(1)),
            (8, stat(7)),
            (9, stat(8)),
            (10, stat(7)),
            (11, stat(1)),
        ]);
        let roots = BTreeMap::from([(7, "generator"), (8, "server")]);
        let owners = [7, 8, 9, 10, 11].map(|pid| owner(&all, pid, &roots));
        assert_eq!(owners, [Some("generator"), Some("server"), Some("server"), Some("generator"), None]);
    }

    #[test]
    fn process_is_charged_for_itself_and_its_children_from_now_on() {
        let mut usages = Usages::watch(&[("this", std::process::id()), ("init", 1)]);
        let began = std::time::Instant::now();
        while began.elapsed().as_millis() < 200 {
            std::hint::black_box(began.elapsed());
        }
        usages.look(false);
        let all = usages.all();
        assert_eq!(all.iter().map(|usage| usage.name).collect::<Vec<_>>(), ["this", "init"]);
        assert!(all[0].cpu_s > 0.0 && all[0].memory_peak_bytes > 0, "{all:?}");
    }
}
