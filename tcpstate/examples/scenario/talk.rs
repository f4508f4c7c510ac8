//! The little protocol that the parts speak: `GET BYTES` and `POST BYTES`, answered with as many bytes, and `BYE`.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::fd::AsRawFd,
    thread,
    time::Duration,
};

/// How a conversation ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The client said so.
    Bye,
    /// The client went away without a word.
    Gone,
}

/// What a server does with its requests.
#[derive(Clone, Copy, Default)]
pub(crate) struct Manners {
    /// How long it thinks before it answers.
    pub(crate) think: Duration,
    /// Whether it refuses a POST without reading the body.
    pub(crate) refuses_bodies: bool,
}

/// Serves one connection until the client ends it.
pub(crate) fn serve(stream: &TcpStream, manners: Manners) -> io::Result<End> {
    let mut reader = BufReader::with_capacity(256, stream);
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(End::Gone);
        }
        let (verb, bytes) = line.trim_end().split_once(' ').unwrap_or((line.trim_end(), "0"));
        let bytes: u64 = bytes.parse().unwrap_or(0);
        thread::sleep(manners.think);
        match verb {
            "BYE" => return Ok(End::Bye),
            "POST" if manners.refuses_bodies => {
                let mut stream = stream;
                stream.write_all(b"413 0\n")?;
                return Ok(End::Bye);
            }
            "POST" => {
                io::copy(&mut (&mut reader).take(bytes), &mut io::sink())?;
                answer(stream, 2)?;
            }
            _ => answer(stream, bytes)?,
        }
    }
}

/// Reads one request.
pub(crate) fn take(mut stream: &TcpStream) -> io::Result<()> {
    if stream.read(&mut [0; 64])? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Reads one request and answers it.
pub(crate) fn serve_one(stream: &TcpStream) -> io::Result<()> {
    take(stream)?;
    answer(stream, 100)
}

/// Does this with each request, and ends when none has come for so long: to the millisecond, as event loops do.
pub(crate) fn until_idle(
    stream: &TcpStream,
    idle: Duration,
    with_each: impl Fn(&TcpStream) -> io::Result<()>,
) -> io::Result<()> {
    let patience = libc::c_int::try_from(idle.as_millis()).unwrap_or(libc::c_int::MAX);
    loop {
        let mut waited_for = libc::pollfd { fd: stream.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one entry, which lives through the call.
        if unsafe { libc::poll(&raw mut waited_for, 1, patience) } == 0 {
            return Ok(());
        }
        with_each(stream)?;
    }
}

/// Sends a head and so many bytes.
pub(crate) fn answer(mut stream: &TcpStream, bytes: u64) -> io::Result<()> {
    stream.write_all(format!("200 {bytes}\n").as_bytes())?;
    io::copy(&mut io::repeat(b'.').take(bytes), &mut stream)?;
    Ok(())
}

/// Asks for so many bytes and reads the answer.
pub(crate) fn ask(mut stream: &TcpStream, bytes: u64) -> io::Result<()> {
    stream.write_all(format!("GET {bytes}\n").as_bytes())?;
    hear(stream)
}

/// Reads one answer.
pub(crate) fn hear(stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::with_capacity(64, stream);
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let length = line.trim_end().rsplit(' ').next().and_then(|length| length.parse().ok()).unwrap_or(0);
    io::copy(&mut reader.take(length), &mut io::sink())?;
    Ok(())
}
