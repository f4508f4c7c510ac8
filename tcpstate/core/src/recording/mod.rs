//! Recordings of the evidence: what enters the pure rooms, one input after the other, so that it can be judged again as
//! it was. It is how a wrong verdict is sent, and how it is kept from coming back.
//!
//! A recording is JSON, one object a line, compressed by gzip: `zcat` shows it. The first line is the [`Header`]. It has
//! addresses, ports, users, and names of programs, and nothing of what the connections carry. Pure but for the reader and
//! the writer that it is given.

mod delta;
mod input;
mod line;
mod reader;
mod replay;
pub mod timeline;
mod writer;

#[cfg(test)]
pub(crate) mod tests;

pub use input::Input;
pub use line::{Header, VERSION};
pub use reader::{Error, Reader};
pub use replay::Replay;
pub use timeline::Timeline;
pub use writer::Writer;
