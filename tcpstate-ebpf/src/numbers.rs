//! The numbers that the loader writes into the instructions that need them: see `tcpstate_common::layout`.

use tcpstate_common::layout::{MARK, Number};

/// One of them, by its place in the list.
#[derive(Clone, Copy)]
pub(crate) struct Told<const PLACE: i16>;

impl<const PLACE: i16> Told<PLACE> {
    /// The number.
    #[expect(clippy::unused_self, reason = "all that there is to it is its type")]
    #[inline(always)]
    pub(crate) fn load(self) -> u64 {
        let number: u64;
        // SAFETY: one instruction on one register. Each use has its own, since keeping the number would cost more.
        unsafe { core::arch::asm!("{} = {}", out(reg) number, const MARK + PLACE as i32) };
        number
    }
}

macro_rules! declare {
    ($($name:ident)*) => {
        $(pub(crate) const $name: Told<{ Number::$name as i16 }> = Told;)*
    };
}

tcpstate_common::with_numbers!(declare);
