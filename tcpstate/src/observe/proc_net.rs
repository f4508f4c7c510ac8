//! The sockets in `/proc/net/tcp` and `/proc/net/tcp6` (`tcp4_seq_show` in `net/ipv4/tcp_ipv4.c`, `tcp6_seq_show` in
//! `net/ipv6/tcp_ipv6.c`), for kernels that dump none over netlink. They have no cookies, and listeners no limit.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::SocketAddr,
};

use tcpstate_common::TcpState;

use super::netns;
use crate::track::{Family, NO_LIMIT, Row, Timer, Tuple, address};

/// Cookies that the kernel gives are smaller.
const MADE_UP: u64 = 1 << 63;
/// The kernel tells times to user space in ticks of this length, ms (`USER_HZ`).
const TICK_MS: u32 = 10;

/// Reads the sockets of the calling thread's network namespace in these states, and calls `each` with every one.
///
/// # Errors
/// If a file cannot be read: one sentence why. A kernel without IPv6 has no second file, which is none.
pub fn dump(netns: u32, states: &[TcpState], mut each: impl FnMut(Row)) -> Result<(), String> {
    let v4 = netns::file("tcp")?;
    let v6 = netns::file("tcp6").unwrap_or_default();
    for (text, family) in [(v4, Family::V4), (v6, Family::V6)] {
        let rows = text.lines().skip(1).filter_map(|line| row(line, family, netns));
        rows.filter(|row| states.contains(&row.state)).for_each(&mut each);
    }
    Ok(())
}

/// Reads one line. `None` for what is no socket in a visible state.
///
/// Fields: number, local and remote end, state, send and receive queue, timer and when it fires, retransmits, user,
/// probes, inode; more follow.
#[must_use]
pub fn row(line: &str, family: Family, netns: u32) -> Option<Row> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    let local = end(fields.next()?, family)?;
    let remote = end(fields.next()?, family)?;
    let state = TcpState::try_from(u8::from_str_radix(fields.next()?, 16).ok()?).ok()?;
    let (wqueue, rqueue) = fields.next()?.split_once(':')?;
    let (timer, when) = fields.next()?.split_once(':')?;
    let timer = match timer {
        "01" => Timer::Retransmit,
        "02" => Timer::Keepalive,
        "03" => Timer::TimeWait,
        "04" => Timer::Persist,
        _ => Timer::None,
    };
    let retransmits = number(fields.next()?)?;
    let uid = fields.next()?.parse().ok()?;
    let inode = fields.nth(1)?.parse().ok()?;
    let tuple = Tuple { family, local, remote };
    TcpState::VISIBLE.contains(&state).then_some(())?;
    Some(Row {
        cookie: key(netns, &tuple, inode),
        netns,
        tuple,
        state,
        timer,
        expires_ms: if timer == Timer::None { 0 } else { number(when)?.saturating_mul(TICK_MS) },
        retransmits: u8::try_from(retransmits).unwrap_or(u8::MAX),
        rqueue: number(rqueue)?,
        wqueue: if state == TcpState::Listen { NO_LIMIT } else { number(wqueue)? },
        uid: (timer != Timer::TimeWait).then_some(uid),
        inode,
    })
}

fn number(text: &str) -> Option<u32> {
    // The timer is a `long`.
    u64::from_str_radix(text, 16).ok().map(|number| u32::try_from(number).unwrap_or(u32::MAX))
}

/// `0100007F:1F90`: the address in words as they lie in memory, and the port as a number.
fn end(text: &str, family: Family) -> Option<SocketAddr> {
    let (words, port) = text.split_once(':')?;
    let (words, rest) = words.as_bytes().as_chunks::<8>();
    let wanted = if family == Family::V4 { 1 } else { 4 };
    (words.len() == wanted && rest.is_empty()).then_some(())?;
    let mut octets = [0; 16];
    for (word, bytes) in words.iter().zip(octets.as_chunks_mut::<4>().0) {
        *bytes = u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok()?.to_ne_bytes();
    }
    Some(SocketAddr::new(address(family, octets), u16::from_str_radix(port, 16).ok()?))
}

/// What stands in for a cookie: the same for a socket as long as a process holds it, or none does.
fn key(netns: u32, tuple: &Tuple, inode: u32) -> u64 {
    let mut hasher = DefaultHasher::new();
    (netns, tuple.family.index(), tuple.local, tuple.remote, inode).hash(&mut hasher);
    hasher.finish() | MADE_UP
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use proptest::prelude::*;

    use super::*;

    const LISTEN: &str = "   0: 0100007F:1F90 00000000:0000 0A 00000000:00000002 00:00000000 00000000  1000        0 12345 1 0000000000000000 100 0 0 10 0";
    const TIME_WAIT: &str = "   3: 0100007F:BBD4 0100007F:4B5D 06 00000000:00000000 03:00001767 00000000     0        0 0 3 0000000000000000";
    const WIDE: &str = "   1: B80D0120000000000000000001000000:01BB 0000000000000000FFFF00000100007F:C350 08 00000005:00000001 01:00000014 00000003     0        0 99 1 0000000000000000 20 4 30 10 -1";

    #[test]
    fn listener_has_no_limit_and_its_queue_is_what_waits() {
        let row = row(LISTEN, Family::V4, 9).expect("a row");
        assert_eq!(row.tuple.local.to_string(), "127.0.0.1:8080");
        assert_eq!((row.state, row.rqueue, row.wqueue), (TcpState::Listen, 2, NO_LIMIT));
        assert_eq!((row.uid, row.inode, row.netns), (Some(1000), 12345, 9));
        assert_eq!((row.timer, row.expires_ms), (Timer::None, 0));
    }

    #[test]
    fn mini_socket_has_no_user_and_a_time_left() {
        let row = row(TIME_WAIT, Family::V4, 9).expect("a row");
        assert_eq!(row.tuple.remote.to_string(), "127.0.0.1:19293");
        assert_eq!((row.state, row.timer, row.expires_ms), (TcpState::TimeWait, Timer::TimeWait, 59_910));
        assert!(row.uid.is_none() && row.is_mini());
    }

    #[test]
    fn addresses_of_ipv6_are_read_word_by_word() {
        let row = row(WIDE, Family::V6, 9).expect("a row");
        assert_eq!(row.tuple.local.to_string(), "[2001:db8::1]:443");
        assert_eq!(row.tuple.remote.to_string(), "[::ffff:127.0.0.1]:50000");
        assert_eq!((row.rqueue, row.wqueue, row.retransmits, row.expires_ms), (1, 5, 3, 200));
    }

    #[test]
    fn key_is_the_sockets_and_no_cookie_of_the_kernel() {
        let of = |line, netns| row(line, Family::V4, netns).expect("a row").cookie;
        assert_eq!(of(LISTEN, 9), of(LISTEN, 9));
        assert!(of(LISTEN, 9) != of(LISTEN, 8) && of(LISTEN, 9) != of(TIME_WAIT, 9));
        assert!(of(LISTEN, 9) >= MADE_UP);
    }

    #[test]
    fn sockets_of_this_process_are_found() {
        let listener = TcpListener::bind("[::1]:0").expect("a port");
        let server = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(server.local_addr().expect("bound")).expect("listens");
        let mut rows = Vec::new();
        let own = netns::own().expect("/proc");
        dump(own, &TcpState::VISIBLE, |row| rows.push(row)).expect("readable");
        let of = |address| rows.iter().find(|row| row.tuple.local == address).map(|row| row.state);
        assert_eq!(of(listener.local_addr().expect("bound")), Some(TcpState::Listen));
        assert_eq!(of(client.local_addr().expect("bound")), Some(TcpState::Established));
        dump(own, &[TcpState::Listen], |row| assert_eq!(row.state, TcpState::Listen)).expect("readable");
    }

    proptest! {
        #[test]
        fn no_text_is_a_panic(text in "[0-9A-F: ]{0,200}|\\PC{0,60}", damage in 0..160_usize, by in "[0-9A-F: g\u{e9}]{1,3}") {
            let mut bent = WIDE.to_owned();
            bent.replace_range(damage..=damage, &by);
            for line in [text, bent] {
                for family in Family::ALL {
                    let _ = row(&line, family, 0);
                }
            }
        }
    }
}
