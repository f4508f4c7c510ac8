//! Memory that is not needed any more.

/// Gives memory that was freed back to the system; the allocator keeps it otherwise.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, touches only the allocator's own free lists.
    unsafe {
        libc::malloc_trim(0);
    }
}
