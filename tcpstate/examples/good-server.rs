//! A server that does everything right: it reads to the end, answers, and closes.

use std::{
    io::{self, Write},
    net::TcpListener,
};

fn main() -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;
    for stream in listener.incoming() {
        let mut stream = stream?;
        let _ = io::copy(&mut stream, &mut io::sink());
        let _ = stream.write_all(b"done\n");
    }
    Ok(())
}
