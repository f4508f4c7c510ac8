//! One file a hook; each names the kernel prototype it relies on. A hook is thin: it calls `try_<hook>`.

mod inet_sock_set_state;
mod task_file;
mod tcp_receive_reset;
mod tcp_send_reset;
