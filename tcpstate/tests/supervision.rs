//! A part of the daemon stands still, or is gone, as a debugger makes it: that is seen from outside.
#![cfg(target_arch = "x86_64")]
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and counts are exact in f64"
)]

mod support;

use std::{fs, ptr};

use support::{Daemon, alone, eventually};

/// The threads that work by themselves.
const WORKERS: [&str; 3] = ["engine", "census", "diagnosis"];
/// `exit`, which ends one thread (`arch/x86/entry/syscalls/syscall_64.tbl`).
const SYS_EXIT: u64 = 60;
/// Length of the instruction `syscall`, bytes.
const SYSCALL_LEN: u64 = 2;

/// A thread of another process that stands still.
struct Stopped(libc::pid_t);

impl Stopped {
    /// Stops the daemon's thread of this name while it waits for something in the kernel.
    fn of(daemon: &Daemon, name: &str) -> Self {
        let task = eventually(|| {
            let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("its threads");
            let of_it = tasks.flatten().find(|task| {
                fs::read_to_string(task.path().join("comm")).is_ok_and(|comm| comm.trim() == name)
            });
            of_it.ok_or_else(|| format!("no thread {name}"))
        });
        let tid: libc::pid_t = task.file_name().to_str().and_then(|tid| tid.parse().ok()).expect("a number");
        trace(libc::PTRACE_SEIZE, tid, ptr::null_mut());
        let stopped = Self(tid);
        eventually(|| {
            stopped.interrupt();
            if stopped.is_in_system_call() {
                return Ok(());
            }
            trace(libc::PTRACE_CONT, tid, ptr::null_mut());
            Err("it does not wait in the kernel".to_owned())
        });
        stopped
    }

    fn interrupt(&self) {
        trace(libc::PTRACE_INTERRUPT, self.0, ptr::null_mut());
        let mut status = 0;
        // SAFETY: a number and a place for one.
        let waited = unsafe { libc::waitpid(self.0, &raw mut status, libc::__WALL) };
        assert_eq!(waited, self.0, "it stops");
    }

    fn registers(&self) -> libc::user_regs_struct {
        // SAFETY: plain numbers.
        let mut registers: libc::user_regs_struct = unsafe { std::mem::zeroed() };
        trace(libc::PTRACE_GETREGS, self.0, (&raw mut registers).cast());
        registers
    }

    /// Whether the instruction before the next one is `syscall`.
    fn is_in_system_call(&self) -> bool {
        self.registers().orig_rax.cast_signed() >= 0
    }

    /// Lets it go on.
    fn goes_on(self) {
        trace(libc::PTRACE_DETACH, self.0, ptr::null_mut());
    }

    /// Lets it go on with `exit` instead of what it was doing: it is gone without a word.
    fn exits(self) {
        let mut registers = self.registers();
        registers.rip -= SYSCALL_LEN;
        registers.rax = SYS_EXIT;
        registers.rdi = 0;
        registers.orig_rax = u64::MAX;
        trace(libc::PTRACE_SETREGS, self.0, (&raw mut registers).cast());
        self.goes_on();
    }
}

fn trace(request: libc::c_uint, tid: libc::pid_t, data: *mut libc::c_void) {
    // SAFETY: what is written there has the shape that the request says.
    let done = unsafe { libc::ptrace(request, tid, ptr::null_mut::<libc::c_void>(), data) };
    assert_eq!(done, 0, "ptrace {request}: {}", std::io::Error::last_os_error());
}

#[test]
fn part_that_stands_still_makes_the_daemon_unhealthy_until_it_goes_on() {
    alone("part_that_stands_still_makes_the_daemon_unhealthy_until_it_goes_on", || {
        // All at the same time, since each takes some seconds.
        let daemons = WORKERS.map(|name| (name, Daemon::start(&["--source", "sockdiag"])));
        let stopped = WORKERS.map(|name| {
            let daemon = daemons.iter().find(|(of, _)| *of == name).map(|(_, daemon)| daemon);
            Stopped::of(daemon.expect("one for each"), name)
        });
        for (name, daemon) in &daemons {
            let told = format!("the daemon's {name} thread has done nothing for");
            eventually(|| match daemon.get("/-/healthy") {
                (503, body) if body.contains(&told) => Ok(()),
                other => Err(format!("{name}: {other:?}")),
            });
            assert_eq!(daemon.get("/-/ready").0, 503);
            eventually(|| {
                if daemon.log().contains(&format!("the {name} thread has done nothing")) {
                    Ok(())
                } else {
                    Err(daemon.log())
                }
            });
            if *name != "engine" {
                let age = daemon.metrics()[&format!("tcpstate_worker_age_seconds{{worker=\"{name}\"}}")];
                assert!(age >= 10.0, "{name}: {age}");
            }
        }
        stopped.into_iter().for_each(Stopped::goes_on);
        for (name, daemon) in &daemons {
            eventually(|| match daemon.get("/-/healthy") {
                (200, _) => Ok(()),
                other => Err(format!("{name}: {other:?}")),
            });
        }
    });
}

#[test]
fn part_that_is_gone_ends_the_daemon_with_a_reason() {
    alone("part_that_is_gone_ends_the_daemon_with_a_reason", || {
        for name in WORKERS {
            let mut daemon = Daemon::start(&["--source", "sockdiag"]);
            Stopped::of(&daemon, name).exits();
            let status = daemon.child.wait().expect("it ends");
            assert_eq!(status.code(), Some(1), "{name}: {}", daemon.log());
            let told = format!("the {name} thread is gone");
            eventually(|| if daemon.log().contains(&told) { Ok(()) } else { Err(daemon.log()) });
        }
    });
}
