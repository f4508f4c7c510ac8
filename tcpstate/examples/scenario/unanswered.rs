//! Servers that read requests and do not answer them, or answer late; and proxies that wait for those.

use std::{
    io::{self, Write},
    net::TcpStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use crate::{
    kit::{Part, aside, stands, to_blame},
    talk,
};

/// A server that answers a few requests, and none after that: one handler waits for something that never comes, with
/// the lock that all others need.
pub(crate) fn hung_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let healthy = part.dice.size(3, 9);
    let served = Arc::new(Mutex::new(0));
    for stream in listener.incoming() {
        let stream = stream?;
        to_blame(&stream);
        let served = Arc::clone(&served);
        aside(move || {
            loop {
                talk::take(&stream)?;
                if let Ok(mut served) = served.lock() {
                    *served += 1;
                    if *served > healthy {
                        loop {
                            thread::park();
                        }
                    }
                }
                talk::answer(&stream, 100)?;
            }
        });
    }
    Ok(())
}

/// A proxy that has a connection to its upstream for each client, and waits for an answer without a timeout.
pub(crate) fn relay(part: &mut Part) -> io::Result<()> {
    let upstream = part.server()?;
    let listener = part.listen()?;
    for front in listener.incoming() {
        let front = front?;
        aside(move || {
            talk::take(&front)?;
            let back = TcpStream::connect(upstream)?;
            loop {
                talk::ask(&back, 100)?;
                talk::answer(&front, 100)?;
                talk::take(&front)?;
            }
        });
    }
    Ok(())
}

/// A server that is asked once on each connection, and has something new to say every few seconds from then on. It
/// never reads again: that a client has left shows with the next news.
pub(crate) fn announcer(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut dice = part.dice.split();
        aside(move || {
            talk::serve_one(&stream)?;
            loop {
                dice.pause(2_000, 7_000);
                stream.write_all(b"200 0\n")?;
            }
        });
    }
    Ok(())
}

/// Clients that wait for a few news and leave, and others come: `size=N` at a time.
pub(crate) fn subscribers(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let left = Arc::new(AtomicUsize::new(0));
    for _ in 0..part.number("size", 6) {
        let mut dice = part.dice.split();
        let left = Arc::clone(&left);
        aside(move || {
            loop {
                let stream = TcpStream::connect(to)?;
                talk::ask(&stream, 100)?;
                for _ in 0..dice.between(1, 4) {
                    talk::hear(&stream)?;
                }
                drop(stream);
                if left.fetch_add(1, Ordering::Relaxed) == 2 {
                    stands();
                }
            }
        });
    }
    part.stay()
}
