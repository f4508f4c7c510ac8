//! A map of the kernel side, mapped into this process.

use std::{
    os::fd::BorrowedFd,
    ptr::{self, NonNull},
};

use rustix::mm::{MapFlags, ProtFlags};

/// The values of an array map, which the kernel side reads and writes meanwhile.
#[derive(Debug)]
pub(super) struct Mapping<T> {
    first: NonNull<T>,
    len: usize,
}

// SAFETY: the mapping belongs to this value alone, and is the same in every thread.
unsafe impl<T: Send> Send for Mapping<T> {}
// SAFETY: it gives away addresses only; who follows one does so as if others wrote there, since others do.
unsafe impl<T: Send> Sync for Mapping<T> {}

impl<T: Copy> Mapping<T> {
    /// Maps `len` values behind a descriptor, to read them.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn to_read(fd: BorrowedFd<'_>, len: usize) -> std::io::Result<Self> {
        Self::map(fd, len, ProtFlags::READ)
    }

    /// The same, to read and write them.
    ///
    /// # Errors
    /// What the kernel said.
    pub(super) fn to_write(fd: BorrowedFd<'_>, len: usize) -> std::io::Result<Self> {
        Self::map(fd, len, ProtFlags::READ | ProtFlags::WRITE)
    }

    fn map(fd: BorrowedFd<'_>, len: usize, protection: ProtFlags) -> std::io::Result<Self> {
        // SAFETY: a new mapping, wherever the kernel has room.
        let start = unsafe {
            rustix::mm::mmap(ptr::null_mut(), len * size_of::<T>(), protection, MapFlags::SHARED, fd, 0)?
        };
        let first = NonNull::new(start.cast()).ok_or(std::io::ErrorKind::AddrNotAvailable)?;
        Ok(Self { first, len })
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// The address of a value. Who follows it knows what the kernel side does there meanwhile.
    pub(super) fn at(&self, place: usize) -> *mut T {
        assert!(place < self.len, "place {place} of {}", self.len);
        // SAFETY: within the mapping.
        unsafe { self.first.add(place).as_ptr() }
    }
}

impl<T> Drop for Mapping<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping that `map` made; nothing that was read borrows from it.
        let unmapped = unsafe { rustix::mm::munmap(self.first.as_ptr().cast(), self.len * size_of::<T>()) };
        debug_assert!(unmapped.is_ok(), "a whole mapping can be unmapped");
    }
}

/// A file with these values, plain numbers without padding, to be mapped in place of a map.
#[cfg(test)]
pub(super) fn file_of<T: Copy>(values: &[T]) -> std::fs::File {
    let file = rustix::fs::memfd_create("values", rustix::fs::MemfdFlags::empty()).expect("a file");
    let file = std::fs::File::from(file);
    // SAFETY: plain numbers without padding.
    let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast::<u8>(), size_of_val(values)) };
    std::os::unix::fs::FileExt::write_all_at(&file, bytes, 0).expect("written");
    file
}
