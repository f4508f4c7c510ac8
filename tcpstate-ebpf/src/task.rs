//! Who is running.

use aya_ebpf::helpers::generated::bpf_get_current_task_btf;
use tcpstate_common::wire::COMM_LEN;

use crate::{
    numbers,
    read::{Read, Typed, address},
};

/// `PF_KTHREAD` (`include/linux/sched.h`).
const PF_KTHREAD: u32 = 0x0020_0000;

/// `PF_EXITING` (`include/linux/sched.h`).
const PF_EXITING: u32 = 0x4;

/// A process, by its thread group.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Two words, which are moved in two steps, where sixteen bytes would take sixteen.
    pub(crate) comm: [u64; 2],
}

impl Process {
    #[inline(always)]
    pub(crate) fn comm(self) -> [u8; COMM_LEN] {
        bytes(self.comm)
    }
}

/// A name as its bytes.
#[inline(always)]
pub(crate) fn bytes(words: [u64; 2]) -> [u8; COMM_LEN] {
    // SAFETY: plain numbers of the same size; any bytes are a value.
    unsafe { core::mem::transmute(words) }
}

/// The running process; `None` for a kernel thread, which owns nobody's sockets.
#[inline(always)]
pub(crate) fn current() -> Option<Process> {
    // SAFETY: takes nothing and returns the running task.
    let task = unsafe { bpf_get_current_task_btf() } as *const u8;
    if Typed::field::<u32, _>(task, numbers::TASK_FLAGS) & PF_KTHREAD != 0 {
        return None;
    }
    Some(process(task))
}

/// A task's process. Its name is that of the group leader, since a thread may have its own.
#[inline(always)]
pub(crate) fn process(task: *const u8) -> Process {
    Process {
        pid: Typed::field(task, numbers::TASK_TGID),
        comm: Typed::field(leader(task), numbers::TASK_COMM),
    }
}

/// The task that a task's process began with.
#[inline(always)]
pub(crate) fn leader(task: *const u8) -> *const u8 {
    address::<Typed, _>(task, numbers::TASK_GROUP_LEADER)
}

/// Whether the running task is about to end: what it closes now it did not choose to close.
pub(crate) fn is_ending() -> bool {
    // SAFETY: takes nothing and returns the running task.
    let task = unsafe { bpf_get_current_task_btf() } as *const u8;
    Typed::field::<u32, _>(task, numbers::TASK_FLAGS) & PF_EXITING != 0
}
