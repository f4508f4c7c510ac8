//! Where in the table each cookie is. The cookie itself stands there, so four bytes a socket are enough here.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::{packed::Packed, table::SPARE};

/// The places of all cookies in a list of sockets, which every call must be given as it is.
#[derive(Debug, Default)]
pub(super) struct Places {
    table: HashTable<u32>,
    hash: RandomState,
}

impl Places {
    /// Where the socket with this cookie is.
    pub(super) fn get(&self, cookie: u64, sockets: &[Packed]) -> Option<usize> {
        let is_it = |place: &u32| sockets[*place as usize].cookie() == cookie;
        self.table.find(self.hash.hash_one(cookie), is_it).map(|place| *place as usize)
    }

    /// A socket has been put at the end of the list.
    pub(super) fn pushed(&mut self, sockets: &[Packed]) {
        let Some((place, socket)) = sockets.iter().enumerate().next_back() else { return };
        let Ok(place) = u32::try_from(place) else { return };
        let hash = |place: &u32| self.hash.hash_one(sockets[*place as usize].cookie());
        self.table.insert_unique(self.hash.hash_one(socket.cookie()), place, hash);
    }

    /// Frees room of which most is not in use.
    pub(super) fn give_back(&mut self, sockets: &[Packed]) {
        if self.table.capacity() > SPARE * sockets.len() {
            let hash = |place: &u32| self.hash.hash_one(sockets[*place as usize].cookie());
            self.table.shrink_to(2 * sockets.len(), hash);
        }
    }

    /// The socket at this place is about to be taken out, and the last one to be put there.
    pub(super) fn swap_removes(&mut self, place: usize, sockets: &[Packed]) {
        let find = |cookie| {
            let is_it = move |place: &u32| sockets[*place as usize].cookie() == cookie;
            (self.hash.hash_one(cookie), is_it)
        };
        let (hash, is_it) = find(sockets[place].cookie());
        if let Ok(entry) = self.table.find_entry(hash, is_it) {
            entry.remove();
        }
        let Some(last) = sockets.last() else { return };
        let (hash, is_it) = find(last.cookie());
        if let (Some(moved), Ok(place)) = (self.table.find_mut(hash, is_it), u32::try_from(place)) {
            *moved = place;
        }
    }
}
