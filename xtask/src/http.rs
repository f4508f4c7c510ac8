//! The daemon's HTTP API as a client sees it: one connection that stays open, and GET.
//!
//! Small on purpose: it knows bodies with a length, which all answers of the daemon have but the stream of events.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    net::{Shutdown, TcpStream},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// How long the daemon may take for an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// A connection to the daemon.
pub(crate) struct Connection {
    address: String,
    stream: BufReader<TcpStream>,
}

impl Connection {
    /// # Errors
    /// When nobody answers at that address.
    pub(crate) fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).context("the daemon does not answer")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { address: address.to_owned(), stream: BufReader::new(stream) })
    }

    /// The body of the answer.
    ///
    /// # Errors
    /// When there is none, or the daemon refuses.
    pub(crate) fn get(&mut self, path: &str) -> Result<String> {
        self.ask(path)?;
        let (status, length) = head(&mut self.stream).context("the daemon's answer cannot be read")?;
        let mut body = vec![0; length.context("the daemon's answer has no length")?];
        self.stream.read_exact(&mut body).context("the daemon's answer ends early")?;
        let body = String::from_utf8(body).context("the daemon's answer is not text")?;
        ensure!(status.contains(" 200 "), "the daemon says {body}");
        Ok(body)
    }

    /// # Errors
    /// As of [`Self::get`]; or what comes is not JSON.
    pub(crate) fn json(&mut self, path: &str) -> Result<Value> {
        serde_json::from_str(&self.get(path)?).context("the daemon's answer is not JSON")
    }

    /// Asks for something that does not end, of a media type, and throws away what comes.
    ///
    /// # Errors
    /// When the daemon refuses.
    pub(crate) fn stream_away(mut self, path: &str, kind: &str) -> Result<Stream> {
        self.ask_for(path, kind)?;
        let (status, _) = head(&mut self.stream).context("the daemon's answer cannot be read")?;
        ensure!(status.contains(" 200 "), "the daemon says {status}");
        let handle = self.stream.get_ref().try_clone()?;
        handle.set_read_timeout(None)?;
        let reader = thread::spawn(move || {
            let mut room = vec![0; 1 << 18];
            while self.stream.read(&mut room).is_ok_and(|length| length > 0) {}
        });
        Ok(Stream { handle, reader: Some(reader) })
    }

    fn ask(&mut self, path: &str) -> Result<()> {
        self.ask_for(path, "*/*")
    }

    fn ask_for(&mut self, path: &str, kind: &str) -> Result<()> {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {}\r\nAccept: {kind}\r\n\r\n", self.address);
        self.stream.get_mut().write_all(request.as_bytes()).context("the daemon does not listen any more")
    }
}

/// A reader that ends when this does.
pub(crate) struct Stream {
    handle: TcpStream,
    reader: Option<JoinHandle<()>>,
}

impl Drop for Stream {
    fn drop(&mut self) {
        // Where the daemon has gone already, the reader has ended too.
        let _ = self.handle.shutdown(Shutdown::Both);
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

/// The status line, and the body's length if the answer says it.
fn head(stream: &mut impl BufRead) -> io::Result<(String, Option<usize>)> {
    let mut status = String::new();
    stream.read_line(&mut status)?;
    let mut length = None;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok();
        }
    }
    Ok((status.trim_end().to_owned(), length))
}

#[cfg(test)]
mod tests {
    use std::{
        io::{BufRead, BufReader, Write},
        net::TcpListener,
        thread,
    };

    use super::{Connection, head};

    #[test]
    fn the_length_is_found_whatever_the_case_of_its_name() {
        let mut answer =
            "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\nContent-LENGTH: 12\r\n\r\nbody".as_bytes();
        assert_eq!(head(&mut answer).unwrap(), ("HTTP/1.1 200 OK".to_owned(), Some(12)));
        assert_eq!(answer, b"body", "the body is left");
    }

    #[test]
    fn an_answer_without_an_end_is_an_error() {
        assert!(head(&mut "HTTP/1.1 200 OK\r\nserver: x\r\n".as_bytes()).is_err());
    }

    #[test]
    fn several_answers_come_over_one_connection() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = BufReader::new(stream.try_clone().unwrap()).lines();
            for answer in ["200 OK\r\ncontent-length: 2\r\n\r\n{}", "404 No\r\ncontent-length: 4\r\n\r\nnone"]
            {
                while asked.next().unwrap().unwrap() != "" {}
                write!(stream, "HTTP/1.1 {answer}").unwrap();
            }
        });
        let mut connection = Connection::open(&address).unwrap();
        assert!(connection.json("/one").unwrap().is_object());
        assert_eq!(connection.get("/two").unwrap_err().to_string(), "the daemon says none");
        server.join().unwrap();
    }
}
