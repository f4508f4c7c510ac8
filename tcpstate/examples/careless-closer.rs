//! A server that answers before it has read the request, and closes: what it did not read becomes a RST.

use std::{
    io::{self, Read, Write},
    net::TcpListener,
};

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        stream.read_exact(&mut [0])?;
        // The client may have left by now; that is its right.
        let _ = stream.write_all(b"no\n");
    }
    Ok(())
}
