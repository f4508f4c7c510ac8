//! A server with the classic leak: it reads the end of each connection and never closes its own end.

use std::{
    io::{self, Write},
    net::TcpListener,
};

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    let mut forgotten = Vec::new();
    for stream in listener.incoming() {
        let mut stream = stream?;
        io::copy(&mut stream, &mut io::sink())?;
        forgotten.push(stream);
    }
    Ok(())
}
