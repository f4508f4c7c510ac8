//! Well-known programs and the names of their settings: data, so that a remedy can name what is to be changed. A program
//! is known by the name of its executable; nothing is judged by this table.

use super::finding::Subject;

/// The settings of a program that a remedy may name. `None`: it has none, or it is the application's own.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Settings {
    /// The beginning of the executable's file name.
    name: &'static str,
    /// After which it closes idle connections of clients.
    pub(super) idle_timeout: Option<&'static str>,
    /// How many workers accept or serve connections.
    pub(super) workers: Option<&'static str>,
    /// For how long it waits for an upstream, or a handler may take.
    pub(super) upstream_timeout: Option<&'static str>,
}

const fn known(
    name: &'static str,
    idle_timeout: Option<&'static str>,
    workers: Option<&'static str>,
    upstream_timeout: Option<&'static str>,
) -> Settings {
    Settings { name, idle_timeout, workers, upstream_timeout }
}

const TABLE: &[Settings] = &[
    known("apache2", Some("KeepAliveTimeout"), Some("MaxRequestWorkers"), Some("ProxyTimeout")),
    known("httpd", Some("KeepAliveTimeout"), Some("MaxRequestWorkers"), Some("ProxyTimeout")),
    known("nginx", Some("keepalive_timeout"), Some("worker_connections"), Some("proxy_read_timeout")),
    known("haproxy", Some("timeout http-keep-alive"), Some("maxconn"), Some("timeout server")),
    known(
        "lighttpd",
        Some("server.max-keep-alive-idle"),
        Some("server.max-connections"),
        Some("read-timeout of proxy.server"),
    ),
    known("varnishd", Some("timeout_idle"), Some("thread_pool_max"), Some("first_byte_timeout")),
    known("envoy", Some("idle_timeout"), None, Some("route timeout")),
    known(
        "traefik",
        Some("respondingTimeouts.idleTimeout"),
        None,
        Some("forwardingTimeouts.responseHeaderTimeout"),
    ),
    known("caddy", Some("idle_timeout"), None, Some("response_header_timeout")),
    known("php-fpm", None, Some("pm.max_children"), Some("request_terminate_timeout")),
    known("uwsgi", Some("http-keepalive"), Some("processes"), Some("harakiri")),
    known("gunicorn", Some("--keep-alive"), Some("--workers"), Some("--timeout")),
    known("puma", Some("persistent_timeout"), Some("threads"), None),
    known("node", Some("server.keepAliveTimeout"), None, Some("server.requestTimeout")),
    known("mariadbd", Some("wait_timeout"), Some("max_connections"), None),
    known("mysqld", Some("wait_timeout"), Some("max_connections"), None),
    known("postgres", Some("idle_session_timeout"), Some("max_connections"), Some("statement_timeout")),
    known("pgbouncer", Some("client_idle_timeout"), Some("default_pool_size"), Some("query_timeout")),
    known("redis-server", Some("timeout"), Some("maxclients"), None),
    known("valkey-server", Some("timeout"), Some("maxclients"), None),
    known("memcached", Some("idle_timeout"), Some("-t"), None),
    known("stunnel", Some("TIMEOUTidle"), None, Some("TIMEOUTbusy")),
];

/// The settings of a finding's program, if it is known: by its executable, else by what that runs, else by its name.
pub(super) fn of(subject: &Subject) -> Option<&'static Settings> {
    let names = [&subject.exe, &subject.script, &subject.comm];
    let mut files = names.into_iter().flatten().filter_map(|path| path.rsplit('/').next());
    files.find_map(|file| TABLE.iter().find(|settings| is_of(file, settings.name)))
}

/// `php-fpm8.2` is `php-fpm`; `nodejs-exporter` is not `node`.
fn is_of(file: &str, name: &str) -> bool {
    let version = file.strip_prefix(name);
    version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn program_is_known_by_its_executable_whatever_its_version() {
        let of_exe = |exe: &str| of(&Subject { exe: Some(exe.to_owned()), ..Subject::default() });
        assert_eq!(of_exe("/usr/sbin/php-fpm8.2").and_then(|known| known.workers), Some("pm.max_children"));
        assert_eq!(of_exe("/usr/sbin/mariadbd").and_then(|known| known.idle_timeout), Some("wait_timeout"));
        assert!(of_exe("/usr/bin/nodejs-exporter").is_none() && of_exe("/usr/bin/cat").is_none());
        let renamed = Subject {
            exe: Some("/usr/sbin/mariadbd".into()),
            comm: Some("nginx".into()),
            ..Subject::default()
        };
        assert_eq!(of(&renamed).and_then(|known| known.idle_timeout), Some("wait_timeout"));
        let script = Subject {
            exe: Some("/usr/bin/python3".into()),
            script: Some("/usr/bin/gunicorn".into()),
            ..Subject::default()
        };
        assert_eq!(of(&script).and_then(|known| known.workers), Some("--workers"));
    }

    #[test]
    fn table_names_each_program_once() {
        let mut names: Vec<_> = TABLE.iter().map(|known| known.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), TABLE.len());
    }
}
