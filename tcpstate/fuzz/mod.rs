//! Fuzzing of every decoder and parser: none may panic, whatever it is given.
//!
//! Each file in `targets` is one target: real inputs to begin with, and what is done with an input. As a plain test a target
//! takes the inputs in `inputs/TARGET`, on which it once failed, and then changed ones for a moment; `cargo xtask fuzz` goes
//! on for longer. An input on which it fails is kept in that folder.

mod mutator;
mod random;
mod targets;

use std::{
    env, fs,
    io::{self, Write},
    panic::{self, AssertUnwindSafe},
    path::PathBuf,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use self::{mutator::Mutator, random::Random};

/// For how long each target is fuzzed as a plain test.
const MOMENT: Duration = Duration::from_millis(1200);
/// Says for how long instead, ms.
const TIME_VARIABLE: &str = "TCPSTATE_FUZZ_MS";

/// Fuzzes `run`, from these inputs on.
#[track_caller]
fn fuzz(target: &str, seeds: Vec<Vec<u8>>, run: impl Fn(&[u8])) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/inputs").join(target);
    for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
        run(&fs::read(file.path()).expect("an input that is kept"));
    }
    let wanted = env::var(TIME_VARIABLE).ok().map(|ms| Duration::from_millis(ms.parse().expect("ms")));
    let time = wanted.unwrap_or(MOMENT);
    let begun = Instant::now();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    let mut mutator = Mutator::new(seeds, Random::new(now.as_secs() ^ u64::from(now.subsec_nanos())));
    let mut inputs = 0_u64;
    while begun.elapsed() < time {
        let input = mutator.next();
        if let Err(failure) = panic::catch_unwind(AssertUnwindSafe(|| run(&input))) {
            let file = folder.join(format!("{:016x}", hash(&input)));
            fs::create_dir_all(&folder).and_then(|()| fs::write(&file, &input)).expect("the input is kept");
            eprintln!("{target}: the input is kept in {}", file.display());
            panic::resume_unwind(failure);
        }
        inputs += 1;
    }
    if wanted.is_some() {
        writeln!(io::stderr(), "fuzz: {target}: {inputs} inputs in {} s", begun.elapsed().as_secs())
            .expect("stderr");
    }
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
