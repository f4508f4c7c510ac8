//! Showing to others what was written before.

#[cfg(bpf_target_arch = "x86_64")]
use core::sync::atomic::{Ordering, compiler_fence};

/// Writes a word after everything that was written before, and before everything that is written later.
///
/// # Safety
/// `at` may be written.
#[cfg(bpf_target_arch = "x86_64")]
#[inline(always)]
pub(crate) unsafe fn publish(at: *mut u64, word: u64) {
    // This architecture shows stores in the order in which the compiler puts them.
    compiler_fence(Ordering::SeqCst);
    // SAFETY: the caller's promise.
    unsafe { core::ptr::write_volatile(at, word) };
    compiler_fence(Ordering::SeqCst);
}

/// Writes a word after everything that was written before, and before everything that is written later.
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
