//! A client that makes a new connection for every request and closes it first:
//! `churning-client COUNT ADDRESS…` makes so many to each address, and then stays until its input ends.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpStream},
};

fn main() -> io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let count: u32 = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(1);
    for address in arguments {
        for _ in 0..count {
            let mut stream = TcpStream::connect(&address)?;
            // Whoever answers, answers now; a server that forgets the connection never does, and a careless
            // one resets it at any of these steps.
            stream.set_read_timeout(Some(std::time::Duration::from_millis(20)))?;
            let _ = stream.write_all(b"a request\n");
            let _ = stream.shutdown(Shutdown::Write);
            let _ = stream.read_to_end(&mut Vec::new());
        }
    }
    io::copy(&mut io::stdin(), &mut io::sink())?;
    Ok(())
}
