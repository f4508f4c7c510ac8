//! The names by which the user side finds programs and maps in the eBPF object, each written once.

/// Programs, named after their hook.
pub mod programs {
    pub const INET_SOCK_SET_STATE: &str = "inet_sock_set_state";
    /// The same hook once more, for the events that the first program misses: the kernel does not run a
    /// program that is already running on the same CPU.
    pub const INET_SOCK_SET_STATE_NESTED: &str = "inet_sock_set_state_nested";
    /// And once more, where tasks may be preempted inside a program (Linux 7.2 and later).
    pub const INET_SOCK_SET_STATE_THIRD: &str = "inet_sock_set_state_third";
    pub const TCP_RECEIVE_RESET: &str = "tcp_receive_reset";
    pub const TCP_SEND_RESET: &str = "tcp_send_reset";
    /// Iterator over the open files of every process.
    pub const TASK_FILE: &str = "task_file";

    /// A program and the tracepoint at which it runs.
    #[derive(Clone, Copy, Debug)]
    pub struct Hook {
        pub program: &'static str,
        pub tracepoint: &'static str,
    }

    const fn named_after(tracepoint: &'static str) -> Hook {
        Hook { program: tracepoint, tracepoint }
    }

    /// The programs that watch TCP, in the order in which they are attached: what only adds detail to a
    /// transition comes before the transitions themselves. The kernel runs the programs of one tracepoint in
    /// this order too (`func_add` in `kernel/tracepoint.c`), on which the nested ones rely.
    pub const HOOKS: [Hook; 5] = [
        named_after(TCP_RECEIVE_RESET),
        named_after(TCP_SEND_RESET),
        named_after(INET_SOCK_SET_STATE),
        Hook { program: INET_SOCK_SET_STATE_NESTED, tracepoint: INET_SOCK_SET_STATE },
        Hook { program: INET_SOCK_SET_STATE_THIRD, tracepoint: INET_SOCK_SET_STATE },
    ];

    /// Whether a program is one of those at `inet_sock_set_state`, of which each takes what those before it miss.
    #[must_use]
    pub fn takes_transitions(program: &str) -> bool {
        HOOKS.iter().any(|hook| hook.program == program && hook.tracepoint == INET_SOCK_SET_STATE)
    }
}

/// Maps.
pub mod maps {
    /// Per-CPU array of one [`crate::PerCpu`].
    pub const CPU: &str = "CPU";
    /// Ring buffer of [`crate::Event`], of [`crate::wire::Reset`] for resets, and of
    /// [`crate::wire::IdleClose`].
    pub const EVENTS: &str = "EVENTS";
    /// Array of [`crate::Slot`], which user space may map into its memory.
    pub const SLOTS: &str = "SLOTS";
    /// Array of [`crate::Brief`], one tape after the other, which user space may map into its memory.
    pub const TAPE: &str = "TAPE";
    /// Array of one [`crate::TapeEnd`] for each CPU, which user space may map into its memory and write.
    pub const TAPE_ENDS: &str = "TAPE_ENDS";
    /// Array of one `u64` for each of some tasks: the last event that was handled in it.
    pub const HANDLED: &str = "HANDLED";
    /// LRU hash from socket cookie to the state in which `tcp_reset` met the socket.
    pub const RESET_MET: &str = "RESET_MET";
    /// Array of one `u32`: how many watchers want every transition.
    pub const WATCHERS: &str = ".bss";
}
