//! Where the running kernel keeps what the programs read, from its BTF.

use std::{collections::BTreeMap, io, path::Path};

use btfparse::{Integer32Value, Offset, Readable, TypeInformation, TypeVariant};
use tcpstate_common::layout::{FIELDS, Field, Number};

/// The kernel's own description of its types.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const RST_REASON_PREFIX: &str = "SK_RST_REASON_";

/// Why the layout is not known.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error(
        "{path} does not exist: this kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not shown here"
    )]
    Missing { path: String },
    #[error("{path} cannot be read: {source}")]
    Unreadable { path: String, source: io::Error },
    #[error("{path} is not BTF that can be parsed: {reason}")]
    Malformed { path: String, reason: String },
    #[error("this kernel has no {constant} in enum {ty}")]
    Constant { ty: &'static str, constant: &'static str },
}

/// All that the programs must be told about the running kernel.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Layout {
    /// Byte offsets, in the order of [`FIELDS`]; `None` for a field that this kernel does not have there.
    pub offsets: Vec<Option<u32>>,
    pub sock_done_bit: u32,
    pub sock_dead_bit: u32,
    /// Whether `tcp_send_reset` carries a reason.
    pub has_rst_reason: bool,
    /// Names of the reset reasons, without their prefix; empty before 6.10.
    pub reset_reasons: BTreeMap<u32, String>,
}

impl Layout {
    /// Reads the running kernel's layout.
    ///
    /// # Errors
    /// If there is no BTF, or if it lacks a constant: the error names it.
    pub fn of_running_kernel() -> Result<Self, LayoutError> {
        Self::from_file(Path::new(KERNEL_BTF))
    }

    /// Reads a layout from a file of BTF.
    ///
    /// # Errors
    /// As [`Self::of_running_kernel`].
    pub fn from_file(path: &Path) -> Result<Self, LayoutError> {
        let name = path.display().to_string();
        let bytes = std::fs::read(path).map_err(|source| match source.kind() {
            io::ErrorKind::NotFound => LayoutError::Missing { path: name.clone() },
            _ => LayoutError::Unreadable { path: name.clone(), source },
        })?;
        let types = TypeInformation::new(&Bytes(bytes))
            .map_err(|error| LayoutError::Malformed { path: name, reason: error.message().to_owned() })?;
        Self::from_types(&types)
    }

    fn from_types(types: &TypeInformation) -> Result<Self, LayoutError> {
        let offsets = FIELDS.iter().map(|field| offset(types, field)).collect();
        let flags = constants(types, "sock_flags");
        let flag = |constant: &'static str| {
            flags
                .iter()
                .find_map(|(name, value)| (name == constant).then_some(*value))
                .ok_or(LayoutError::Constant { ty: "sock_flags", constant })
        };
        let has_rst_reason = arguments(types, "btf_trace_tcp_send_reset") >= Some(3);
        let reset_reasons = constants(types, "sk_rst_reason")
            .into_iter()
            .filter_map(|(name, value)| Some((value, name.strip_prefix(RST_REASON_PREFIX)?.to_owned())))
            .filter(|(_, name)| has_rst_reason && name != "MAX")
            .collect();
        Ok(Self {
            offsets,
            sock_done_bit: flag("SOCK_DONE")?,
            sock_dead_bit: flag("SOCK_DEAD")?,
            has_rst_reason,
            reset_reasons,
        })
    }

    /// Where a field is, if this kernel has it; `None` for numbers that are no fields.
    #[must_use]
    pub fn offset(&self, field: Number) -> Option<u32> {
        self.offsets.get(field as usize).copied().flatten()
    }

    /// One that has nothing but offsets.
    #[cfg(test)]
    pub(super) fn with_offsets(offsets: Vec<Option<u32>>) -> Self {
        let (sock_done_bit, sock_dead_bit) = (1, 0);
        Self { offsets, sock_done_bit, sock_dead_bit, has_rst_reason: false, reset_reasons: BTreeMap::new() }
    }

    /// What is written into the programs about the kernel: 0 for numbers that are not the kernel's, and for fields that it does not
    /// have: programs that need one are not loaded.
    #[must_use]
    pub fn number(&self, number: Number) -> u32 {
        match number {
            Number::SOCK_DONE_BIT => self.sock_done_bit,
            Number::SOCK_DEAD_BIT => self.sock_dead_bit,
            Number::HAS_RST_REASON => u32::from(self.has_rst_reason),
            Number::RST_ABORT_ON_DATA => self.reset_reason("TCP_ABORT_ON_DATA").unwrap_or(0),
            field => self.offset(field).unwrap_or(0),
        }
    }

    /// The number of a reset reason by its name without prefix.
    #[must_use]
    pub fn reset_reason(&self, name: &str) -> Option<u32> {
        self.reset_reasons.iter().find_map(|(number, known)| (known == name).then_some(*number))
    }
}

fn offset(types: &TypeInformation, field: &Field) -> Option<u32> {
    match types.offset_of(types.id_of(field.ty)?, field.path) {
        Ok((_, Offset::ByteOffset(bytes))) => Some(bytes),
        _ => None,
    }
}

/// The constants of an enum; none if there is no such enum.
fn constants(types: &TypeInformation, name: &str) -> Vec<(String, u32)> {
    match types.id_of(name).and_then(|id| types.from_id(id)) {
        Some(TypeVariant::Enum(found)) => found
            .named_value_list()
            .iter()
            .filter_map(|constant| match constant.value {
                Integer32Value::Unsigned(value) => Some((constant.name.clone(), value)),
                Integer32Value::Signed(value) => Some((constant.name.clone(), u32::try_from(value).ok()?)),
            })
            .collect(),
        _ => Vec::new(),
    }
}

/// How many arguments a tracepoint has, from the typedef of its probe function, whose first argument is
/// the probe's own data.
fn arguments(types: &TypeInformation, typedef: &str) -> Option<usize> {
    let TypeVariant::Typedef(typedef) = types.from_id(types.id_of(typedef)?)? else { return None };
    let TypeVariant::Ptr(pointer) = types.from_id(*typedef.tid())? else { return None };
    let TypeVariant::FuncProto(function) = types.from_id(*pointer.tid())? else { return None };
    function.parameter_list().len().checked_sub(1)
}

/// BTF in memory. The parser asks for ranges that a broken file may name beyond its end.
struct Bytes(Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> btfparse::Result<()> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..start.checked_add(buffer.len())?))
            .ok_or_else(|| btfparse::Error::new(btfparse::ErrorKind::IOError, "the file ends too early"))?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write, path::Path};

    use tcpstate_common::layout::{FIELDS, Number};

    use super::{KERNEL_BTF, Layout, LayoutError};

    #[test]
    fn kernel_without_btf_is_said_in_one_sentence() {
        let error = Layout::from_file(Path::new("/sys/kernel/btf/no-such-kernel")).unwrap_err();
        assert_eq!(
            error.to_string(),
            "/sys/kernel/btf/no-such-kernel does not exist: this kernel was built without CONFIG_DEBUG_INFO_BTF, or /sys is not shown here"
        );
    }

    /// Without BTF a test says that it was skipped, past what libtest hides.
    fn has_btf() -> bool {
        let has = Path::new(KERNEL_BTF).exists();
        if !has {
            writeln!(std::io::stderr(), "SKIPPED: this kernel has no BTF").expect("stderr");
        }
        has
    }

    #[test]
    fn running_kernel_has_every_field_and_names_its_reset_reasons() {
        if !has_btf() {
            return;
        }
        let layout = Layout::of_running_kernel().expect("a layout");
        assert_eq!(layout.offsets.iter().flatten().count(), FIELDS.len());
        // `struct sock` begins with its `struct sock_common`, and that with the peer's address.
        assert_eq!(layout.number(Number::SKC_DADDR), 0);
        assert_eq!(layout.number(Number::SOCK_DONE_BIT), layout.sock_done_bit);
        // enum sock_flags has begun so since before 5.10.
        assert_eq!((layout.sock_dead_bit, layout.sock_done_bit), (0, 1));
        if layout.has_rst_reason {
            assert_eq!(layout.reset_reasons[&0], "NOT_SPECIFIED");
            let number = layout.reset_reason("TCP_ABORT_ON_CLOSE").expect("known since 6.10");
            assert_eq!(layout.reset_reasons[&number], "TCP_ABORT_ON_CLOSE");
            assert!(!layout.reset_reasons.values().any(|name| name == "MAX"));
        }
    }

    #[test]
    fn field_that_is_missing_leaves_the_others() {
        if !has_btf() {
            return;
        }
        // The same kernel, with one field under another name.
        let mut bytes = fs::read(KERNEL_BTF).expect("BTF");
        let name = b"\0sk_lock\0";
        let at = bytes.windows(name.len()).position(|window| window == name).expect("the name");
        bytes[at + 1] = b'X';
        let folder = std::env::temp_dir().join(format!("tcpstate-layout-{}", std::process::id()));
        fs::write(&folder, &bytes).expect("a file");
        let layout = Layout::from_file(&folder).expect("a layout");
        fs::remove_file(&folder).expect("the file");
        assert_eq!(layout.offset(Number::SK_LOCK_OWNED), None);
        assert_eq!(layout.offsets.iter().flatten().count(), FIELDS.len() - 1);
    }

    #[test]
    fn what_is_no_btf_is_refused() {
        let file = std::env::temp_dir().join(format!("tcpstate-no-btf-{}", std::process::id()));
        for bytes in [&b""[..], b"nonsense", &[0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 255, 255, 255, 255]] {
            fs::write(&file, bytes).expect("a file");
            let error = Layout::from_file(&file).expect_err("no BTF");
            assert!(matches!(error, LayoutError::Malformed { .. }), "{error}");
        }
        fs::remove_file(&file).expect("the file");
        assert!(matches!(Layout::from_file(&file), Err(LayoutError::Missing { .. })));
    }
}
