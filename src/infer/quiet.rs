//! Catches panics of tract's on a file's network without printing them: a person gets one line that
//! names the file, not a backtrace.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::thread::Result;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Calls `f`; a panic in it becomes an error, silently on this thread and as ever on others.
pub fn catch<T>(f: impl FnOnce() -> T) -> Result<T> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(f));
    QUIET.set(before);
    outcome
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_and_the_next_call_works() {
        assert!(catch(|| panic!("as planned")).is_err());
        assert_eq!(catch(|| 7).ok(), Some(7));
        assert!(!QUIET.get());
    }
}
