//! The sources: the kernel's events and counters, socket dumps, and /proc. Turns what they say into the
//! tracker's words. Knows no rules and serves nobody.

pub mod census;
pub mod cgroup;
pub mod counters;
pub mod decode;
pub mod dump;
pub mod evidence;
pub mod holders;
pub mod kernel;
pub mod layout;
pub mod lockdown;
mod mapping;
pub mod needs;
pub mod netns;
mod object;
pub mod privilege;
pub mod probes;
pub mod proc_net;
pub mod procfs;
pub mod quiet;
pub mod release;
pub mod slots;
pub mod sock_diag;
mod standby;
pub mod tapes;
