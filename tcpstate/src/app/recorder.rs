//! Writes a recording, on a thread of its own: nobody waits for it, and what it has no room for is counted.

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result};

use crate::{
    observe::decode::Record,
    recording::{Header, Input, Writer},
    track::Circumstances,
};

/// Inputs that wait at most: some tens of MB.
const WAITING: usize = 1 << 16;

/// The way to the thread. When all of these are dropped, the recording ends.
#[derive(Clone, Debug)]
pub(super) struct Recorder {
    tell: SyncSender<Input>,
    lost: Arc<AtomicU64>,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default)]
pub struct Written {
    pub inputs: u64,
    pub lost: u64,
}

impl Recorder {
    /// Begins a recording.
    ///
    /// # Errors
    /// If it cannot be written, or the thread cannot be started.
    pub(super) fn start(
        out: impl Write + Send + 'static,
        header: &Header,
    ) -> Result<(Self, JoinHandle<Result<Written>>)> {
        let (tell, inputs) = sync_channel(WAITING);
        let lost = Arc::<AtomicU64>::default();
        let writer = Writer::new(out, header)?;
        let missed = Arc::clone(&lost);
        let thread = thread::Builder::new().name("recording".to_owned());
        let thread = thread.spawn(move || write(writer, &inputs, &missed));
        Ok((Self { tell, lost }, thread.context("the recording thread cannot be started")?))
    }

    /// Adds what the kernel side told, before the tracker has it.
    pub(super) fn hear(&self, record: &Record, about: Circumstances) {
        match record {
            Record::Event(event) => self.put(Input::Event(event.clone(), about)),
            Record::Acted { cookie, process } => {
                self.put(Input::Acted { cookie: *cookie, process: *process });
            }
            Record::IdleClose(close) => self.put(Input::IdleClose(*close)),
            Record::ForWatchers => {}
        }
    }

    /// Adds an input.
    pub(super) fn put(&self, input: Input) {
        if let Err(TrySendError::Full(_)) = self.tell.try_send(input) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn write<W: Write>(mut writer: Writer<W>, inputs: &Receiver<Input>, missed: &AtomicU64) -> Result<Written> {
    let mut written = Written::default();
    let say_lost = |writer: &mut Writer<W>| {
        let lost = missed.swap(0, Ordering::Relaxed);
        if lost > 0 { writer.put(Input::Lost(lost)).map(|()| lost) } else { Ok(0) }
    };
    while let Ok(input) = inputs.recv() {
        written.lost += say_lost(&mut writer)?;
        writer.put(input)?;
        written.inputs += 1;
    }
    written.lost += say_lost(&mut writer)?;
    writer.finish()?.flush()?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lets nothing through until it is opened.
    struct Gate(Receiver<()>);

    impl Write for Gate {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            // Nobody holds it back any more once the sender is gone.
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_it_has_no_room_for_is_counted() {
        let (open, gate) = sync_channel(1);
        open.send(()).unwrap();
        let (recorder, thread) = Recorder::start(Gate(gate), &Header::default()).unwrap();
        let all = 3 * WAITING as u64;
        // Numbers that do not compress, so that something has to be written while nothing can be.
        for number in 0..all {
            recorder.put(Input::Acted { cookie: number.wrapping_mul(0x9e37_79b9_7f4a_7c15), process: None });
        }
        drop((recorder, open));
        let written = thread.join().unwrap().unwrap();
        assert_eq!(written.inputs + written.lost, all);
        assert!(written.lost > 0);
    }
}
