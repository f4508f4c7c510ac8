//! What xtask tells its user, one line at a time, told apart from its children's output by a prefix.

use std::fmt::Display;

/// Prints one line of progress.
pub(crate) fn say(text: impl Display) {
    println!("xtask: {text}");
}

/// Prints one line about something that goes on in a lesser way than it could.
pub(crate) fn warn(text: impl Display) {
    eprintln!("xtask: warning: {text}");
}
