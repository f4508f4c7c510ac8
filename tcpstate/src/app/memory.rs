//! How much memory the daemon takes, and giving back what it does not need any more.

use std::{convert::Infallible, time::Duration};

use anyhow::{Context, Result};

use crate::serve::http::Server;

/// What the daemon takes without any socket: itself, the kernel side's table of slots, the lists of resets, and what
/// waits for a watcher. On top come the ring, twice, since it is mapped twice, and the tapes, which are
/// as large as two rings.
const ITSELF: u64 = 48 << 20;
/// What a socket takes in the table and in its indexes, if it parks and is held, with its share of what a census and a
/// look-up take while they are done; `tcpstate/docs/performance.md` has what it comes to.
const SOCKET: u64 = 256;

/// What is large for the allocator, bytes: some thousand sockets.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 512 << 10;

/// For how many sockets a limit, bytes, leaves room.
///
/// # Errors
/// If it is too small even for one: one sentence.
pub fn room_for_sockets(max_memory: u64, ring_bytes: u32) -> Result<usize> {
    let itself = ITSELF + 4 * u64::from(ring_bytes);
    let room = max_memory.checked_sub(itself).map(|rest| rest / SOCKET).filter(|room| *room > 0);
    let room = room.with_context(|| {
        format!(
            "--max-memory {} MiB leaves no room for sockets: the daemon itself takes up to {} MiB",
            max_memory >> 20,
            itself >> 20
        )
    })?;
    Ok(usize::try_from(room)?)
}

/// Has whatever is large go back to the system as soon as it is freed. The allocator would learn from the first large
/// piece to keep the next ones, between which small ones then stand in the way.
pub(super) fn keep_nothing_large() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes two numbers, touches only the allocator's own settings.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
    }
}

/// Gives memory that was freed back to the system; the allocator keeps it otherwise.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, touches only the allocator's own free lists.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The same after something that has gone through so many sockets, if that was enough to be worth some milliseconds:
/// not for the engine, at which questions wait.
pub(super) fn give_back_after(sockets: usize) {
    const MANY: usize = 10_000;
    if sockets > MANY {
        give_back();
    }
}

/// The same after many clients have come and gone; never returns.
pub(super) async fn give_back_after_crowds(server: Server) -> Infallible {
    loop {
        server.calmed().await;
        // The last of them are still being taken apart.
        tokio::time::sleep(Duration::from_secs(1)).await;
        give_back();
    }
}

#[cfg(test)]
mod tests {
    use super::room_for_sockets;

    #[test]
    fn what_is_left_is_for_sockets() {
        assert_eq!(room_for_sockets(256 << 20, 4 << 20).expect("room"), 786_432);
        assert_eq!(room_for_sockets((64 << 20) + 256, 4 << 20).expect("room"), 1);
    }

    #[test]
    fn limit_that_leaves_nothing_says_what_would_be_enough() {
        let error = room_for_sockets(32 << 20, 4 << 20).expect_err("too little").to_string();
        assert_eq!(
            error,
            "--max-memory 32 MiB leaves no room for sockets: the daemon itself takes up to 64 MiB"
        );
    }
}
