//! Cursors: where a page ended. They are opaque to whoever hands them back; a version inside lets their
//! meaning change, and a letter keeps a cursor of one list out of another.

/// The version of what a cursor means.
const VERSION: char = '1';

/// Which list a cursor belongs to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(in super::super) enum List {
    /// By the cookie of the last socket.
    Sockets,
    /// By the id of the last reset.
    Resets,
}

impl List {
    fn letter(self) -> char {
        match self {
            Self::Sockets => 's',
            Self::Resets => 'r',
        }
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
            .ok_or_else(|| {
                format!(
                    "`{cursor}` is not a cursor of this list; give the `next_cursor` of the page before, \
                     or none for the first page"
                )
            })
    }
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
        fn what_no_page_gave_is_refused(text in ".{0,20}") {
            if let Ok(last) = List::Sockets.parse(&text) {
                prop_assert_eq!(List::Sockets.cursor(last), text);
            }
        }
    }

    #[test]
    fn junk_is_refused() {
        let junk = ["", "0", "s1", "s2000000000000002a", "s1000000000000002A", "s1+00000000000002a", "s12a"];
        for bad in junk {
            assert!(List::Sockets.parse(bad).is_err(), "{bad}");
        }
    }
}
