//! The table of sockets that park, and of those that are `ESTABLISHED`, as far as there is room. A socket's place follows from its cookie, and cookies are given out one after
//! the other: places that are used together lie together, and nothing is searched, allocated or balanced. Most
//! sockets leave their state within microseconds, and then their place is free again without anybody having
//! looked. User space reads the table every now and then, and takes note of those that stay.

use tcpstate_common::{
    Slot, TcpState,
    wire::slot::{self, ACTIVE, BUSY, FREE, GRACE_NS, KEPT_NS, MINI_FIN_WAIT2, state, tag},
};

use crate::{
    maps, numbers,
    publish::publish,
    task::{self, Process},
};

const ESTABLISHED: u8 = TcpState::Established as u8;
const TIME_WAIT: u8 = TcpState::TimeWait as u8;

/// What is remembered of a socket.
pub(crate) struct Past {
    /// When it entered the state that it was last in.
    pub(crate) entered_ns: u64,
    /// See [`Slot::opened`].
    pub(crate) opened: u64,
    /// Who acted on it last.
    pub(crate) actor: Option<Process>,
}

/// A place in the table.
#[derive(Clone, Copy)]
pub(crate) struct Place(*mut Slot);

impl Place {
    /// The place for a cookie.
    #[inline(always)]
    pub(crate) fn of(cookie: u64) -> Option<Self> {
        maps::SLOTS.get_ptr_mut((cookie & numbers::SLOT_MASK.load()) as u32).map(Self)
    }

    #[inline(always)]
    fn tag(self) -> u64 {
        // SAFETY: a place in the map. Others may write it meanwhile, and a tag is one word.
        unsafe { core::ptr::read_volatile(&raw const (*self.0).tag) }
    }

    #[inline(always)]
    fn age_ns(self, now_ns: u64) -> u64 {
        // SAFETY: as above.
        now_ns.saturating_sub(unsafe { core::ptr::read_volatile(&raw const (*self.0).entered_ns) })
    }

    /// Whether the place remembers this socket in this state, which parks. Only who handles the socket, under its
    /// lock, asks; after `KEPT_NS` others may take the place.
    #[inline(always)]
    pub(crate) fn remembers(self, cookie: u64, state: u8, now_ns: u64) -> bool {
        self.tag() == tag(cookie, state) && self.age_ns(now_ns) < KEPT_NS
    }

    /// When the socket entered the state, and who acted last: pid 0 for nobody. For a place that remembers it.
    #[inline(always)]
    pub(crate) fn entered_ns(self) -> u64 {
        // SAFETY: nobody else writes a place that belongs to a socket.
        unsafe { (*self.0).entered_ns }
    }

    /// Who acted last. For a place that remembers the socket.
    #[inline(always)]
    pub(crate) fn actor(self) -> Option<Process> {
        // SAFETY: nobody else writes a place that belongs to a socket.
        unsafe {
            let comm = (&raw const (*self.0).comm).cast();
            if (*self.0).pid == 0 { None } else { Some(Process { pid: (*self.0).pid, comm: *comm }) }
        }
    }

    /// What is known of the socket with this cookie.
    pub(crate) fn last_known(self, cookie: u64) -> Option<Past> {
        let before = self.tag();
        // SAFETY: as in `entered_ns`, but for what the second look at the tag finds out.
        let opened = unsafe { (*self.0).opened };
        let past = Past { entered_ns: self.entered_ns(), opened, actor: self.actor() };
        // Another socket may have taken the place meanwhile.
        (slot::cookie(before) == cookie && self.tag() == before).then_some(past)
    }

    /// Takes the place for a socket that enters a state, brought there by the running process if that acts. Returns false
    /// if it belongs to another one.
    #[inline(always)]
    pub(crate) fn take(self, cookie: u64, state: u8, now_ns: u64, acts: bool) -> bool {
        let before = self.tag();
        // It may hold the socket's own opening, which stays known.
        if before == tag(cookie, ESTABLISHED) && self.swap(before, BUSY) {
            // SAFETY: while the tag says BUSY the place is ours alone, also below.
            unsafe { (*self.0).entered_ns = now_ns };
            self.write(cookie, state, now_ns, acts);
            return true;
        }
        if !is_free(before) && self.age_ns(now_ns) < KEPT_NS + GRACE_NS {
            return false;
        }
        if before == BUSY || !self.swap(before, BUSY) {
            return false;
        }
        // SAFETY: as above.
        unsafe {
            (*self.0).entered_ns = now_ns;
            (*self.0).opened = 0;
            (*self.0).pid = 0;
        }
        self.write(cookie, state, now_ns, acts);
        true
    }

    /// Keeps note of when this host opened a connection, and of the process that did. For a place that remembers it.
    #[inline(always)]
    pub(crate) fn open(self, cookie: u64, now_ns: u64) {
        self.publish(BUSY);
        // SAFETY: while the tag says BUSY the place is ours alone.
        unsafe {
            (*self.0).entered_ns = now_ns;
            (*self.0).opened = now_ns | ACTIVE;
        }
        self.write(cookie, ESTABLISHED, now_ns, false);
    }

    /// The same for a connection that a peer opened, if the place is free.
    #[inline(always)]
    pub(crate) fn accept(self, cookie: u64, now_ns: u64) {
        let before = self.tag();
        if is_free(before) && self.swap(before, BUSY) {
            // SAFETY: while the tag says BUSY the place is ours alone.
            unsafe {
                (*self.0).entered_ns = now_ns;
                (*self.0).opened = now_ns & !ACTIVE;
                (*self.0).pid = 0;
            }
            self.write(cookie, ESTABLISHED, now_ns, false);
        }
    }

    /// Moves the socket to its next state. For a place that remembers it.
    #[inline(always)]
    pub(crate) fn go_on(self, cookie: u64, state: u8, now_ns: u64, acts: bool) {
        self.publish(BUSY);
        // SAFETY: while the tag says BUSY the place is ours alone.
        unsafe { (*self.0).entered_ns = now_ns };
        self.write(cookie, state, now_ns, acts);
    }

    /// The socket stays as it is, but for who acted last, or for what stands for it. For a place that remembers it.
    #[inline(always)]
    pub(crate) fn stay(self, cookie: u64, state: u8, now_ns: u64, acts: bool) {
        self.publish(BUSY);
        self.write(cookie, state, now_ns, acts);
    }

    /// The mini-socket that is said to stand for a socket, by its state's number, and forgets it.
    pub(crate) fn take_back(self, cookie: u64) -> Option<u8> {
        let held = self.tag();
        // Nobody keeps the place for a mini-socket: another socket may be taking it.
        if slot::cookie(held) != cookie || !self.swap(held, FREE) {
            return None;
        }
        match state(held) {
            MINI_FIN_WAIT2 => Some(TcpState::FinWait2 as u8),
            TIME_WAIT => Some(TIME_WAIT),
            _ => None,
        }
    }

    /// Forgets the socket. For a place that remembers it.
    #[inline(always)]
    pub(crate) fn free(self) {
        self.publish(FREE);
    }

    /// Writes the rest of a place that has been made ours, and hands it over.
    #[inline(always)]
    fn write(self, cookie: u64, state: u8, now_ns: u64, acts: bool) {
        // SAFETY: while the tag says BUSY the place is ours alone.
        unsafe {
            (*self.0).stamp = slot::stamp(now_ns);
            if acts && let Some(process) = task::current() {
                (*self.0).pid = process.pid;
                *(&raw mut (*self.0).comm).cast() = process.comm;
            }
        }
        self.publish(tag(cookie, state));
    }

    #[inline(always)]
    fn publish(self, tag: u64) {
        // SAFETY: a place in the map.
        unsafe { publish(&raw mut (*self.0).tag, tag) };
    }

    /// Replaces one tag by another in one step. Returns whether the first one stood there.
    #[cfg(target_arch = "bpf")]
    #[inline(always)]
    fn swap(self, before: u64, after: u64) -> bool {
        let mut found = before;
        // SAFETY: a place in the map; the instruction compares with r0 and leaves there what it found. The
        // compiler has no atomic operations that return something for this target.
        unsafe {
            core::arch::asm!(
                "r0 = cmpxchg_64({at} + 0, r0, {after})",
                at = in(reg) &raw mut (*self.0).tag,
                after = in(reg) after,
                inout("r0") found,
            );
        }
        found == before
    }

    /// The same for the host, for which clippy checks this crate; it never runs there.
    #[cfg(not(target_arch = "bpf"))]
    fn swap(self, before: u64, after: u64) -> bool {
        let tag = self.tag();
        self.publish(if tag == before { after } else { tag });
        tag == before
    }
}

/// Whether a place may be taken at once: it is free, or what it holds is no socket that parks.
#[inline(always)]
fn is_free(held: u64) -> bool {
    let state = state(held);
    held == FREE || state == TIME_WAIT || state == MINI_FIN_WAIT2 || state == ESTABLISHED
}
