//! Read-only globals that the loader fills in from the running kernel's BTF before the programs load.

use aya_ebpf::Global;

macro_rules! declare {
    ($($name:ident)*) => {
        $(
            /// Byte offset of a kernel struct's field; see `tcpstate_common::layout`.
            #[unsafe(no_mangle)]
            pub(crate) static $name: Global<u32> = Global::new(0);
        )*
    };
}

tcpstate_common::with_field_globals!(declare);

/// See [`tcpstate_common::layout::globals::SOCK_DONE_BIT`].
#[unsafe(no_mangle)]
pub(crate) static SOCK_DONE_BIT: Global<u32> = Global::new(0);
/// See [`tcpstate_common::layout::globals::SOCK_DEAD_BIT`].
#[unsafe(no_mangle)]
pub(crate) static SOCK_DEAD_BIT: Global<u32> = Global::new(0);
/// See [`tcpstate_common::layout::globals::HAS_RST_REASON`].
#[unsafe(no_mangle)]
pub(crate) static HAS_RST_REASON: Global<u32> = Global::new(0);
/// See [`tcpstate_common::layout::globals::RST_ABORT_ON_DATA`].
#[unsafe(no_mangle)]
pub(crate) static RST_ABORT_ON_DATA: Global<u32> = Global::new(0);
/// See [`tcpstate_common::layout::globals::TICK_NS`].
#[unsafe(no_mangle)]
pub(crate) static TICK_NS: Global<u32> = Global::new(0);
/// See [`tcpstate_common::layout::globals::RING_WATERMARK`].
#[unsafe(no_mangle)]
pub(crate) static RING_WATERMARK: Global<u32> = Global::new(0);
/// See [`tcpstate_common::layout::globals::SLOT_MASK`].
#[unsafe(no_mangle)]
pub(crate) static SLOT_MASK: Global<u32> = Global::new(0);
/// See [`tcpstate_common::layout::globals::TAPE_MASK`].
#[unsafe(no_mangle)]
pub(crate) static TAPE_MASK: Global<u32> = Global::new(0);
