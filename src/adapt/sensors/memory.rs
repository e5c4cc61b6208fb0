//! How much memory this process may still take: what the machine has, and what the control groups leave that the process
//! is in (Documentation/admin-guide/cgroup-v2.rst; of version 1 the two files that say the same).

use std::fs;
use std::path::{Path, PathBuf};

use super::{Memory, line, number};

/// Of the last ten seconds so many hundredths were spent waiting for memory: programs stall.
const STALLS: f64 = 10.0;

#[derive(Debug)]
pub struct MemorySensors {
    meminfo: PathBuf,
    groups: Vec<Group>,
    /// `memory.pressure` of our group, else of the machine.
    pressure: Option<PathBuf>,
    /// How often the group was in want of memory.
    wants: u64,
}

/// A control group, or one that it is in.
#[derive(Debug)]
struct Group {
    path: PathBuf,
    files: Files,
}

/// What the two versions call the same.
#[derive(Debug, Clone, Copy)]
struct Files {
    limit: &'static str,
    usage: &'static str,
    /// Of `memory.stat`: file contents that nobody misses.
    reclaimable: &'static str,
}

const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    reclaimable: "total_inactive_file",
};
const V2: Files = Files {
    limit: "memory.max",
    usage: "memory.current",
    reclaimable: "inactive_file",
};

impl MemorySensors {
    pub fn below(root: &Path) -> Self {
        let groups = groups(root);
        let own = groups
            .first()
            .map(|group| group.path.join("memory.pressure"));
        let machine = root.join("proc/pressure/memory");
        let pressure = own.into_iter().chain([machine]).find(|path| path.exists());
        let mut sensors = Self {
            meminfo: root.join("proc/meminfo"),
            groups,
            pressure,
            wants: 0,
        };
        sensors.wants = sensors.wants();
        sensors
    }

    pub fn read(&mut self) -> Option<Memory> {
        let machine = available(&self.meminfo);
        let groups = self.groups.iter().filter_map(Group::free);
        let free = machine.into_iter().chain(groups).min()?;
        let wants = self.wants();
        let more = wants > self.wants;
        self.wants = wants;
        let waits = self.pressure.as_deref().and_then(waiting);
        Some(Memory {
            free,
            stalls: more || waits.is_some_and(|share| share >= STALLS),
        })
    }

    /// How often our group has been throttled or killed from for want of memory (not `max`: file contents that are
    /// dropped for others count there).
    fn wants(&self) -> u64 {
        let own = self.groups.first();
        let text = own.and_then(|group| fs::read_to_string(group.path.join("memory.events")).ok());
        let text = text.unwrap_or_default();
        let counts = ["high", "oom", "oom_kill"].map(|key| value(&text, key).unwrap_or(0));
        counts.iter().sum()
    }
}

impl Group {
    /// `None` without a limit.
    fn free(&self) -> Option<u64> {
        let limit: u64 = number(&self.path.join(self.files.limit))?;
        let usage: u64 = number(&self.path.join(self.files.usage))?;
        let stat = fs::read_to_string(self.path.join("memory.stat")).unwrap_or_default();
        let reclaimable = value(&stat, self.files.reclaimable).unwrap_or(0);
        Some((limit + reclaimable).saturating_sub(usage))
    }
}

/// The groups that this process is in and whose memory is counted, the innermost first.
fn groups(root: &Path) -> Vec<Group> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let mut found = Vec::new();
    for entry in text.lines() {
        let mut parts = entry.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else {
            continue;
        };
        let (mount, files) = if controllers.is_empty() {
            (root.join("sys/fs/cgroup"), V2)
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("sys/fs/cgroup/memory"), V1)
        } else {
            continue;
        };
        let own = mount.join(path.trim_start_matches('/'));
        let above = own
            .ancestors()
            .take_while(|group| group.starts_with(&mount));
        let counted = above.filter(|group| group.join(files.limit).exists());
        found.extend(counted.map(|group| Group {
            path: group.to_owned(),
            files,
        }));
    }
    found
}

/// Whether Linux was started without counting memory by control groups, so that a unit's `MemoryMax=` does nothing.
#[must_use]
pub fn limits_have_no_effect(root: &Path) -> bool {
    let controllers = line(&root.join("sys/fs/cgroup/cgroup.controllers"));
    controllers.is_some_and(|names| !names.split_whitespace().any(|name| name == "memory"))
}

/// Bytes.
fn available(meminfo: &Path) -> Option<u64> {
    let text = fs::read_to_string(meminfo).ok()?;
    value(&text, "MemAvailable:").map(|kib| kib * 1024)
}

/// The number after a word at the beginning of a line.
#[must_use]
pub fn value(text: &str, key: &str) -> Option<u64> {
    let mut lines = text.lines().map(str::split_whitespace);
    let mut words = lines.find_map(|mut words| (words.next()? == key).then_some(words))?;
    words.next()?.parse().ok()
}

/// The share of the last ten seconds in which something waited, in hundredths.
fn waiting(pressure: &Path) -> Option<f64> {
    let text = fs::read_to_string(pressure).ok()?;
    let some = text.lines().find_map(|line| line.strip_prefix("some "))?;
    let average = some
        .split_whitespace()
        .find_map(|word| word.strip_prefix("avg10="))?;
    average.parse().ok()
}
