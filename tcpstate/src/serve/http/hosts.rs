//! By which names the daemon may be called. A page of any website may have the browser of a user of this host ask
//! `http://evil.example:19293`, with that name pointing at 127.0.0.1, and read the answer: the browser takes it for the
//! website's own (DNS rebinding). What gives that away is the name in `Host`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, Uri, Version, header, uri::Authority};

use crate::serve::problem::Problem;

/// The names in `Host` that are answered on a listener that only this host reaches.
#[derive(Clone, Debug, Default)]
pub struct Hosts {
    /// Names beside `localhost` and the loopback addresses.
    pub allowed: Vec<String>,
}

impl Hosts {
    fn allows(&self, host: &str) -> bool {
        let is_allowed = |name: &String| name.eq_ignore_ascii_case(host);
        host.eq_ignore_ascii_case("localhost") || is_loopback(host) || self.allowed.iter().any(is_allowed)
    }
}

fn is_loopback(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(ip) => ip.parse().is_ok_and(|ip: Ipv6Addr| IpAddr::from(ip).to_canonical().is_loopback()),
        None => host.parse().is_ok_and(|ip: Ipv4Addr| ip.is_loopback()),
    }
}

/// Checks that a request names its host as HTTP requires, and as `hosts`, if there are any, allow.
///
/// # Errors
/// 400 or 421.
pub(in crate::serve) fn check(
    version: Version,
    uri: &Uri,
    headers: &HeaderMap,
    hosts: Option<&Hosts>,
) -> Result<(), Problem> {
    let mut given = headers.get_all(header::HOST).iter();
    let (host, another) = (given.next(), given.next());
    if another.is_some() {
        return Err(Problem::host("a request has one `Host` header, and this one has several"));
    }
    let Some(host) = host else {
        return if version < Version::HTTP_11 {
            Ok(())
        } else {
            Err(Problem::host("an HTTP/1.1 request has a `Host` header, and this one has none"))
        };
    };
    let host: Authority = host
        .to_str()
        .ok()
        .and_then(|host| host.parse().ok())
        .filter(|host: &Authority| !host.as_str().contains('@'))
        .ok_or_else(|| Problem::host("`Host` must be a name or an address, with or without a port"))?;
    let Some(hosts) = hosts else { return Ok(()) };
    let named = [Some(host.host()), uri.host()];
    match named.into_iter().flatten().find(|name| !hosts.allows(name)) {
        Some(name) => Err(Problem::misdirected(name)),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    /// The status with which a request is refused; 200 where it is not.
    fn status(version: Version, uri: &str, given: &[&str], hosts: Option<&Hosts>) -> u16 {
        let mut headers = HeaderMap::new();
        for host in given {
            headers.append(header::HOST, HeaderValue::from_str(host).unwrap());
        }
        check(version, &uri.parse().unwrap(), &headers, hosts).map_or_else(|problem| problem.status, |()| 200)
    }

    #[test]
    fn loopback_names_and_allowed_names_are_answered_and_no_others() {
        let hosts = Hosts { allowed: vec!["metrics.example".to_owned()] };
        for (host, expected) in [
            ("localhost", 200),
            ("LOCALHOST:1", 200),
            ("127.0.0.1:19293", 200),
            ("127.9.9.9", 200),
            ("[::1]", 200),
            ("[::1]:80", 200),
            ("[::ffff:127.0.0.1]", 200),
            ("Metrics.Example:443", 200),
            ("evil.example", 421),
            ("127.0.0.1.evil.example", 421),
            ("localhost.evil.example:19293", 421),
            ("10.0.0.1", 421),
            ("[2001:db8::1]", 421),
            ("0.0.0.0", 421),
            ("localhost@evil.example", 400),
            ("evil.example@localhost", 400),
            ("", 400),
            ("a b", 400),
        ] {
            assert_eq!(status(Version::HTTP_11, "/", &[host], Some(&hosts)), expected, "{host}");
        }
    }

    #[test]
    fn name_in_the_request_line_counts_too() {
        let hosts = Hosts::default();
        assert_eq!(status(Version::HTTP_11, "http://evil.example/", &["localhost"], Some(&hosts)), 421);
        assert_eq!(status(Version::HTTP_11, "http://localhost/", &["localhost"], Some(&hosts)), 200);
    }

    #[test]
    fn host_is_given_once_on_every_listener() {
        assert_eq!(status(Version::HTTP_11, "/", &["evil.example"], None), 200);
        assert_eq!(status(Version::HTTP_11, "/", &[], None), 400);
        assert_eq!(status(Version::HTTP_10, "/", &[], None), 200);
        assert_eq!(status(Version::HTTP_11, "/", &["localhost", "localhost"], None), 400);
        assert_eq!(status(Version::HTTP_10, "/", &["evil.example"], Some(&Hosts::default())), 421);
    }
}
