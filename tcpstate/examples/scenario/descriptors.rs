//! Descriptors between processes: fork, exec, and sending them over a Unix socket.

use std::{
    io, mem,
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd},
        unix::net::UnixStream,
    },
    process, ptr,
};

/// A child that does this and nothing else, and ends with its parent.
pub(crate) fn fork(work: impl FnOnce() -> io::Result<()>) -> io::Result<i32> {
    // SAFETY: glibc keeps its own locks usable in the child; the child uses none of the parent's threads.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let ended = die_with_parent().and_then(|()| work());
            process::exit(i32::from(ended.is_err()))
        }
        child => Ok(child),
    }
}

/// # Errors
/// Never on Linux.
pub(crate) fn die_with_parent() -> io::Result<()> {
    // SAFETY: takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

pub(crate) fn sleep_for_ever() -> io::Result<()> {
    loop {
        // SAFETY: takes nothing.
        unsafe { libc::pause() };
    }
}

/// Lets a program that is executed have this descriptor: what those forget who write C.
pub(crate) fn keep_on_exec(socket: &impl AsRawFd) -> io::Result<()> {
    // SAFETY: takes numbers only.
    if unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, 0) } == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

/// Room for the control message that carries one descriptor.
#[repr(C, align(8))]
struct Control([u8; 64]);

/// Sends a copy of a descriptor.
pub(crate) fn send(way: &UnixStream, what: &impl AsRawFd) -> io::Result<()> {
    let mut byte = 0_u8;
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    let size = u32::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    // SAFETY: all that the message points to lives through the call, and the control room is large enough.
    unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = libc::CMSG_SPACE(size) as usize;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(size) as usize;
        ptr::write_unaligned(libc::CMSG_DATA(header).cast(), what.as_raw_fd());
        if libc::sendmsg(way.as_raw_fd(), &raw const message, 0) < 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// Receives one.
pub(crate) fn receive(way: &UnixStream) -> io::Result<OwnedFd> {
    let mut byte = 0_u8;
    let mut control = Control([0; 64]);
    let mut vector = libc::iovec { iov_base: (&raw mut byte).cast(), iov_len: 1 };
    // SAFETY: all that the message points to lives through the call; the descriptor that comes is ours alone.
    unsafe {
        let mut message: libc::msghdr = mem::zeroed();
        message.msg_iov = &raw mut vector;
        message.msg_iovlen = 1;
        message.msg_control = (&raw mut control).cast();
        message.msg_controllen = size_of_val(&control);
        if libc::recvmsg(way.as_raw_fd(), &raw mut message, libc::MSG_CMSG_CLOEXEC) <= 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        if header.is_null() || (*header).cmsg_type != libc::SCM_RIGHTS {
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(OwnedFd::from_raw_fd(ptr::read_unaligned(libc::CMSG_DATA(header).cast::<libc::c_int>())))
    }
}
