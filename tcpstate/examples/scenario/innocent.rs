//! Ordinary traffic: servers and clients that do nothing wrong. They are the background of every scenario, the far
//! end of most, and the look-alikes of some.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{
    kit::{Part, aside, linger_zero, say, stands},
    talk::{self, Manners},
};

/// A server with a thread for each connection. `idle=MS` closes those that ask for nothing for so long, after
/// `alert=BYTES` as TLS would send them, or with a RST (`resets`); `think=MS` comes before each answer; `first` closes
/// after one answer.
pub(crate) fn server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let idle = part.has("idle").then(|| part.time("idle", 0));
    let alert = vec![0x15; part.count("alert", 0)];
    let (closes_first, resets) = (part.has("first"), part.has("resets"));
    let manners = Manners { think: part.time("think", 0), ..Manners::default() };
    for stream in listener.incoming() {
        let mut stream = stream?;
        let alert = alert.clone();
        aside(move || {
            if let Some(idle) = idle {
                talk::until_idle(&stream, idle, talk::serve_one)?;
                if resets {
                    linger_zero(&stream)?;
                }
                return stream.write_all(&alert);
            }
            if closes_first {
                let _ = stream.read(&mut [0; 64])?;
                thread::sleep(manners.think);
                return talk::answer(&stream, 64);
            }
            talk::serve(&stream, manners).map(drop)
        });
    }
    Ok(())
}

/// A client that makes a connection for each request: `every=MS` between them on average, `bye=PERCENT` of them
/// take leave, `patience=MS` for an answer, `threads=N` at a time. Says that the signature stands after `gives-up=N`
/// requests without an answer.
pub(crate) fn visitor(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let every = part.number("every", 600);
    let bye = part.number("bye", 100);
    let patience = part.time("patience", 5_000);
    let enough = part.count("gives-up", 0);
    let given_up = Arc::new(AtomicUsize::new(0));
    for _ in 0..part.number("threads", 1) {
        let mut dice = part.dice.split();
        let given_up = Arc::clone(&given_up);
        thread::spawn(move || {
            loop {
                dice.pause(every / 2, every * 3 / 2);
                let bytes = dice.between(20, 4_000);
                let visit = || {
                    let mut stream = TcpStream::connect_timeout(&to, patience)?;
                    stream.set_read_timeout(Some(patience))?;
                    talk::ask(&stream, bytes)?;
                    if dice.chance(bye) {
                        stream.write_all(b"BYE\n")?;
                        let _ = stream.read(&mut [0])?;
                    }
                    Ok::<(), io::Error>(())
                };
                let mut visit = visit;
                if visit().is_err() && given_up.fetch_add(1, Ordering::Relaxed) + 1 == enough {
                    stands();
                }
            }
        });
    }
    part.stay()
}

/// A client with `size=N` connections that it keeps and uses: `every=MS` between requests on each. It makes them
/// within `within=MS`.
pub(crate) fn keeper(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let (every, within) = (part.number("every", 800), part.number("within", 0));
    for _ in 0..part.number("size", 4) {
        let mut dice = part.dice.split();
        aside(move || {
            dice.pause(0, within);
            let stream = TcpStream::connect(to)?;
            loop {
                dice.pause(every / 2, every * 3 / 2);
                talk::ask(&stream, dice.between(20, 2_000))?;
            }
        });
    }
    stands();
    part.stay()
}

/// A client with `size=N` connections on which nothing is said, as in a terminal that nobody types in.
pub(crate) fn sleeper(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let connected: io::Result<Vec<_>> = (0..part.number("size", 4)).map(|_| TcpStream::connect(to)).collect();
    for stream in connected.as_ref().map_err(|error| io::Error::from(error.kind()))? {
        talk::ask(stream, 200)?;
    }
    say("ready");
    stands();
    part.stay()
}

/// A server that sends without end what its clients take, as a feed or a log does.
pub(crate) fn feed(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let chunk = vec![b'm'; part.dice.size(1_000, 20_000)];
    for stream in listener.incoming() {
        let mut stream = stream?;
        let chunk = chunk.clone();
        aside(move || {
            loop {
                stream.write_all(&chunk)?;
                thread::sleep(Duration::from_millis(3));
            }
        });
    }
    Ok(())
}

/// A consumer of a feed that reads for a moment and pauses for seconds; with `forever` it pauses once for all.
pub(crate) fn paused_consumer(part: &mut Part) -> io::Result<()> {
    let mut stream = TcpStream::connect(part.server()?)?;
    let mut room = vec![0; 32_768];
    stands();
    loop {
        for _ in 0..part.dice.between(4, 40) {
            stream.read_exact(&mut room)?;
        }
        if part.has("forever") {
            part.stay();
        }
        part.dice.pause(2_000, 6_000);
    }
}
