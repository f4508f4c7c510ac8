//! Programs that leave connections in `CLOSE_WAIT`, rightly and wrongly.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Barrier, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use crate::{
    kit::{Part, Told, aside, in_close_wait, queued, stands, to_blame, wait_until},
    talk::{self, End, Manners},
};

/// A server that closes only what its clients took leave of: the sessions of those who just went away stay in
/// its table. With `careless` it also refuses uploads without reading them.
pub(crate) fn forgetful_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let manners = Manners { refuses_bodies: part.has("careless"), ..Manners::default() };
    let enough = part.dice.size(5, 12);
    let sessions = Arc::new(Mutex::new(Vec::new()));
    for stream in listener.incoming() {
        let stream = stream?;
        let sessions = Arc::clone(&sessions);
        aside(move || {
            if talk::serve(&stream, manners)? == End::Gone
                && let Ok(mut sessions) = sessions.lock()
            {
                to_blame(&stream);
                sessions.push(stream);
                if sessions.len() == enough {
                    stands();
                }
            }
            Ok(())
        });
    }
    Ok(())
}

/// A server that takes its time after the end of a connection, and closes then.
pub(crate) fn late_closer(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    stands();
    for stream in listener.incoming() {
        let stream = stream?;
        let mut dice = part.dice.split();
        aside(move || {
            talk::serve(&stream, Manners::default())?;
            dice.pause(300, 2_500);
            Ok(())
        });
    }
    Ok(())
}

/// A server whose workers lock two tables, some in one order and some in the other: one day they all wait for
/// each other, and connections pile up before them, accepted and never read.
pub(crate) fn deadlocked_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let workers = part.dice.size(2, 5);
    let healthy = part.dice.size(3, 8);
    let (accounts, journal) = (Arc::new(Mutex::new(0_u64)), Arc::new(Mutex::new(0_u64)));
    let (queue, jobs) = mpsc::channel::<Told>();
    let jobs = Arc::new(Mutex::new(jobs));
    let served = Arc::new(AtomicUsize::new(0));
    let unlucky = Arc::new(Barrier::new(2));
    for number in 0..workers {
        let (accounts, journal) = (Arc::clone(&accounts), Arc::clone(&journal));
        let (jobs, served, unlucky) = (Arc::clone(&jobs), Arc::clone(&served), Arc::clone(&unlucky));
        thread::spawn(move || {
            loop {
                let Ok(job) = jobs.lock().map(|jobs| jobs.recv()) else { return };
                let Ok(job) = job else { return };
                let turn = served.fetch_add(1, Ordering::Relaxed);
                let (first, second) =
                    if number % 2 == 0 { (&accounts, &journal) } else { (&journal, &accounts) };
                let first = first.lock();
                if turn >= healthy && number < 2 {
                    unlucky.wait();
                }
                let second = second.lock();
                if first.is_ok() && second.is_ok() {
                    let _ = talk::serve(&job.0, Manners::default());
                }
            }
        });
    }
    for stream in listener.incoming() {
        let _ = queue.send(Told::of(stream?));
    }
    Ok(())
}

/// A server that works through long uploads slowly: its clients are done long before it is.
pub(crate) fn slow_reader(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    stands();
    for stream in listener.incoming() {
        let mut stream = stream?;
        let mut dice = part.dice.split();
        aside(move || {
            let mut room = vec![0; dice.size(400, 1_200)];
            while stream.read(&mut room)? > 0 {
                dice.pause(200, 900);
            }
            Ok(())
        });
    }
    Ok(())
}

/// Clients that upload `bytes=N` and leave, `every=MS`.
pub(crate) fn uploader(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let every = part.number("every", 3_000);
    let body = vec![b'u'; part.count("bytes", 50_000)];
    loop {
        let mut stream = TcpStream::connect(to)?;
        // A server that does not want it may reset.
        let _ = stream.write_all(&body);
        drop(stream);
        part.dice.pause(every / 2, every * 3 / 2);
    }
}

/// A connection pool that grows with a burst of requests, uses one of its connections from then on, and never
/// throws out those that the server has closed.
pub(crate) fn hoarding_pool(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let pool: io::Result<Vec<_>> = (0..part.dice.size(5, 14)).map(|_| TcpStream::connect(to)).collect();
    let pool = pool?;
    for stream in &pool {
        talk::ask(stream, 300)?;
    }
    let busy = pool[0].try_clone()?;
    let every = part.dice.between(200, 600);
    aside(move || {
        loop {
            talk::ask(&busy, 100)?;
            thread::sleep(Duration::from_millis(every));
        }
    });
    for stream in &pool[1..] {
        to_blame(stream);
    }
    wait_until(|| pool[1..].iter().all(in_close_wait));
    stands();
    part.stay()
}

/// A server that answers a query with rows for as long as somebody wants them, also after the client has said that
/// it has nothing more to ask. `pace=MS` between rows, `bytes=N` each; it blocks where nobody reads.
pub(crate) fn export_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let pace = part.time("pace", 0);
    let row = vec![b'r'; part.count("bytes", 4_096)];
    let mut before = 0;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let row = row.clone();
        to_blame(&stream);
        if part.has("blocks") && before == 0 {
            before = 1;
            watch_until_blocked(stream.try_clone()?);
        }
        aside(move || {
            let mut query = Vec::new();
            stream.read_to_end(&mut query)?;
            loop {
                stream.write_all(&row)?;
                thread::sleep(pace);
            }
        });
    }
    Ok(())
}

/// Says that the signature stands once the send queue is full and does not move.
fn watch_until_blocked(stream: TcpStream) {
    aside(move || {
        let mut last = -1;
        loop {
            thread::sleep(Duration::from_millis(500));
            let now = queued(&stream, libc::TIOCOUTQ);
            if now > 10_000 && now == last {
                stands();
                return Ok(());
            }
            last = now;
        }
    });
}

/// A client that says that it has nothing more to ask, and then reads: everything, in `gulps` with pauses between,
/// or (`deaf`) nothing after the beginning.
pub(crate) fn half_closer(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    for _ in 0..part.number("size", 3) {
        let mut dice = part.dice.split();
        let (gulps, deaf) = (part.has("gulps"), part.has("deaf"));
        aside(move || {
            let mut stream = TcpStream::connect(to)?;
            stream.write_all(b"SELECT\n")?;
            stream.shutdown(Shutdown::Write)?;
            let mut room = vec![0; 65_536];
            stream.read_exact(&mut room[..dice.size(500, 5_000)])?;
            while !deaf && stream.read(&mut room)? > 0 {
                if gulps && dice.chance(5) {
                    dice.pause(500, 2_000);
                }
            }
            // It forgets the connection without closing it.
            thread::park();
            Ok(())
        });
    }
    // The first answers are there by then.
    thread::sleep(Duration::from_secs(1));
    stands();
    part.stay()
}

/// A proxy that passes on everything, half-closes too, and has no timeout for what comes after.
pub(crate) fn proxy(part: &mut Part) -> io::Result<()> {
    let upstream = part.server()?;
    let listener: TcpListener = part.listen()?;
    let enough = part.dice.size(3, 8);
    let half_closed = Arc::new(AtomicUsize::new(0));
    for front in listener.incoming() {
        let front = front?;
        let half_closed = Arc::clone(&half_closed);
        aside(move || {
            let back = TcpStream::connect(upstream)?;
            to_blame(&front);
            to_blame(&back);
            let (mut from_back, mut to_front) = (back.try_clone()?, front.try_clone()?);
            to_blame(&from_back);
            to_blame(&to_front);
            let answers = thread::spawn(move || io::copy(&mut from_back, &mut to_front));
            io::copy(&mut &front, &mut &back)?;
            back.shutdown(Shutdown::Write)?;
            if half_closed.fetch_add(1, Ordering::Relaxed) + 1 == enough {
                stands();
            }
            let _ = answers.join();
            Ok(())
        });
    }
    Ok(())
}

/// A server that sends a file of `bytes=N` and closes.
pub(crate) fn file_server(part: &mut Part) -> io::Result<()> {
    let listener = part.listen()?;
    let usual = part.dice.between(300_000, 2_000_000);
    let bytes = part.number("bytes", usual);
    for stream in listener.incoming() {
        let mut stream = stream?;
        aside(move || {
            let _ = stream.read(&mut [0; 64])?;
            // It has its answer, and all of it fits: close() does not wait.
            let size = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
            crate::kit::option(&stream, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &size)?;
            talk::answer(&stream, bytes)
        });
    }
    Ok(())
}

/// A client that looks at the status of each answer, keeps the answer, and never reads its body.
pub(crate) fn body_leaker(part: &mut Part) -> io::Result<()> {
    let to = part.server()?;
    let mut answers = Vec::new();
    for _ in 0..part.dice.between(2, 5) {
        let mut stream = TcpStream::connect(to)?;
        stream.write_all(b"GET /report\n")?;
        let mut head = [0; 8];
        stream.read_exact(&mut head)?;
        to_blame(&stream);
        answers.push(stream);
    }
    wait_until(|| answers.iter().all(|stream| queued(stream, libc::FIONREAD) >= 65_536));
    stands();
    part.stay()
}
