//! Recordings: the container, the lines, and the replay of what they say.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
};

use flate2::{Compression, read::GzDecoder, write::GzEncoder};

use crate::{
    diagnose::Thresholds,
    fuzz::fuzz,
    recording::{Reader, Replay},
    track::Limits,
};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/recordings/scenarios");
/// Lines of a recording that make one input, so that many inputs can be tried.
const LINES: usize = 12;

/// Pieces of recordings, each behind its header, and a recording as it is.
fn seeds() -> Vec<Vec<u8>> {
    let files = fs::read_dir(FOLDER).expect("recordings").flatten().map(|entry| entry.path());
    let is_one = |file: &Path| file.extension().is_some_and(|it| it == "tcpstate");
    let recordings: Vec<_> =
        files.filter(|file| is_one(file)).map(|file| fs::read(file).expect("a recording")).collect();
    let mut seeds: Vec<_> = recordings.iter().flat_map(|recording| pieces(recording)).collect();
    seeds.extend(recordings.into_iter().min_by_key(Vec::len));
    seeds
}

fn pieces(recording: &[u8]) -> Vec<Vec<u8>> {
    let mut text = String::new();
    GzDecoder::new(recording).read_to_string(&mut text).expect("gzip");
    let lines: Vec<_> = text.lines().collect();
    let (header, lines) = lines.split_first().expect("a header");
    lines.chunks(LINES).map(|piece| format!("{header}\n{}\n", piece.join("\n")).into_bytes()).collect()
}

#[test]
fn recording() {
    fuzz("recording", seeds(), |bytes| {
        replay(bytes);
        let mut recording = GzEncoder::new(Vec::new(), Compression::none());
        recording.write_all(bytes).expect("memory");
        replay(&recording.finish().expect("memory"));
    });
}

fn replay(recording: &[u8]) {
    let Ok(mut reader) = Reader::new(recording) else { return };
    let limits = Limits { max_sockets: 1000, max_resets: 1000 };
    let mut replay = Replay::new(&Thresholds::default(), limits, reader.header().reset_reasons.clone());
    while let Ok(Some(input)) = reader.input() {
        drop(replay.take(input));
    }
}
