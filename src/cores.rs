//! How many threads run a network: what a person may ask for, and what this machine suggests. The threads
//! themselves are `kernels`'.

use std::collections::HashSet;
use std::fmt;
use std::fs;
use std::num::NonZeroUsize;
use std::path::Path;
use std::str::FromStr;

use serde::Deserialize;

/// A number of threads, 1 to [`Threads::MOST`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(try_from = "i64")]
pub struct Threads(NonZeroUsize);

/// What is no number of threads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the number of threads must be 1 to {most}", most = Threads::MOST)]
pub struct ThreadsError;

impl Threads {
    /// More than any machine that runs this has cores.
    pub const MOST: usize = 256;
    pub const ONE: Self = Self(NonZeroUsize::MIN);

    #[must_use]
    pub fn get(self) -> NonZeroUsize {
        self.0
    }

    /// Half as many, one at least.
    #[must_use]
    pub fn half(self) -> Self {
        Self(NonZeroUsize::new(self.0.get() / 2).unwrap_or(NonZeroUsize::MIN))
    }

    /// One for each performance core that this process may use; [`performance_cores`] says which those are.
    #[must_use]
    pub fn suggested() -> Self {
        let allowed = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let cores = performance_cores(Path::new("/")).unwrap_or(allowed);
        let threads = cores.min(allowed).clamp(1, Self::MOST);
        Self(NonZeroUsize::new(threads).unwrap_or(NonZeroUsize::MIN))
    }
}

impl TryFrom<i64> for Threads {
    type Error = ThreadsError;

    fn try_from(number: i64) -> Result<Self, ThreadsError> {
        usize::try_from(number)
            .ok()
            .filter(|&n| n <= Self::MOST)
            .and_then(NonZeroUsize::new)
            .map(Self)
            .ok_or(ThreadsError)
    }
}

impl FromStr for Threads {
    type Err = ThreadsError;

    fn from_str(text: &str) -> Result<Self, ThreadsError> {
        let number: i64 = text.parse().map_err(|_| ThreadsError)?;
        number.try_into()
    }
}

impl fmt::Display for Threads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Of the processors that are online and that this process may run on: those of the highest capacity (on an ARM
/// machine with large and small cores the large ones), the threads of one core counted once. None where Linux
/// does not say. `root` is the root folder.
fn performance_cores(root: &Path) -> Option<usize> {
    let status = fs::read_to_string(root.join("proc/self/status")).ok()?;
    let allowed = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
    let processors = root.join("sys/devices/system/cpu");
    let online = fs::read_to_string(processors.join("online")).unwrap_or_else(|_| allowed.into());
    let online = numbers(&online)?;
    let about = |number: usize, what: &str| {
        fs::read_to_string(processors.join(format!("cpu{number}")).join(what)).ok()
    };
    let usable: Vec<(u64, String)> = numbers(allowed)?
        .into_iter()
        .filter(|number| online.contains(number))
        .map(|number| {
            let capacity = about(number, "cpu_capacity").and_then(|text| text.trim().parse().ok());
            let core = about(number, "topology/thread_siblings_list");
            (
                capacity.unwrap_or(0),
                core.unwrap_or_else(|| number.to_string()),
            )
        })
        .collect();
    let highest = usable.iter().map(|(capacity, _)| *capacity).max()?;
    let cores = usable.iter().filter(|(capacity, _)| *capacity == highest);
    Some(cores.map(|(_, core)| core).collect::<HashSet<_>>().len())
}

/// `0-2,5` in full. None if it is no such list, or one of more processors than Linux knows.
fn numbers(list: &str) -> Option<Vec<usize>> {
    let mut found = Vec::new();
    for part in list.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last > 8192 {
            return None;
        }
        found.extend(first..=last);
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root folder of a machine: what is allowed, and each processor's capacity and core.
    fn machine(allowed: &str, online: &str, processors: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let write = |path: String, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let status = format!("Name:\tx\nCpus_allowed_list:\t{allowed}\nVoid:\t1\n");
        write("proc/self/status".into(), &status);
        write("sys/devices/system/cpu/online".into(), online);
        for (n, (capacity, siblings)) in processors.iter().enumerate() {
            let folder = format!("sys/devices/system/cpu/cpu{n}");
            if !capacity.is_empty() {
                write(format!("{folder}/cpu_capacity"), capacity);
            }
            write(format!("{folder}/topology/thread_siblings_list"), siblings);
        }
        root
    }

    fn count(allowed: &str, online: &str, processors: &[(&str, &str)]) -> Option<usize> {
        performance_cores(machine(allowed, online, processors).path())
    }

    #[test]
    fn equal_cores_count_all() {
        let pi = [("", "0"), ("", "1"), ("", "2"), ("", "3")];
        assert_eq!(count("0-3", "0-3\n", &pi), Some(4));
    }

    #[test]
    fn what_is_not_allowed_or_offline_does_not_count() {
        let pi = [("", "0"), ("", "1"), ("", "2"), ("", "3")];
        assert_eq!(count("0,2-3", "0-3\n", &pi), Some(3));
        assert_eq!(count("0-3", "0,2\n", &pi), Some(2));
    }

    #[test]
    fn of_large_and_small_cores_the_large_count() {
        let big = [
            ("446\n", "0"),
            ("446\n", "1"),
            ("1024\n", "2"),
            ("1024\n", "3"),
        ];
        assert_eq!(count("0-3", "0-3\n", &big), Some(2));
        assert_eq!(count("0-1", "0-3\n", &big), Some(2));
    }

    #[test]
    fn two_threads_of_a_core_count_once() {
        let pc = [("", "0,2"), ("", "1,3"), ("", "0,2"), ("", "1,3")];
        assert_eq!(count("0-3", "0-3\n", &pc), Some(2));
    }

    #[test]
    fn a_machine_that_says_nothing_gives_no_count_and_a_thread_nevertheless() {
        assert_eq!(performance_cores(Path::new("/nonexistent")), None);
        assert_eq!(numbers("0-"), None);
        assert_eq!(numbers("0-4000000000"), None);
        assert!(Threads::suggested().get().get() >= 1);
    }

    #[test]
    fn zero_too_many_and_words_are_refused_with_the_bound() {
        for text in ["0", "10000", "257", "-1", "two", ""] {
            let error = text.parse::<Threads>().unwrap_err().to_string();
            assert!(error.contains("1 to 256"), "{text}: {error}");
        }
        assert_eq!("256".parse::<Threads>().unwrap().get().get(), 256);
    }
}
