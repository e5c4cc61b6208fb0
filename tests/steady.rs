//! The hot path once it is warm: no allocation and no page fault for a frame. A program of its own, because it
//! counts those of the whole process.
#![cfg(feature = "tools")]
#![allow(clippy::unwrap_used)] // a test that cannot go on has failed
#![allow(unsafe_code)] // an allocator that counts is one

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use resnetd::cores::Threads;
use resnetd::infer::Engine;
use resnetd::label::Prediction;

/// Counts what any thread allocates or grows.
struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Page faults of this process so far that needed no disk.
fn faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // the program's name in parentheses may hold spaces; minflt is the eighth field behind it
    let behind = stat.rsplit_once(')').unwrap().1;
    behind.split_whitespace().nth(7).unwrap().parse().unwrap()
}

/// Allocations and page faults of 100 frames after the first two.
fn count(path: &Path, threads: i64) -> (usize, u64) {
    let mut engine = Engine::load(path, Threads::try_from(threads).unwrap()).unwrap();
    let mut out = Prediction::default();
    let mut frame = |value: u8| {
        engine.picture().unwrap().fill(value);
        engine.run(&mut out).unwrap();
        assert!(engine.features().is_some());
    };
    frame(0);
    frame(1);
    let faults_before = faults();
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    assert!(before > 100 && faults_before > 100, "nothing is counted");
    (0..100).for_each(frame);
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    (allocations, faults() - faults_before)
}

#[test]
fn a_hundred_frames_allocate_nothing_and_fault_nothing_in() {
    let folder = tempfile::tempdir().unwrap();
    let tiny = folder.path().join("tiny.nnef.tar");
    common::tiny_int8().write(&tiny).unwrap();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/resnet50-imagenette.nnef.tar");
    for (path, threads) in [(&tiny, 1), (&tiny, 2), (&tiny, 4), (&shipped, 2)] {
        let (allocations, faults) = count(path, threads);
        let what = format!("{} on {threads} threads", path.display());
        assert_eq!(allocations, 0, "allocations: {what}");
        // the kernel may move a page now and then; one buffer that is mapped anew is 25 faults or more a frame
        assert!(faults < 10, "{faults} page faults: {what}");
    }
}
