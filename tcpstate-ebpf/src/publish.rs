//! Showing to others what was written before.

/// Writes a word after everything that was written before.
///
/// # Safety
/// `at` may be written.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn publish(at: *mut u64, word: u64) {
    // SAFETY: the caller's promise. This architecture shows stores in their order.
    unsafe { core::ptr::write_volatile(at, word) };
}

/// Writes a word after everything that was written before.
///
/// # Safety
/// `at` may be written.
#[cfg(not(bpf_target_arch = "x86_64"))]
#[inline(always)]
pub(crate) unsafe fn publish(at: *mut u64, mut word: u64) {
    // SAFETY: the caller's promise; an exchange is a full barrier.
    unsafe {
        core::arch::asm!("{word} = xchg_64({at} + 0, {word})", at = in(reg) at, word = inout(reg) word);
    }
    let _ = word;
}
