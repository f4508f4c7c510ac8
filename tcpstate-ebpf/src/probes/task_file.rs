//! Iterator `task_file` (`kernel/bpf/task_iter.c`, since 5.8): every open file of every process. Writes a
//! [`Holder`] for each that is a TCP socket.
//!
//! `struct bpf_iter__task_file { struct bpf_iter_meta *meta; struct task_struct *task; u32 fd;
//! struct file *file; }`, each pointer eight bytes; `struct bpf_iter_meta` begins with its `seq_file`.

use aya_ebpf::helpers::generated::{bpf_seq_write, bpf_sock_from_file};
use tcpstate_common::Holder;

use crate::{
    numbers,
    read::{Read, Typed, address},
    sock::Sock,
    task,
};

#[repr(C)]
struct Context {
    meta: *const *mut core::ffi::c_void,
    task: *const u8,
    fd: u32,
    pad: u32,
    file: *mut u8,
}

#[unsafe(no_mangle)]
#[unsafe(link_section = "iter/task_file")]
extern "C" fn task_file(ctx: *mut core::ffi::c_void) -> i32 {
    // SAFETY: the kernel passes this context to this kind of program.
    match try_task_file(unsafe { &*ctx.cast::<Context>() }) {
        Ok(()) | Err(()) => 0,
    }
}

fn try_task_file(ctx: &Context) -> Result<(), ()> {
    if ctx.task.is_null() || ctx.file.is_null() {
        return Err(());
    }
    // SAFETY: a trusted pointer to a file, checked for null.
    let socket = unsafe { bpf_sock_from_file(ctx.file.cast()) };
    if socket.is_null() {
        return Ok(());
    }
    let sk = Sock::<Typed>::new(address::<Typed, _>(socket as *const u8, numbers::SOCKET_SK)).ok_or(())?;
    // AF_INET and AF_INET6; other families use protocol 6 for their own purposes.
    if !matches!(sk.family(), 2 | 10) || !sk.is_tcp() {
        return Ok(());
    }
    let process = task::process(ctx.task);
    let mut holder = Holder {
        cookie: sk.known_cookie(),
        inode: Typed::field(address::<Typed, _>(ctx.file, numbers::FILE_INODE), numbers::INODE_INO),
        start_boottime_ns: Typed::field(task::leader(ctx.task), numbers::TASK_START_BOOTTIME),
        pid: process.pid,
        fd: ctx.fd,
        comm: process.comm(),
    };
    // SAFETY: meta is never null; its first field is the file that user space reads.
    unsafe {
        bpf_seq_write((*ctx.meta).cast(), (&raw mut holder).cast(), size_of::<Holder>() as u32);
    }
    Ok(())
}
