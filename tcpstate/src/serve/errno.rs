//! Names of the error numbers that end a TCP connection.

use rustix::io::Errno;

/// What a failed connect can end with, and what a socket can carry when it is closed. Anything else keeps
/// its number.
const NAMES: [(Errno, &str); 29] = [
    (Errno::PERM, "EPERM"),
    (Errno::INTR, "EINTR"),
    (Errno::IO, "EIO"),
    (Errno::AGAIN, "EAGAIN"),
    (Errno::NOMEM, "ENOMEM"),
    (Errno::ACCESS, "EACCES"),
    (Errno::NODEV, "ENODEV"),
    (Errno::INVAL, "EINVAL"),
    (Errno::PIPE, "EPIPE"),
    (Errno::NONET, "ENONET"),
    (Errno::PROTO, "EPROTO"),
    (Errno::MSGSIZE, "EMSGSIZE"),
    (Errno::NOPROTOOPT, "ENOPROTOOPT"),
    (Errno::OPNOTSUPP, "EOPNOTSUPP"),
    (Errno::AFNOSUPPORT, "EAFNOSUPPORT"),
    (Errno::ADDRINUSE, "EADDRINUSE"),
    (Errno::ADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (Errno::NETDOWN, "ENETDOWN"),
    (Errno::NETUNREACH, "ENETUNREACH"),
    (Errno::CONNABORTED, "ECONNABORTED"),
    (Errno::CONNRESET, "ECONNRESET"),
    (Errno::NOBUFS, "ENOBUFS"),
    (Errno::NOTCONN, "ENOTCONN"),
    (Errno::TIMEDOUT, "ETIMEDOUT"),
    (Errno::CONNREFUSED, "ECONNREFUSED"),
    (Errno::HOSTDOWN, "EHOSTDOWN"),
    (Errno::HOSTUNREACH, "EHOSTUNREACH"),
    (Errno::CANCELED, "ECANCELED"),
    (Errno::KEYREJECTED, "EKEYREJECTED"),
];

/// The name of an error number: `ECONNREFUSED`, or `ERRNO_<number>` for one that connections do not meet.
pub(super) fn name(number: u32) -> String {
    NAMES
        .iter()
        .find(|(known, _)| is(*known, number))
        .map_or_else(|| format!("ERRNO_{number}"), |(_, name)| (*name).to_owned())
}

/// Whether this is the number of that error.
pub(super) fn is(error: Errno, number: u32) -> bool {
    error.raw_os_error().unsigned_abs() == number
}
