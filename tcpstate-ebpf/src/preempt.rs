//! Running to the end before another task runs on this CPU. From 7.2 on the kernel may switch tasks inside a program at a
//! tracepoint, and runs it for no other task on the CPU until the first one goes on.
//!
//! The loader turns the two calls into calls of the kernel's functions, or into nothing where they are not needed.

use tcpstate_common::layout::{MARK, Number};

/// A call of the kernel's function that has this place in the list of numbers.
macro_rules! call {
    ($function:ident) => {
        // SAFETY: the function takes and returns nothing, and may write what a call may write.
        unsafe {
            core::arch::asm!(
                "call {}",
                const MARK + Number::$function as i32,
                out("r0") _, out("r1") _, out("r2") _, out("r3") _, out("r4") _, out("r5") _,
            );
        }
    };
}

/// Does something during which no other task gets the CPU.
#[inline(always)]
pub(crate) fn without<T>(act: impl FnOnce() -> T) -> T {
    call!(PREEMPT_DISABLE);
    let done = act();
    call!(PREEMPT_ENABLE);
    done
}
