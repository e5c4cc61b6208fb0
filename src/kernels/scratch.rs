//! What a thread needs while it computes a tile: pointers to inputs, gathered rows. Part of the
//! thread itself, so that no frame allocates; only layers deeper than any ResNet's use the heap. It
//! begins as zeros, so that a thread which never computes has it in name only.
#![allow(unsafe_code)] // one buffer for two element types

use std::cell::RefCell;

/// Pointers to a tile's inputs: 64 taps of 16 pixels.
const POINTERS: usize = 1024;
/// Gathered rows, in bytes, and what a backend makes of them, or what Winograd's method transforms at once: of the 512
/// channels of a ResNet's last layers 16 with their weights, and four tiles.
pub const ROWS: usize = 768 << 10;

/// In this order: rows are read as vectors, and are aligned as such.
#[repr(C, align(64))]
pub struct Scratch {
    rows: [u8; ROWS],
    pointers: [*const u8; POINTERS],
    /// Rows that do not fit.
    more: Option<Box<[Line]>>,
}

#[derive(Clone, Copy)]
#[repr(align(64))]
#[allow(dead_code)] // read as bytes
struct Line([u8; 64]);

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch {
            rows: [0; ROWS],
            pointers: [std::ptr::null(); POINTERS],
            more: None,
        })
    };
}

/// Lends this thread's scratch.
pub fn with<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(f)
}

/// Writes to all of this thread's scratch once, so that no frame waits for its pages.
pub fn touch() {
    with(|scratch| std::hint::black_box(scratch).rows.fill(0));
}

impl Scratch {
    /// Whether so many inputs can be pointed at.
    pub const fn holds_pointers(n: usize) -> bool {
        n <= POINTERS
    }

    /// Room for `n` 16-bit values, of no particular content, aligned for vectors.
    pub fn wide(&mut self, n: usize) -> &mut [i16] {
        let (bytes, _) = self.rows_and_pointers(n * size_of::<i16>(), 0);
        // SAFETY: both row buffers are aligned for 16-bit values, of which every bit pattern is one.
        unsafe { std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), n) }
    }

    /// Room for `bytes`, of no particular content, aligned for vectors, and for pointers.
    ///
    /// # Panics
    /// If [`Self::holds_pointers`] said no.
    pub fn rows_and_pointers(
        &mut self,
        bytes: usize,
        pointers: usize,
    ) -> (&mut [u8], &mut [*const u8]) {
        let rows = if bytes <= ROWS {
            &mut self.rows[..bytes]
        } else {
            let lines = bytes.div_ceil(size_of::<Line>());
            let more = self.more.take().filter(|more| more.len() >= lines);
            let more = more.unwrap_or_else(|| vec![Line([0; 64]); lines].into_boxed_slice());
            let more = self.more.insert(more).as_mut_ptr().cast();
            // SAFETY: lines are bytes without gaps, and there are so many.
            unsafe { std::slice::from_raw_parts_mut(more, bytes) }
        };
        (rows, &mut self.pointers[..pointers])
    }
}
