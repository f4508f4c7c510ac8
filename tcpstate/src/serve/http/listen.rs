//! Where the daemon listens: TCP addresses and Unix sockets.

use std::{
    fmt, io,
    net::SocketAddr,
    os::unix::fs::{FileTypeExt, MetadataExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use axum::serve::{self, ListenerExt};
use rustix::{fs::Mode, net::sockopt::set_socket_send_buffer_size, process::umask};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UnixListener};

use super::Hosts;

/// Connections that wait to be accepted, if the system allows as many.
const BACKLOG: u32 = 4096;
/// Bytes that the kernel keeps for a client that does not read; it counts them twice.
const SEND_BUFFER_BYTES: usize = 128 << 10;
/// What a Unix socket's address begins with.
pub const UNIX: &str = "unix:";
/// The owner and the group may connect.
const MODE: Mode = Mode::RUSR.union(Mode::WUSR).union(Mode::RGRP).union(Mode::WGRP);

/// Where to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Listen {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.strip_prefix(UNIX) {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("the path behind `unix:` must begin with `/`".to_owned()),
            None => text.parse().map(Self::Tcp).map_err(|_| {
                "not an address; give one such as 127.0.0.1:19293, [::1]:19293 or unix:/run/tcpstate/http.sock"
                    .to_owned()
            }),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(formatter, "{address}"),
            Self::Unix(path) => write!(formatter, "{UNIX}{}", path.display()),
        }
    }
}

/// Takes connections.
pub enum Listener {
    Tcp { listener: TcpListener, hosts: Arc<Hosts> },
    Unix { listener: UnixListener, file: SocketFile },
}

impl Listener {
    /// Listens there. Where only this host reaches it, `hosts` say by which names it may be called.
    ///
    /// # Errors
    /// Those of the system; `AddrInUse` where something listens there already.
    pub fn bind(listen: &Listen, hosts: Arc<Hosts>) -> io::Result<Self> {
        match listen {
            Listen::Tcp(address) => {
                let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                socket.set_reuseaddr(true)?;
                set_socket_send_buffer_size(&socket, SEND_BUFFER_BYTES)?;
                socket.bind(*address)?;
                Ok(Self::Tcp { listener: socket.listen(BACKLOG)?, hosts })
            }
            Listen::Unix(path) => {
                remove_abandoned(path)?;
                // Nobody may connect before the mode is right.
                let before = umask(!MODE & Mode::from_raw_mode(0o777));
                let listener = UnixListener::bind(path);
                umask(before);
                Ok(Self::Unix { listener: listener?, file: SocketFile::of(path)? })
            }
        }
    }

    /// Where it listens, as clients write it.
    #[must_use]
    pub fn url(&self) -> String {
        match self {
            Self::Tcp { listener, .. } => listener
                .local_addr()
                .map_or_else(|error| error.to_string(), |address| format!("http://{address}")),
            Self::Unix { file, .. } => format!("{UNIX}{}", file.path.display()),
        }
    }

    /// The names by which it may be called, if not any.
    pub(super) fn hosts(&self) -> Option<Arc<Hosts>> {
        match self {
            Self::Tcp { listener, hosts } => {
                let is_local =
                    listener.local_addr().is_ok_and(|address| address.ip().to_canonical().is_loopback());
                is_local.then(|| Arc::clone(hosts))
            }
            Self::Unix { .. } => None,
        }
    }
}

/// Events are small and must not wait for each other.
pub(super) fn prompt(listener: TcpListener) -> impl serve::Listener<Io = TcpStream> {
    listener.tap_io(|connection| {
        if let Err(error) = connection.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps Nagle's algorithm");
        }
    })
}

/// Removes a socket's file that a daemon left behind.
fn remove_abandoned(path: &Path) -> io::Result<()> {
    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    let refuses = || {
        std::os::unix::net::UnixStream::connect(path)
            .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    };
    if is_socket && refuses() { std::fs::remove_file(path) } else { Ok(()) }
}

/// The file of a Unix socket, which goes with it.
pub struct SocketFile {
    path: PathBuf,
    /// Device and inode: by the end another file may stand there.
    identity: (u64, u64),
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(Self { identity: identity(path)?, path: path.to_owned() })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|identity| identity == self.identity)
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::warn!("{} cannot be removed: {error}", self.path.display());
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    std::fs::symlink_metadata(path).map(|file| (file.dev(), file.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_is_read_as_it_is_written() {
        for address in ["127.0.0.1:19293", "[::1]:80", "unix:/run/tcpstate/http.sock"] {
            assert_eq!(address.parse::<Listen>().expect(address).to_string(), address);
        }
        for address in ["", "localhost:80", "127.0.0.1", "unix:", "unix:run/x"] {
            assert!(address.parse::<Listen>().is_err(), "{address}");
        }
    }
}
