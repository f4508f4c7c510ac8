//! What an init has to do before anything else works, and the power switch.

use std::{
    ffi::CString,
    fs::{self, File},
    io, mem,
    os::fd::{AsRawFd, FromRawFd, OwnedFd},
    path::Path,
};

use anyhow::{Context, Result, bail};
use rustix::system::{RebootCommand, finit_module, reboot};

/// The modules that the host has put there, in the order in which they need each other.
const MODULES: [&str; 2] = ["/modules/inet_diag.ko", "/modules/tcp_diag.ko"];
const FILE_SYSTEMS: [(&str, &str); 5] = [
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("devtmpfs", "/dev"),
    ("tmpfs", "/tmp"),
    ("tracefs", "/sys/kernel/tracing"),
];

/// What the kernel's command line asks for.
pub(crate) struct Parameters {
    pub(crate) checks: Vec<String>,
    /// Connections of the churn check.
    pub(crate) connections: u64,
}

impl Parameters {
    pub(crate) fn read() -> Result<Self> {
        let line = fs::read_to_string("/proc/cmdline").context("no kernel command line")?;
        let value = |name: &str| {
            let mut words = line.split_whitespace().filter_map(|word| word.split_once('='));
            words.find(|(key, _)| *key == name).map(|(_, value)| value.to_owned())
        };
        let checks = value("tcpstate.checks").context("tcpstate.checks is not on the command line")?;
        let connections = value("tcpstate.connections").context("tcpstate.connections is not there")?;
        Ok(Self {
            checks: checks.split(',').map(str::to_owned).collect(),
            connections: connections.parse().context("tcpstate.connections is no number")?,
        })
    }
}

/// Mounts file systems, loads modules, and takes the loopback interface up.
pub(crate) fn make_usable() -> Result<()> {
    for (kind, place) in FILE_SYSTEMS {
        mount(kind, place)?;
    }
    for module in MODULES.iter().filter(|file| Path::new(file).exists()) {
        let file = File::open(module)?;
        finit_module(&file, c"", 0).with_context(|| format!("cannot load {module}"))?;
    }
    take_loopback_up().context("cannot take the loopback interface up")?;
    // As on a host that has room: a connection in TIME_WAIT must not give way to the next one.
    fs::write("/proc/sys/net/ipv4/tcp_max_tw_buckets", "262144").context("cannot make room for TIME_WAIT")
}

fn mount(kind: &str, place: &str) -> Result<()> {
    fs::create_dir_all(place)?;
    let (kind_c, place_c) = (CString::new(kind)?, CString::new(place)?);
    // SAFETY: all strings live through the call, and these file systems take no data.
    let result =
        unsafe { libc::mount(kind_c.as_ptr(), place_c.as_ptr(), kind_c.as_ptr(), 0, std::ptr::null()) };
    // The kernel may have mounted /dev by itself.
    if result != 0 && io::Error::last_os_error().raw_os_error() != Some(libc::EBUSY) {
        bail!("cannot mount {kind}: {}", io::Error::last_os_error());
    }
    Ok(())
}

fn take_loopback_up() -> io::Result<()> {
    // SAFETY: plain system calls; the request is plain data and lives through the call.
    unsafe {
        let fd = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        let fd = OwnedFd::from_raw_fd(fd);
        let mut request: libc::ifreq = mem::zeroed();
        request.ifr_name[0] = 'l' as libc::c_char;
        request.ifr_name[1] = 'o' as libc::c_char;
        #[expect(clippy::cast_possible_truncation, reason = "flags fit in 16 bits")]
        let up = (libc::IFF_UP | libc::IFF_RUNNING) as i16;
        request.ifr_ifru.ifru_flags = up;
        match libc::ioctl(fd.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw const request) {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// Returns only if that fails.
pub(crate) fn power_off() -> anyhow::Error {
    rustix::fs::sync();
    match reboot(RebootCommand::PowerOff) {
        Ok(()) => anyhow::anyhow!("the kernel goes on"),
        Err(error) => error.into(),
    }
}
