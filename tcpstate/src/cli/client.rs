//! Asks a running daemon over its HTTP API.

mod unix;

use std::{
    env,
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use serde::de::DeserializeOwned;
use tcpstate_common::{
    Addresses6, Brief,
    wire::brief::{IPV6, LOST},
};
use ureq::{Agent, Body, BodyReader, http::Response, unversioned::resolver::DefaultResolver};

use self::unix::UnixConnector;
use crate::{
    printable::printable,
    serve::{
        api::records::{self, Head},
        http::UNIX,
        problem::{self, Problem},
    },
};

/// Where a daemon answers if nobody says otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:19293";
/// The environment variable that says otherwise.
const URL_VARIABLE: &str = "TCPSTATE_URL";
/// The largest answer that is read: far more than a full page of sockets with many holders.
const MAX_ANSWER_BYTES: u64 = 256 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);

/// The exit code when there is no daemon, or it refuses the question.
const EXIT_NO_ANSWER: u8 = 2;

/// Which daemon is asked.
#[derive(Clone, Debug, clap::Args)]
pub struct Target {
    /// Its address, if it is given.
    #[arg(
        long,
        value_name = "URL",
        help = "Where the daemon answers: http://ADDRESS:PORT or unix:PATH [env: TCPSTATE_URL=] [default: http://127.0.0.1:19293]"
    )]
    pub url: Option<String>,
}

impl Target {
    /// The address that somebody gave, on the command line or in the environment.
    fn given(&self) -> Option<String> {
        let from_environment = || env::var(URL_VARIABLE).ok().filter(|url| !url.is_empty());
        self.url.clone().or_else(from_environment)
    }

    /// Whether somebody says which daemon is meant.
    #[must_use]
    pub fn is_given(&self) -> bool {
        self.given().is_some()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nothing listens there.
    #[error(
        "no daemon answers at {0}: start one with \"systemctl start tcpstate\" or \"tcpstate daemon\", or give \
         --url"
    )]
    Unreachable(String),
    /// Somebody listens, but not to this user.
    #[error("{0} may not be connected to: run this as a user of the socket's group, or as root")]
    Denied(String),
    /// The address cannot be one of a daemon.
    #[error(
        "{0:?} is not the address of a daemon; give one such as {DEFAULT_URL} or unix:/run/tcpstate/http.sock"
    )]
    Url(String),
    /// The daemon refuses: the detail of its problem document.
    #[error("{0}")]
    Refused(String),
    /// Something answers that is not a daemon, or one that this program does not understand.
    #[error("what answers at {url} is not a tcpstate daemon of this version: {reason}")]
    Foreign { url: String, reason: String },
    /// The connection broke.
    #[error("the connection to {url} broke: {reason}")]
    Broken { url: String, reason: String },
}

/// A way to one daemon.
#[derive(Clone, Debug)]
pub struct Client {
    agent: Agent,
    url: String,
    /// What the URL of each request begins with.
    base: String,
}

impl Client {
    /// A way to the daemon that is meant: the one of `--url`, or of the environment, or the one on this
    /// host. Proxies in the environment are not for it.
    ///
    /// # Errors
    /// [`Error::Url`].
    pub fn new(target: &Target) -> Result<Self, Error> {
        let url = target.given().unwrap_or_else(|| DEFAULT_URL.to_owned());
        let socket = url.strip_prefix(UNIX).map(PathBuf::from);
        let is_http =
            url.strip_prefix("http://").is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/'));
        let is_one = match &socket {
            Some(path) => path.is_absolute(),
            None => is_http && !url.contains(['?', '#', ' ']),
        };
        if !is_one {
            return Err(Error::Url(url));
        }
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .user_agent(concat!("tcpstate/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT))
            .timeout_recv_response(Some(ANSWER_TIMEOUT))
            .build();
        if let Some(path) = socket {
            // An address, for which no name is looked up; the connector goes elsewhere.
            let base = "http://127.0.0.1".to_owned();
            let agent = Agent::with_parts(config, UnixConnector(path), DefaultResolver::default());
            return Ok(Self { agent, url, base });
        }
        let url = url.trim_end_matches('/').to_owned();
        Ok(Self { agent: config.new_agent(), base: url.clone(), url })
    }

    /// The daemon's address.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Asks, and reads the whole answer.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::Url`].
    pub fn get<T: DeserializeOwned>(&self, path: &str, query: &[(&str, String)]) -> Result<T, Error> {
        let response = self.ask(path, query, "application/json")?;
        let text = self.read(response)?;
        serde_json::from_str(&text).map_err(|error| self.foreign(error.to_string()))
    }

    /// Asks for every event from now on, as the kernel side tells them.
    ///
    /// # Errors
    /// Any [`Error`] but [`Error::Url`].
    pub fn records(&self) -> Result<Records, Error> {
        let response = self.ask("/api/v1/events", &[], records::MEDIA_TYPE)?;
        let mut reader = BufReader::with_capacity(1 << 16, response.into_body().into_reader());
        let mut line = String::new();
        // Far longer than the names of all reasons.
        reader.by_ref().take(1 << 16).read_line(&mut line).map_err(|error| self.broken(&error.into()))?;
        let head: Head = serde_json::from_str(&line).map_err(|error| self.foreign(error.to_string()))?;
        head.check().map_err(|reason| self.foreign(reason))?;
        Ok(Records { head, reader, url: self.url.clone() })
    }

    fn ask(&self, path: &str, query: &[(&str, String)], accepted: &str) -> Result<Response<Body>, Error> {
        let mut request = self.agent.get(format!("{}{path}", self.base)).header("accept", accepted);
        for (name, value) in query {
            request = request.query(*name, value);
        }
        let response = request.call().map_err(|error| self.failed(error))?;
        let kind =
            response.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if response.status() == 200 && kind.starts_with(accepted) {
            return Ok(response);
        }
        let (status, is_problem) = (response.status(), kind.starts_with(problem::MEDIA_TYPE));
        let kind = kind.to_owned();
        let text = self.read(response)?;
        match serde_json::from_str::<Problem>(&text) {
            Ok(problem) if is_problem => Err(Error::Refused(problem.detail)),
            _ => Err(self.foreign(format!("it answered {status} with {kind:?}"))),
        }
    }

    fn read(&self, mut response: Response<Body>) -> Result<String, Error> {
        let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES);
        body.read_to_string().map_err(|error| self.broken(&error))
    }

    fn failed(&self, error: ureq::Error) -> Error {
        match error {
            ureq::Error::Io(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Error::Denied(self.url.clone())
            }
            ureq::Error::Io(error) if is_unreachable(&error) => Error::Unreachable(self.url.clone()),
            ureq::Error::HostNotFound
            | ureq::Error::ConnectionFailed
            | ureq::Error::Timeout(ureq::Timeout::Connect | ureq::Timeout::Resolve) => {
                Error::Unreachable(self.url.clone())
            }
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Error::Url(self.url.clone()),
            ureq::Error::Protocol(error) => self.foreign(error.to_string()),
            error => self.broken(&error),
        }
    }

    fn foreign(&self, reason: String) -> Error {
        Error::Foreign { url: self.url.clone(), reason }
    }

    fn broken(&self, error: &ureq::Error) -> Error {
        Error::Broken { url: self.url.clone(), reason: error.to_string() }
    }
}

/// Whether no connection came about at all; a failed look-up of the name has no kind of its own.
fn is_unreachable(error: &io::Error) -> bool {
    !matches!(
        error.kind(),
        io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::InvalidData
    )
}

/// Events one after the other, as the kernel side tells them.
pub struct Records {
    /// How they are to be understood.
    pub head: Head,
    reader: BufReader<BodyReader<'static>>,
    url: String,
}

impl Records {
    /// One record; `None` at the end.
    fn record(&mut self) -> Result<Option<Brief>, Error> {
        let mut bytes = [0; size_of::<Brief>()];
        let broken = |error: io::Error| Error::Broken { url: self.url.clone(), reason: error.to_string() };
        if self.reader.fill_buf().map_err(broken)?.is_empty() {
            return Ok(None);
        }
        self.reader.read_exact(&mut bytes).map_err(broken)?;
        Ok(Some(Brief::from_bytes(bytes)))
    }
}

impl Iterator for Records {
    type Item = Result<(Brief, Option<Addresses6>), Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let first = match self.record() {
            Ok(record) => record?,
            Err(error) => return Some(Err(error)),
        };
        if first.kind == LOST || first.flags & IPV6 == 0 {
            return Some(Ok((first, None)));
        }
        let second = self.record().map(|second| (first, second.map(Addresses6::from)));
        Some(second)
    }
}

/// Turns the end of a subcommand into its exit code. A reader that has gone (`| head`) is not an error.
///
/// # Errors
/// What is not about the daemon.
pub fn exit(result: anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let Err(error) = result else { return Ok(ExitCode::SUCCESS) };
    if error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) {
        return Ok(ExitCode::SUCCESS);
    }
    if error.is::<Error>() {
        // Nobody is left to tell if even this fails.
        let _ = writeln!(io::stderr(), "tcpstate: {}", printable(&error.to_string()));
        return Ok(ExitCode::from(EXIT_NO_ANSWER));
    }
    Err(error)
}

#[cfg(test)]
mod tests {
    use std::{net::TcpListener, thread};

    use serde_json::Value;

    use super::*;
    use crate::serve::tests::daemon::Daemon;

    fn client(url: &str) -> Result<Client, Error> {
        Client::new(&Target { url: Some(url.to_owned()) })
    }

    /// Something that is not a daemon and answers everything alike, once.
    fn stranger(answer: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            assert!(connection.read(&mut [0; 4096]).unwrap() > 0);
            connection.write_all(answer.as_bytes()).unwrap();
        });
        url
    }

    #[test]
    fn where_nobody_listens_the_error_says_how_to_start_a_daemon() {
        let unused = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let url = format!("http://{unused}");
        let error = client(&url).unwrap().get::<Value>("/api/v1/status", &[]).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "no daemon answers at {url}: start one with \"systemctl start tcpstate\" or \"tcpstate daemon\", \
                 or give --url"
            )
        );
        assert_eq!(
            format!("{:?}", exit(Err(error.into())).unwrap()),
            format!("{:?}", ExitCode::from(EXIT_NO_ANSWER))
        );
    }

    #[test]
    fn a_problem_document_is_shown_as_its_detail() {
        let daemon = Daemon::start();
        let query = [("limit", "0".to_owned())];
        let error = client(&daemon.url()).unwrap().get::<Value>("/api/v1/sockets", &query).unwrap_err();
        assert_eq!(error.to_string(), "`0` is not a limit; give a whole number from 1 to 1000");
    }

    #[test]
    fn a_unix_socket_is_asked_like_an_address() {
        let daemon = Daemon::on_unix_socket();
        let client = client(&daemon.url()).unwrap();
        assert!(daemon.url().starts_with("unix:/"));
        assert_eq!(client.get::<Value>("/api/v1/status", &[]).unwrap()["tier"], "events");
        assert!(client.records().is_ok());
    }

    #[test]
    fn an_address_with_a_slash_at_its_end_is_the_same_address() {
        let daemon = Daemon::start();
        let client = client(&format!("{}/", daemon.url())).unwrap();
        assert_eq!(client.get::<Value>("/api/v1/status", &[]).unwrap()["tier"], "events");
    }

    #[test]
    fn what_cannot_be_a_daemon_is_refused_before_asking() {
        for url in [
            "",
            "unix:",
            "unix:run/x",
            "127.0.0.1:19293",
            "https://127.0.0.1",
            "http://",
            "http:///x",
            "http://a b",
            "http://a/?x",
        ] {
            assert!(matches!(client(url), Err(Error::Url(_))), "{url}");
        }
        for url in ["http://[::1", "http://a:99999999"] {
            let error = client(url).unwrap().get::<Value>("/", &[]).unwrap_err();
            assert!(matches!(error, Error::Url(_) | Error::Unreachable(_)), "{url}: {error}");
        }
    }

    #[test]
    fn a_stranger_is_not_taken_for_a_daemon() {
        let strangers = [
            "SSH-2.0-OpenSSH_9.2\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\ncontent-length: 2\r\n\r\nhi",
            "HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}",
            "HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n[]",
        ];
        for answer in strangers {
            let url = stranger(answer);
            let error = client(&url).unwrap().get::<Problem>("/api/v1/status", &[]).unwrap_err();
            assert!(matches!(error, Error::Foreign { .. }), "{answer}: {error}");
        }
    }

    #[test]
    fn an_answer_that_ends_early_is_a_broken_connection() {
        let url =
            stranger("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 20\r\n\r\n{");
        let error = client(&url).unwrap().get::<Value>("/api/v1/status", &[]).unwrap_err();
        assert!(matches!(error, Error::Broken { .. }), "{error}");
    }

    #[test]
    fn records_of_another_version_are_not_guessed_at() {
        let head = |version: u32, bytes: usize| {
            format!(
                "{{\"version\":{version},\"record_bytes\":{bytes},\"byte_order\":\"{}\",\"monotonic_ns\":1,\"wall_ns\":2,\"reset_reasons\":{{}}}}\n",
                records::BYTE_ORDER
            )
        };
        for (head, understood) in [(head(1, 64), true), (head(2, 64), false), (head(1, 72), false)] {
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {}\r\nconnection: close\r\n\r\n{head}",
                records::MEDIA_TYPE
            );
            let url = stranger(answer.leak());
            let records = client(&url).unwrap().records();
            assert_eq!(records.is_ok(), understood, "{head}");
            assert_eq!(records.map_or(0, Iterator::count), 0);
        }
    }

    #[test]
    fn a_record_that_ends_early_is_a_broken_connection() {
        let url = stranger(
            format!(
                "HTTP/1.1 200 OK\r\ncontent-type: {}\r\nconnection: close\r\n\r\n{{\"version\":1,\"record_bytes\":64,\"byte_order\":\"{}\",\"monotonic_ns\":1,\"wall_ns\":2,\"reset_reasons\":{{}}}}\nabc",
                records::MEDIA_TYPE,
                records::BYTE_ORDER
            )
            .leak(),
        );
        let mut records = client(&url).unwrap().records().unwrap();
        assert!(matches!(records.next(), Some(Err(Error::Broken { .. }))));
    }

    #[test]
    fn a_reader_that_has_gone_is_not_an_error() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        assert_eq!(format!("{:?}", exit(Err(gone.into())).unwrap()), format!("{:?}", ExitCode::SUCCESS));
        let full = io::Error::from(io::ErrorKind::StorageFull);
        assert!(exit(Err(full.into())).is_err());
    }
}
