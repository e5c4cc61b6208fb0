//! What it does with the bytes is in `resnetd_fuzz::page`.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = resnetd_fuzz::page(bytes);
});
