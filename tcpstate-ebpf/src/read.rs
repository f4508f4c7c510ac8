//! The two ways to read a kernel struct. The verifier lets a program load fields of a struct whose type it knows,
//! which is one instruction; everything else takes a helper that copes with any address.

use aya_ebpf::{Global, helpers::bpf_probe_read_kernel};

/// How a struct is read.
pub(crate) trait Read: Copy {
    /// Reads a field; zero where the address is not mapped.
    fn field<T: Copy + Default>(base: *const u8, offset: &Global<u32>) -> T;
}

/// The verifier knows the type: the struct is an argument of a typed tracepoint, or reached from one.
#[derive(Clone, Copy)]
pub(crate) struct Typed;

/// Nothing is known of the address.
#[derive(Clone, Copy)]
pub(crate) struct Untyped;

impl Read for Typed {
    #[inline(always)]
    fn field<T: Copy + Default>(base: *const u8, offset: &Global<u32>) -> T {
        let at = base.wrapping_add(offset.load() as usize);
        // SAFETY: the verifier has checked that this field is there (the offset is a constant to it), and the
        // kernel reads zero where the address is bad. Volatile, so that nothing is read twice or elsewhere.
        unsafe { core::ptr::read_volatile(at.cast::<T>()) }
    }
}

impl Read for Untyped {
    #[inline(always)]
    fn field<T: Copy + Default>(base: *const u8, offset: &Global<u32>) -> T {
        at(base.wrapping_add(offset.load() as usize))
    }
}

/// Reads from any address; zero where it is not mapped.
#[inline(always)]
pub(crate) fn at<T: Copy + Default>(address: *const u8) -> T {
    // SAFETY: the helper checks the address itself; T is numbers, any bytes are a value.
    unsafe { bpf_probe_read_kernel(address.cast::<T>()) }.unwrap_or_default()
}

/// Reads a field that is an address, of any struct.
#[inline(always)]
pub(crate) fn address(base: *const u8, offset: &Global<u32>) -> *const u8 {
    Untyped::field::<usize>(base, offset) as *const u8
}
