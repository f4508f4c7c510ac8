//! What a diagnosis needs beyond the connection table: the kernel's counters and settings in every network namespace,
//! what `tcp_info` says of single sockets, the listeners, and the processes. Each collector looks only at what it is
//! asked about, and says what it could not see; none judges.

pub mod counters;
pub mod freezer;
pub mod listeners;
pub mod namespaces;
pub mod process;
pub mod script;
pub mod sockstat;
pub mod sysctls;
pub mod tcp_info;
