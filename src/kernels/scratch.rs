//! What a thread needs while it computes a tile: pointers to inputs, gathered rows. Part of the
//! thread itself, so that no frame allocates; only layers deeper than any ResNet's use the heap. It
//! begins as zeros, so that a thread which never computes has it in name only.
#![allow(unsafe_code)] // one buffer for several element types

use std::cell::RefCell;

use super::gather::Value;

/// Pointers to a tile's inputs: 64 taps of 16 pixels.
const POINTERS: usize = 1024;
/// Gathered rows, in bytes: 6 pixels of 512 channels under a 3x3 window, widened, or what Winograd's
/// method transforms at once.
pub const ROWS: usize = 256 << 10;

/// In this order: rows are read as vectors, and are aligned as such.
#[repr(C, align(64))]
pub struct Scratch {
    rows: [u8; ROWS],
    pointers: [*const u8; POINTERS],
    /// Rows that do not fit.
    more: Option<Box<[u64]>>,
}

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

    /// Room for `n` pointers.
    ///
    /// # Panics
    /// If [`Self::holds_pointers`] said no.
    pub fn pointers<V: Value>(&mut self, n: usize) -> &mut [*const V] {
        self.rows_and_pointers(0, n).1
    }

    /// Room for `n` values, of no particular content.
    pub fn rows<V: Value>(&mut self, n: usize) -> &mut [V] {
        self.rows_and_pointers(n, 0).0
    }

    /// Both.
    ///
    /// # Panics
    /// If [`Self::holds_pointers`] said no.
    pub fn rows_and_pointers<V: Value>(
        &mut self,
        values: usize,
        pointers: usize,
    ) -> (&mut [V], &mut [*const V]) {
        let bytes = values * size_of::<V>();
        let rows = if bytes <= ROWS {
            self.rows.as_mut_ptr().cast::<V>()
        } else {
            let words = bytes.div_ceil(8);
            let more = self.more.take().filter(|more| more.len() >= words);
            let more = more.unwrap_or_else(|| vec![0; words].into_boxed_slice());
            self.more.insert(more).as_mut_ptr().cast::<V>()
        };
        let pointers = &mut self.pointers[..pointers];
        // SAFETY: both row buffers hold `bytes` initialized bytes, aligned for any `Value`, of which
        // every bit pattern is one; pointers to sized types are alike, whatever they point at.
        unsafe {
            (
                std::slice::from_raw_parts_mut(rows, values),
                std::slice::from_raw_parts_mut(pointers.as_mut_ptr().cast(), pointers.len()),
            )
        }
    }
}
