//! How the C library's allocator is to behave in a process that lives for months: memory of a model that is not used
//! any more goes back to the system.
//!
//! glibc raises its bound for blocks that are mapped, and so given back, one by one, whenever such a block is freed. The
//! second model would then lie in the heaps of the threads that loaded it, and what it leaves there stays: ten swaps of a
//! ResNet50 cost 66 MiB. With the bound fixed and one heap they cost 3. musl, which the ARM binary is linked with,
//! does neither.

/// To be called once, before there are threads.
#[cfg(target_env = "gnu")]
pub fn settle() {
    /// glibc's own bound before it raises it.
    const MAPPED_FROM: libc::c_int = 128 * 1024;
    // SAFETY: mallopt may be called at any time; it takes two numbers, and an option that it does not know changes nothing.
    #[allow(unsafe_code)]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_FROM);
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}

#[cfg(not(target_env = "gnu"))]
pub fn settle() {}
