//! A driver's buffer in our memory. Read only, and only by copying: the driver may write to it whenever
//! the buffer is queued, so no reference to its bytes ever exists.

use std::ffi::c_void;
use std::io;
use std::os::fd::OwnedFd;
use std::ptr::{self, NonNull};

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

pub(super) struct Mapping {
    start: NonNull<c_void>,
    length: usize,
}

// SAFETY: a mapping belongs to the process, not to a thread; nothing else holds the pointer.
#[allow(unsafe_code)]
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps the buffer that the driver keeps at `offset` of `file`.
    pub(super) fn new(file: &OwnedFd, offset: u64, length: usize) -> io::Result<Self> {
        // SAFETY: a fresh mapping at an address of the kernel's choice touches no memory in use.
        #[allow(unsafe_code)]
        let start = unsafe {
            mmap(
                ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::SHARED,
                file,
                offset,
            )?
        };
        let start = NonNull::new(start).ok_or_else(|| io::Error::other("mapped at address 0"))?;
        Ok(Self { start, length })
    }

    /// Replaces `into` by the first `bytes` bytes; false if there are not as many.
    pub(super) fn copy(&self, bytes: usize, into: &mut Vec<u8>) -> bool {
        if bytes > self.length {
            return false;
        }
        into.clear();
        into.reserve(bytes);
        // SAFETY: `start` is valid for `length >= bytes` bytes until it is unmapped by drop, also after
        // the device is gone (the mapping keeps the pages). `into` has room for `bytes` bytes, all of
        // which are written before its length says so; the two do not overlap. The buffer is dequeued,
        // so the driver does not write to it; if one did all the same, the copy would hold a mixture of
        // pictures, as any copy of device memory.
        #[allow(unsafe_code)]
        unsafe {
            ptr::copy_nonoverlapping(self.start.as_ptr().cast::<u8>(), into.as_mut_ptr(), bytes);
            into.set_len(bytes);
        }
        true
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly what `new` mapped, once; no pointer into it outlives `self`.
        #[allow(unsafe_code)]
        let unmapped = unsafe { munmap(self.start.as_ptr(), self.length) };
        if let Err(error) = unmapped {
            log::warn!("cannot unmap a camera buffer: {error}");
        }
    }
}
