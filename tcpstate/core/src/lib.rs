//! What tcpstate knows of connections, and what it makes of it. Nothing here reads, writes, waits, or asks for the time:
//! whatever enters comes as an argument, so that a recording of it gives the same findings again.
//!
//! Events and socket dumps become connections in [`track`], and are judged in [`diagnose`]; [`recording`] has what enters
//! these two as a file's bytes, and replays it.

pub mod diagnose;
pub mod recording;
pub mod track;
