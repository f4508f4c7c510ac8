//! Who is running.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_probe_read_kernel, generated::bpf_get_current_task};
use tcpstate_common::wire::COMM_LEN;

use crate::{
    globals,
    sock::{address, field},
};

/// `PF_KTHREAD` (`include/linux/sched.h`).
const PF_KTHREAD: u32 = 0x0020_0000;

/// A process, by its thread group.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    pub(crate) comm: [u8; COMM_LEN],
}

/// The running process; `None` for a kernel thread, which owns nobody's sockets.
pub(crate) fn current() -> Option<Process> {
    // SAFETY: takes nothing and returns an address.
    let task = unsafe { bpf_get_current_task() } as *const u8;
    if field::<u32>(task, &globals::TASK_FLAGS) & PF_KTHREAD != 0 {
        return None;
    }
    Some(Process { pid: (bpf_get_current_pid_tgid() >> 32) as u32, comm: comm(task) })
}

/// The name of a task's process: that of the group leader, since a thread may have its own.
pub(crate) fn comm(task: *const u8) -> [u8; COMM_LEN] {
    let leader = address(task, &globals::TASK_GROUP_LEADER);
    let at = leader.wrapping_add(globals::TASK_COMM.load() as usize);
    // SAFETY: the helper checks the address itself.
    unsafe { bpf_probe_read_kernel(at.cast::<[u8; COMM_LEN]>()) }.unwrap_or([0; COMM_LEN])
}
