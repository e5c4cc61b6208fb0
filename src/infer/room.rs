//! Whether there is memory for a network, asked before any of it is taken: an allocation that fails in the middle of
//! loading aborts the process, without a word about what to do.
//!
//! Only what the system refuses is found: a limit on the address space (`ulimit -v`, `LimitAS=`), or strict overcommit.
//! Linux grants more than there is, and a service manager's bound (`MemoryMax=`) is met by the kernel's killer.

use std::fs;
use std::hint::black_box;
use std::path::Path;

/// What loading takes beside the file's own bytes, twice: the plan, the activations, transformed weights, threads.
const BESIDE: u64 = 64 << 20;

/// Bytes of memory that a process takes that runs this file's network, about: with the bundle of ResNet50 (24 MB) it
/// reaches 65 MiB, with one of ResNet101 (43 MB) 89.
#[must_use]
pub fn resident(path: &Path) -> u64 {
    let length = fs::metadata(path).map_or(0, |file| file.len());
    (36 << 20) + length + length / 4
}

/// # Errors
/// If the system does not grant what loading this file takes at most: how many MiB that is.
pub fn for_file(path: &Path) -> Result<(), u64> {
    // a file that is not there is for its reader to name
    let length = fs::metadata(path).map_or(0, |file| file.len());
    for_bytes(2 * length + BESIDE)
}

fn for_bytes(bytes: u64) -> Result<(), u64> {
    let mut room = Vec::<u8>::new();
    let granted = usize::try_from(bytes).is_ok_and(|bytes| room.try_reserve_exact(bytes).is_ok());
    // or the compiler would see that nobody needs it, and not ask
    black_box(&mut room);
    granted.then_some(()).ok_or(bytes >> 20)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_machine_has_an_exabyte() {
        assert_eq!(for_bytes(1 << 60), Err(1 << 40));
        assert_eq!(for_bytes(1 << 20), Ok(()));
    }
}
