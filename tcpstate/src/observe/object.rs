//! The eBPF programs as the compiler made them, and the numbers that they are told before the kernel sees them.

use object::{Object, ObjectSection, SectionFlags, elf::SHF_EXECINSTR};
use tcpstate_common::layout::{MARK, Number, OFFSET_MARK};

/// Length of an instruction (RFC 9669, section 3): what it does, registers, an offset, an immediate number.
const INSTRUCTION: usize = 8;
/// `dst = imm`, of 64 bits (`BPF_ALU64 | BPF_MOV | BPF_K`).
const MOVE: u8 = 0xb7;
/// `BPF_LDX | BPF_MEM`, `dst = *(size *)(src + offset)`, without the size.
const LOAD: u8 = 0x61;
/// The bits that say the size.
const SIZE: u8 = 0x18;

static OBJECT: &[u8] = aya::include_bytes_aligned!(env!("TCPSTATE_EBPF_OBJECT"));

/// Why the programs cannot be told their numbers.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error(transparent)]
    NoObject(#[from] object::Error),
    #[error(
        "{field:?} is {offset} bytes from the beginning of its struct, farther than one instruction reaches"
    )]
    Far { field: Number, offset: u32 },
}

/// The object, with every instruction that loads a number given the number that `number` says.
///
/// # Errors
/// If it is no object file, or if a field is too far from where its struct begins.
pub(super) fn with_numbers(number: impl Fn(Number) -> u32) -> Result<Vec<u8>, Error> {
    let mut object = OBJECT.to_vec();
    for range in code(OBJECT)? {
        tell(&mut object[range], &number)?;
    }
    forget(OBJECT);
    Ok(object)
}

/// Takes what has been read of the program's own file out of memory, where it would count as the daemon's: whoever
/// reads it again gets it from the file again. Most of it is the compiler's debug information.
fn forget(bytes: &'static [u8]) {
    let page = rustix::param::page_size();
    let before = bytes.as_ptr().align_offset(page);
    let whole = bytes.len().saturating_sub(before) / page * page;
    // SAFETY: whole pages of a constant, which is mapped from a file and not written.
    let forgotten = unsafe {
        let first = bytes.as_ptr().add(before.min(bytes.len())).cast_mut().cast();
        rustix::mm::madvise(first, whole, rustix::mm::Advice::LinuxDontNeed)
    };
    if let Err(error) = forgotten {
        tracing::debug!("the eBPF object stays in memory: {error}");
    }
}

/// Where in an object file its instructions are.
fn code(object: &[u8]) -> Result<Vec<std::ops::Range<usize>>, object::Error> {
    let file = object::File::parse(object)?;
    let sections = file.sections().filter(|section| {
        matches!(section.flags(), SectionFlags::Elf { sh_flags } if sh_flags & u64::from(SHF_EXECINSTR) != 0)
    });
    let ranges = sections.filter_map(|section| {
        let (start, len) = section.file_range()?;
        let start = usize::try_from(start).ok()?;
        Some(start..start + usize::try_from(len).ok()?)
    });
    Ok(ranges.collect())
}

fn tell(code: &mut [u8], number: impl Fn(Number) -> u32) -> Result<(), Error> {
    for [what, _, low, high, immediate @ ..] in code.as_chunks_mut::<INSTRUCTION>().0 {
        if *what & !SIZE == LOAD & !SIZE
            && let Some(field) = marked(i16::from_le_bytes([*low, *high]).into(), OFFSET_MARK.into())
        {
            let offset = number(field);
            let near = i16::try_from(offset).map_err(|_| Error::Far { field, offset })?;
            [*low, *high] = near.to_le_bytes();
        } else if *what == MOVE
            && let Some(wanted) = marked(i32::from_le_bytes(*immediate), MARK)
        {
            *immediate = number(wanted).to_le_bytes();
        }
    }
    Ok(())
}

/// The number for which this stands, if it stands for one.
fn marked(stands: i32, mark: i32) -> Option<Number> {
    let place = usize::try_from(stands.checked_sub(mark)?).ok()?;
    Number::ALL.get(place).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moves(immediate: i32) -> [u8; INSTRUCTION] {
        let [a, b, c, d] = immediate.to_le_bytes();
        [MOVE, 1, 0, 0, a, b, c, d]
    }

    fn loads(what: u8, offset: i16) -> [u8; INSTRUCTION] {
        let [a, b] = offset.to_le_bytes();
        [what, 1, a, b, 0, 0, 0, 0]
    }

    #[test]
    fn only_what_needs_a_number_is_told_one() {
        let last = i16::try_from(Number::ALL.len()).expect("few");
        let before = [
            moves(MARK),
            moves(MARK + Number::TICK_NS as i32),
            moves(MARK + i32::from(last)),
            moves(MARK - 1),
            moves(i32::MIN),
            // 64, 16 and 8 bits.
            loads(0x79, OFFSET_MARK),
            loads(0x69, OFFSET_MARK),
            loads(0x71, OFFSET_MARK),
            loads(0x61, OFFSET_MARK + last),
            loads(0x61, OFFSET_MARK - 1),
            // A store.
            loads(0x63, OFFSET_MARK),
        ];
        let mut code = before.concat();
        tell(&mut code, |number| if number == Number::TICK_NS { 4_000_000 } else { 16 }).expect("near");
        let mut expected = before;
        expected[0] = moves(16);
        expected[1] = moves(4_000_000);
        expected[5] = loads(0x79, 16);
        expected[6] = loads(0x69, 16);
        expected[7] = loads(0x71, 16);
        assert_eq!(code, expected.concat());
    }

    #[test]
    fn field_that_is_too_far_for_an_instruction_is_named() {
        let mut code = loads(0x61, OFFSET_MARK + Number::NET_COOKIE as i16);
        let error = tell(&mut code, |_| 40_000).expect_err("16 bits with a sign");
        assert!(error.to_string().starts_with("NET_COOKIE is 40000 bytes"), "{error}");
    }

    #[test]
    fn programs_load_every_number() {
        let told = std::cell::RefCell::new(Vec::new());
        with_numbers(|number| {
            told.borrow_mut().push(number);
            0
        })
        .expect("an object file");
        for number in Number::ALL {
            assert!(told.borrow().contains(number), "{number:?} is declared, and no program loads it");
        }
    }

    #[test]
    fn what_is_forgotten_is_still_there() {
        let first = with_numbers(|_| 7).expect("an object file");
        assert_eq!(first, with_numbers(|_| 7).expect("an object file"));
    }

    #[test]
    fn what_is_no_object_file_is_refused() {
        assert!(code(b"no object file").is_err());
    }
}
