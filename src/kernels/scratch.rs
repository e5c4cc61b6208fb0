//! What a thread needs while it computes a tile: pointers to inputs, gathered rows. Part of the
//! thread itself, so that no frame allocates; only layers deeper than any ResNet's use the heap.
#![allow(unsafe_code)] // one buffer for several element types

use std::cell::RefCell;

use super::gather::Value;

/// Pointers to a tile's inputs: 64 taps of 16 pixels.
const POINTERS: usize = 1024;
/// Gathered rows, in bytes: 6 pixels of 512 channels under a 3x3 window, widened, or what Winograd's
/// method transforms at once.
const ROWS: usize = 256 << 10;

#[repr(align(64))]
pub struct Scratch {
    rows: [u8; ROWS],
    pointers: [*const u8; POINTERS],
    more: Vec<u64>,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = const {
        RefCell::new(Scratch {
            rows: [0; ROWS],
            pointers: [std::ptr::null(); POINTERS],
            more: Vec::new(),
        })
    };
}

/// Lends this thread's scratch.
pub fn with<R>(f: impl FnOnce(&mut Scratch) -> R) -> R {
    SCRATCH.with_borrow_mut(f)
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
        let pointers = &mut self.pointers[..n];
        // SAFETY: pointers to sized types are alike, whatever they point at.
        unsafe { std::slice::from_raw_parts_mut(pointers.as_mut_ptr().cast(), n) }
    }

    /// Room for `n` values, of no particular content.
    pub fn rows<V: Value>(&mut self, n: usize) -> &mut [V] {
        let bytes = n * size_of::<V>();
        let start = if bytes <= ROWS {
            self.rows.as_mut_ptr().cast::<V>()
        } else {
            let words = bytes.div_ceil(8);
            if self.more.len() < words {
                self.more.resize(words, 0);
            }
            self.more.as_mut_ptr().cast::<V>()
        };
        // SAFETY: both buffers hold `bytes` initialized bytes, aligned for any `Value`, for which
        // every bit pattern is a value.
        unsafe { std::slice::from_raw_parts_mut(start, n) }
    }
}
