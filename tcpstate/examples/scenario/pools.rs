//! Clients that keep connections: they use them again or never, look at them or do not, and part with them well or
//! badly.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    kit::{Part, aside, descriptor_limit, is_errno, linger_zero, say, stands, to_blame},
    talk,
};

/// A connection without data for this long lies idle.
const IDLE: Duration = Duration::from_secs(6);

/// A client that makes a connection for each request, and keeps them all: `every=MS` between requests, with a limit
/// of `limit=N` descriptors. The signature stands when enough of them lie idle while it makes more, or (`fills`) when
/// there are no more descriptors.
pub(crate) fn keeping_client(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let every = part.number("every", 500);
    descriptor_limit(part.number("limit", 400))?;
    let enough = part.dice.size(14, 20);
    let mut kept = Vec::new();
    let (fills, mut full, mut said) = (part.has("fills"), false, false);
    loop {
        match TcpStream::connect(to) {
            Ok(stream) => {
                to_blame(&stream);
                talk::ask(&stream, part.dice.between(20, 2_000))?;
                kept.push((stream, Instant::now()));
            }
            // It logs that, and tries again.
            Err(error) if is_errno(&error, libc::EMFILE) => full = true,
            Err(error) => return Err(error),
        }
        let idle = kept.iter().filter(|(_, used)| used.elapsed() >= IDLE).count();
        let is_there = if fills { full } else { idle >= enough };
        if is_there && !said {
            stands();
        }
        said |= is_there;
        part.dice.pause(every / 2, every * 3 / 2);
    }
}

/// A pool that grows with its load: every few seconds it needs all its connections at a time and some new ones, until
/// there are `size=N`. After that it needs a few of them.
pub(crate) fn growing_pool(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let size = part.count("size", 40);
    let mut pool = Vec::new();
    while pool.len() < size {
        for _ in 0..part.dice.between(2, 6) {
            pool.push(TcpStream::connect(to)?);
        }
        for mut stream in &pool {
            stream.write_all(b"GET 100\n")?;
        }
        for stream in &pool {
            talk::hear(stream)?;
        }
        part.dice.pause(2_000, 7_000);
    }
    stands();
    loop {
        talk::ask(&pool[part.dice.size(0, 3)], 100)?;
        part.dice.pause(100, 900);
    }
}

/// A client whose users come one after the other, `every=MS`: each makes a connection, asks once, and is silent then.
pub(crate) fn silent_users(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let every = part.number("every", 2_000);
    let mut users = Vec::new();
    for _ in 0..part.number("size", 6) {
        part.dice.pause(every / 2, every * 3 / 2);
        let stream = TcpStream::connect(to)?;
        talk::ask(&stream, part.dice.between(20, 2_000))?;
        users.push(stream);
    }
    stands();
    part.stay()
}

/// A pool that asks over a connection that was idle for `idle=MS`, or up to twice as long, without a look whether the
/// server has ended it: `size=N`. It is ready when all have asked once; the signature stands when several requests
/// were lost.
pub(crate) fn careless_pool(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let idle = part.number("idle", 3_000);
    let size = part.count("size", 8);
    let enough = part.dice.size(4, 8);
    let (made, lost) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for _ in 0..size {
        let mut dice = part.dice.split();
        let (made, lost) = (Arc::clone(&made), Arc::clone(&lost));
        aside(move || {
            dice.pause(0, idle);
            loop {
                let stream = TcpStream::connect(to)?;
                talk::ask(&stream, 200)?;
                if made.fetch_add(1, Ordering::Relaxed) + 1 == size {
                    say("ready");
                }
                dice.pause(idle, 2 * idle);
                while talk::ask(&stream, 200).is_ok() {
                    dice.pause(idle, 2 * idle);
                }
                if lost.fetch_add(1, Ordering::Relaxed) + 1 == enough {
                    stands();
                }
            }
        });
    }
    part.stay()
}

/// Clients that send lines and never read: `size=N`, with `idle=MS` between lines or up to twice as long. That the
/// server has ended a connection they learn from a write after the one that is lost.
pub(crate) fn log_senders(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let idle = part.number("idle", 3_000);
    let lost = Arc::new(AtomicUsize::new(0));
    let enough = part.dice.size(4, 8);
    for _ in 0..part.number("size", 6) {
        let mut dice = part.dice.split();
        let lost = Arc::clone(&lost);
        aside(move || {
            loop {
                let mut stream = TcpStream::connect(to)?;
                while stream.write_all(&vec![b'l'; dice.size(40, 400)]).is_ok() {
                    dice.pause(idle, 2 * idle);
                }
                if lost.fetch_add(1, Ordering::Relaxed) + 1 == enough {
                    stands();
                }
            }
        });
    }
    part.stay()
}

/// A server that takes what it is sent without a word, and closes when nothing has come for `idle=MS`.
pub(crate) fn collector(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let idle = part.time("idle", 1_000);
    for stream in listener.incoming() {
        let stream = stream?;
        aside(move || talk::until_idle(&stream, idle, talk::take));
    }
    Ok(())
}

/// Clients that notice at once that the server has ended a connection, and take leave of it all the same: `size=N`.
pub(crate) fn polite_clients(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let said = Arc::new(AtomicUsize::new(0));
    for _ in 0..part.number("size", 4) {
        let said = Arc::clone(&said);
        aside(move || {
            loop {
                let mut stream = TcpStream::connect(to)?;
                talk::ask(&stream, 200)?;
                if stream.read(&mut [0])? == 0 {
                    stream.write_all(b"QUIT\r\n")?;
                }
                if said.fetch_add(1, Ordering::Relaxed) == 4 {
                    stands();
                }
            }
        });
    }
    part.stay()
}

/// A proxy's pool: when it has not needed its connections for a while it ends them by RST, so that none of them leaves
/// a `TIME_WAIT` behind.
pub(crate) fn purging_pool(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let mut purged = 0;
    loop {
        let pool: io::Result<Vec<_>> = (0..part.dice.between(3, 8)).map(|_| TcpStream::connect(to)).collect();
        let pool = pool?;
        for stream in &pool {
            linger_zero(stream)?;
            talk::ask(stream, part.dice.between(20, 2_000))?;
        }
        part.dice.pause(1_500, 3_500);
        drop(pool);
        purged += 1;
        if purged == 2 {
            stands();
        }
    }
}
