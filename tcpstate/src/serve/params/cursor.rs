//! Cursors: where a page ended. They are opaque to whoever hands them back; a version inside lets their
//! meaning change, and a letter keeps a cursor of one list out of another.

use std::{cmp::Reverse, fmt::Write as _};

/// The version of what a cursor means.
const VERSION: char = '1';
/// Where its number ends: behind the letter, the version and 16 digits.
const NUMBER_END: usize = 18;

/// Which list a cursor belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum List {
    /// By the cookie of the last socket.
    Sockets,
    /// By the id of the last reset.
    Resets,
    /// By the place of the last process.
    Processes,
    /// By the place of the last destination.
    Ports,
    /// By the place of the last listener.
    Listeners,
}

/// A place in a list in which what there is more of comes first. It stays one when the list is another: what comes
/// after it is known without the entry that was there.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(in super::super) struct Place {
    /// How much there is of it.
    amount: Reverse<u64>,
    /// What no other entry with the same amount is called.
    name: Vec<u8>,
}

impl Place {
    pub(in super::super) fn new(amount: u64, name: String) -> Self {
        Self::of_bytes(amount, name.into_bytes())
    }

    fn of_bytes(amount: u64, name: Vec<u8>) -> Self {
        Self { amount: Reverse(amount), name }
    }
}

impl List {
    fn letter(self) -> char {
        match self {
            Self::Sockets => 's',
            Self::Resets => 'r',
            Self::Processes => 'p',
            Self::Ports => 'd',
            Self::Listeners => 'l',
        }
    }

    /// A pattern of the cursors of a list whose entries have a [`Place`].
    pub(in super::super) fn pattern_of_places(self) -> String {
        format!("^{}{VERSION}[0-9a-f]{{16}}([0-9a-f]{{2}})*$", self.letter())
    }

    /// The cursor for the page that follows the entry with this number.
    pub(in super::super) fn cursor(self, last: u64) -> String {
        format!("{}{VERSION}{last:016x}", self.letter())
    }

    /// The number of the entry at which the page before ended.
    pub(in super::super) fn parse(self, cursor: &str) -> Result<u64, String> {
        // Only what `cursor` writes is a cursor; `from_str_radix` alone would take a sign.
        u64::from_str_radix(cursor.get(2..).unwrap_or_default(), 16)
            .ok()
            .filter(|last| self.cursor(*last) == cursor)
            .ok_or_else(|| refusal(cursor))
    }

    /// The cursor for the page that follows this place.
    pub(in super::super) fn cursor_behind(self, place: &Place) -> String {
        let mut cursor = self.cursor(place.amount.0);
        for byte in &place.name {
            // Writing into a string does not fail.
            let _ = write!(cursor, "{byte:02x}");
        }
        cursor
    }

    /// The place at which the page before ended.
    pub(in super::super) fn parse_place(self, cursor: &str) -> Result<Place, String> {
        let read = || {
            let (number, name) = cursor.split_at_checked(NUMBER_END)?;
            let name: Option<Vec<u8>> = name.as_bytes().chunks(2).map(byte).collect();
            Some(Place::of_bytes(self.parse(number).ok()?, name?))
        };
        read().filter(|place| self.cursor_behind(place) == cursor).ok_or_else(|| refusal(cursor))
    }
}

/// Reads two hexadecimal digits.
fn byte(digits: &[u8]) -> Option<u8> {
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

fn refusal(cursor: &str) -> String {
    format!(
        "`{cursor}` is not a cursor of this list; give the `next_cursor` of the page before, or none for the \
         first page"
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_cursor_brings_its_number_back(last: u64) {
            prop_assert_eq!(List::Sockets.parse(&List::Sockets.cursor(last)), Ok(last));
            prop_assert_eq!(List::Resets.parse(&List::Resets.cursor(last)), Ok(last));
            prop_assert!(List::Resets.parse(&List::Sockets.cursor(last)).is_err());
        }

        #[test]
        fn a_cursor_brings_its_place_back(amount: u64, name: String) {
            let place = Place::new(amount, name);
            let cursor = List::Ports.cursor_behind(&place);
            prop_assert!(cursor.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{cursor}");
            prop_assert_eq!(List::Ports.parse_place(&cursor), Ok(place));
            prop_assert!(List::Listeners.parse_place(&cursor).is_err());
        }

        #[test]
        fn what_no_page_gave_is_refused(text in ".{0,20}") {
            if let Ok(last) = List::Sockets.parse(&text) {
                prop_assert_eq!(List::Sockets.cursor(last), &*text);
            }
            if let Ok(place) = List::Ports.parse_place(&text) {
                prop_assert_eq!(List::Ports.cursor_behind(&place), text);
            }
        }
    }

    #[test]
    fn junk_is_refused() {
        let junk = ["", "0", "s1", "s2000000000000002a", "s1000000000000002A", "s1+00000000000002a", "s12a"];
        for bad in junk {
            assert!(List::Sockets.parse(bad).is_err(), "{bad}");
        }
        let number = "p1000000000000002a";
        for bad in ["", "p1", "p12é", "s1000000000000002a", "d1000000000000002a6e"].map(str::to_owned) {
            assert!(List::Processes.parse_place(&bad).is_err(), "{bad}");
        }
        for bad in ["6", "6E", "+6", "zz", "é"] {
            assert!(List::Processes.parse_place(&format!("{number}{bad}")).is_err(), "{bad}");
        }
        assert_eq!(List::Processes.parse_place(&format!("{number}6e")), Ok(Place::new(42, "n".into())));
    }

    #[test]
    fn larger_amounts_come_first_and_names_decide_between_equal_ones() {
        let place = |amount, name: &str| Place::new(amount, name.into());
        assert!(place(10, "z") < place(9, "a"));
        assert!(place(9, "a") < place(9, "b"));
    }
}
