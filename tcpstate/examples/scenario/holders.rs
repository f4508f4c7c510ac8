//! Programs whose connections are held by somebody else than one would think: by a child, by nobody, by a process
//! that is stopped, or, by design, by a worker.

use std::{
    env,
    io::{self, Read, Write},
    net::{TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd},
        unix::net::UnixStream,
        unix::process::CommandExt,
    },
    process::{self, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    descriptors,
    kit::{Part, aside, in_close_wait, say, stands, to_blame, wait_until},
    talk::{self, Manners},
};

/// A server that is stopped, as by a debugger, after a few requests; its clients go on for a while.
pub(crate) fn stopping_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let healthy = part.dice.between(3, 9);
    let mut served = 0;
    for stream in listener.incoming() {
        let stream = stream?;
        to_blame(&stream);
        served += 1;
        if served == healthy {
            say("stopping");
            // SAFETY: takes numbers only.
            unsafe { libc::raise(libc::SIGSTOP) };
        }
        aside(move || talk::serve(&stream, Manners::default()).map(drop));
    }
    Ok(())
}

/// A server that starts long-lived helpers, which inherit the connection that it is at, and closes what it has itself.
/// A helper is another program, started after a while of work, or (`fork`) a fork of this one that has everything.
pub(crate) fn spawning_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let wanted = part.dice.between(2, 4);
    let mut helpers = 0;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let _ = stream.read(&mut [0; 64])?;
        if helpers == wanted {
            part.dice.pause(50, 300);
            continue;
        }
        let fd = stream.as_raw_fd();
        let helper = if part.has("fork") {
            descriptors::fork(descriptors::sleep_for_ever)?
        } else {
            part.dice.pause(1_200, 1_800);
            i32::try_from(start("idle-helper", &stream)?).unwrap_or(0)
        };
        say(&format!("pid {helper}"));
        say(&format!("held {helper} {fd}"));
        helpers += 1;
        drop(stream);
        if helpers == wanted {
            // The last client has to see that nobody answers, and go.
            part.dice.pause(3_600, 4_000);
            stands();
        }
    }
    Ok(())
}

/// What a helper does: nothing.
pub(crate) fn idle_helper(_: &mut Part) -> io::Result<()> {
    descriptors::sleep_for_ever()
}

/// A client that connects, says something after a moment, and leaves when nobody answers for three seconds; again and
/// again.
pub(crate) fn leaver(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    loop {
        let mut stream = TcpStream::connect(to)?;
        part.dice.pause(150, 400);
        stream.write_all(b"START job\n")?;
        stream.set_read_timeout(Some(Duration::from_millis(part.dice.between(3_000, 3_400))))?;
        let _ = stream.read(&mut [0; 16]);
        drop(stream);
        part.dice.pause(50, 200);
    }
}

/// A server whose workers are forked before the first connection, and accept by themselves.
pub(crate) fn prefork(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    for _ in 0..part.dice.between(2, 5) {
        let child = descriptors::fork(|| serve_all(&listener))?;
        say(&format!("pid {child}"));
    }
    part.stay()
}

/// A server that starts a process for each connection, and leaves the connection to it.
pub(crate) fn fork_per_connection(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    for stream in listener.incoming() {
        let stream = stream?;
        let child = descriptors::fork(|| {
            // SAFETY: the child has no more use for its copy.
            unsafe { libc::close(listener.as_raw_fd()) };
            let _ = talk::serve(&stream, Manners::default());
            process::exit(0);
        })?;
        say(&format!("pid {child}"));
    }
    Ok(())
}

/// A service that is given its listener by another program, as by systemd: this starts it.
pub(crate) fn activator(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    part.dice.pause(500, 1_500);
    say(&format!("pid {}", start("activated", &listener)?));
    drop(listener);
    stands();
    part.stay()
}

/// The service that [`activator`] starts.
pub(crate) fn activated(part: &mut Part) -> io::Result<()> {
    let fd = RawFd::try_from(part.number("fd", 3)).unwrap_or(3);
    // SAFETY: the descriptor was given to us, and is nobody else's.
    serve_all(&unsafe { TcpListener::from_raw_fd(fd) })
}

fn serve_all(listener: &TcpListener) -> io::Result<()> {
    for stream in listener.incoming() {
        let stream = stream?;
        aside(move || talk::serve(&stream, Manners::default()).map(drop));
    }
    Ok(())
}

/// A server that hands its connections over to a worker that is younger than they are, as a reload does.
pub(crate) fn handing_over(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let mut accepted = Vec::new();
    for stream in listener.incoming().take(part.count("size", 4)) {
        let stream = stream?;
        talk::serve_one(&stream)?;
        accepted.push(stream);
    }
    part.dice.pause(1_000, 2_000);
    let (ours, theirs) = UnixStream::pair()?;
    say(&format!("pid {}", start("taker", &theirs)?));
    for stream in accepted {
        descriptors::send(&ours, &stream)?;
    }
    stands();
    part.stay()
}

/// The worker that [`handing_over`] starts.
pub(crate) fn taker(part: &mut Part) -> io::Result<()> {
    let fd = RawFd::try_from(part.number("fd", 3)).unwrap_or(3);
    // SAFETY: the descriptor was given to us, and is nobody else's.
    let way = unsafe { UnixStream::from_raw_fd(fd) };
    while let Ok(fd) = descriptors::receive(&way) {
        let stream = TcpStream::from(fd);
        aside(move || talk::serve(&stream, Manners::default()).map(drop));
    }
    descriptors::sleep_for_ever()
}

/// Starts another part of this program with one of our descriptors.
fn start(part: &str, fd: &impl AsRawFd) -> io::Result<u32> {
    descriptors::keep_on_exec(fd)?;
    let mut command = Command::new(env::current_exe()?);
    // Its input never ends: it is ours.
    command.args([part, "0", &format!("fd={}", fd.as_raw_fd())]).stdin(Stdio::inherit());
    // SAFETY: prctl is safe between fork and exec.
    unsafe { command.pre_exec(descriptors::die_with_parent) };
    Ok(command.spawn()?.id())
}

/// A client that gives up waiting by closing the descriptor under the thread that reads from it.
pub(crate) fn cancelling_client(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let mut streams = Vec::new();
    for _ in 0..part.dice.between(2, 5) {
        let stream = TcpStream::connect(to)?;
        talk::ask(&stream, 100)?;
        streams.push(stream);
    }
    for stream in streams {
        let fd = stream.into_raw_fd();
        // SAFETY: the descriptor is ours; that it is closed under the reader is what this is about.
        thread::spawn(move || unsafe { libc::read(fd, [0_u8; 16].as_mut_ptr().cast(), 16) });
        part.dice.pause(100, 300);
        // SAFETY: as above.
        unsafe { libc::close(fd) };
    }
    stands();
    part.stay()
}

/// A client that sends its connections to a worker that never takes them out of the queue between the two.
pub(crate) fn in_flight(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let (ours, _theirs) = UnixStream::pair()?;
    for _ in 0..part.dice.between(2, 5) {
        let stream = TcpStream::connect(to)?;
        talk::ask(&stream, 100)?;
        if part.has("ended") {
            wait_until(|| in_close_wait(&stream));
        }
        descriptors::send(&ours, &stream)?;
    }
    stands();
    part.stay()
}

/// A server whose first thread has ended while the others go on: its /proc/PID/fd is empty.
pub(crate) fn headless_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    thread::spawn(move || serve_all(&listener));
    stands();
    // SAFETY: ends this thread alone; nothing of its stack is used by the others.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    Ok(())
}
