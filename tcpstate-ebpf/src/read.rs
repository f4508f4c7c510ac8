//! The two ways to read a kernel struct. The verifier lets a program load fields of a struct whose type it knows,
//! which is one instruction; everything else takes a helper that copes with any address.

use core::{arch::asm, hint::assert_unchecked};

use aya_ebpf::helpers::bpf_probe_read_kernel;
use tcpstate_common::layout::OFFSET_MARK;

use crate::numbers::Told;

/// How a struct is read.
pub(crate) trait Read: Copy {
    /// Reads a field; zero where the address is not mapped.
    fn field<T: Field, const PLACE: i16>(base: *const u8, offset: Told<PLACE>) -> T;
}

/// The verifier knows the type: the struct is an argument of a typed tracepoint, or reached from one.
#[derive(Clone, Copy)]
pub(crate) struct Typed;

/// Nothing is known of the address.
#[derive(Clone, Copy)]
pub(crate) struct Untyped;

impl Read for Typed {
    #[inline(always)]
    fn field<T: Field, const PLACE: i16>(base: *const u8, offset: Told<PLACE>) -> T {
        // SAFETY: the verifier has checked that this field is there (the offset is a constant to it), and the kernel
        // reads zero where the address is bad.
        unsafe { T::load(base, offset) }
    }
}

impl Read for Untyped {
    #[inline(always)]
    fn field<T: Field, const PLACE: i16>(base: *const u8, offset: Told<PLACE>) -> T {
        at(base.wrapping_add(offset.load() as usize))
    }
}

/// What a field may be: numbers.
pub(crate) trait Field: Copy + Default {
    /// Loads a field, once.
    ///
    /// # Safety
    /// There is such a field so far from `base`.
    unsafe fn load<const PLACE: i16>(base: *const u8, offset: Told<PLACE>) -> Self;
}

macro_rules! words {
    ($($word:ty, $load:literal;)*) => {
        $(impl Field for $word {
            #[inline(always)]
            unsafe fn load<const PLACE: i16>(base: *const u8, _: Told<PLACE>) -> Self {
                let word: u64;
                // SAFETY: the caller's promise; the instruction clears the bits that it does not load.
                unsafe {
                    asm!($load, out(reg) word, in(reg) base, const OFFSET_MARK + PLACE);
                    assert_unchecked(word <= u64::MAX >> (64 - Self::BITS));
                }
                word as Self
            }
        })*
    };
}

words! {
    u8, "{} = *(u8 *)({} + {})";
    u16, "{} = *(u16 *)({} + {})";
    u32, "{} = *(u32 *)({} + {})";
    u64, "{} = *(u64 *)({} + {})";
    usize, "{} = *(u64 *)({} + {})";
}

impl<T: Field, const N: usize> Field for [T; N]
where
    Self: Default,
{
    #[inline(always)]
    unsafe fn load<const PLACE: i16>(base: *const u8, offset: Told<PLACE>) -> Self {
        // SAFETY: the caller's promise.
        unsafe { core::ptr::read_volatile(base.wrapping_add(offset.load() as usize).cast()) }
    }
}

/// Reads from any address; zero where it is not mapped.
#[inline(always)]
pub(crate) fn at<T: Copy + Default>(address: *const u8) -> T {
    // SAFETY: the helper checks the address itself; T is numbers, any bytes are a value.
    unsafe { bpf_probe_read_kernel(address.cast::<T>()) }.unwrap_or_default()
}

/// Reads a field that is an address.
#[inline(always)]
pub(crate) fn address<R: Read, const PLACE: i16>(base: *const u8, offset: Told<PLACE>) -> *const u8 {
    R::field::<usize, _>(base, offset) as *const u8
}
