//! The programs that are written for the cases. Each is a file of its own, and is compiled where its language wants it.

use std::{fs, path::Path, process::Command};

use anyhow::Result;

use super::room::FOLDER;
use crate::child;

/// One source file.
#[derive(Clone, Copy)]
pub(super) struct Program {
    /// The name of its file.
    pub(super) name: &'static str,
    text: &'static str,
}

/// Declares programs by the names of their files.
macro_rules! programs {
    ($($name:ident = $file:literal,)*) => {
        $(pub(super) const $name: Program =
            Program { name: $file, text: include_str!(concat!("programs/", $file)) };)*
    };
}

programs! {
    AGENT_C = "agent.c",
    AGENTS_JS = "agents.js",
    APACHE_HUNG_CONF = "apache-hung.conf",
    APACHE_MODULES_CONF = "apache-modules.conf",
    APACHE_PREFORK_CONF = "apache-prefork.conf",
    BOARD_RB = "board.rb",
    CALLERS_PY = "callers.py",
    CAREFUL_POOL_PY = "careful-pool.py",
    CHECKER_PY = "checker.py",
    CLOSER_PY = "closer.py",
    CONSUMERS_PY = "consumers.py",
    FEEDS_JAVA = "Feeds.java",
    FEEDS_PY = "feeds.py",
    FLEET_PY = "fleet.py",
    FPM_CONF = "fpm.conf",
    GATE_JAVA = "Gate.java",
    GATEWAY_PHP = "gateway.php",
    HAPROXY_CLOSE_CFG = "haproxy-close.cfg",
    HAPROXY_HUNG_CFG = "haproxy-hung.cfg",
    HAPROXY_POLLS_CFG = "haproxy-polls.cfg",
    HAPROXY_RELOAD_CFG = "haproxy-reload.cfg",
    HAPROXY_REUSE_CFG = "haproxy-reuse.cfg",
    HEADQUARTERS_PY = "headquarters.py",
    HEALTHY_JS = "healthy.js",
    HUNG_GO = "hung.go",
    HUNG_JS = "hung.js",
    HUNG_PY = "hung.py",
    JOB_PL = "job.pl",
    JOBS_SH = "jobs.sh",
    LIGHTTPD_HUNG_CONF = "lighttpd-hung.conf",
    LISTENERS_PY = "listeners.py",
    LOGGER_PL = "logger.pl",
    MAILBOX_ERL = "mailbox.erl",
    MYSQL_POOL_PY = "mysql-pool.py",
    NGINX_CHAIN_CONF = "nginx-chain.conf",
    NGINX_FPM_SHOP_CONF = "nginx-fpm-shop.conf",
    NGINX_FPM_WEB_CONF = "nginx-fpm-web.conf",
    NGINX_HTTP_CONF = "nginx-http.conf",
    NGINX_HUNG_CONF = "nginx-hung.conf",
    NGINX_KEEPALIVE_CONF = "nginx-keepalive.conf",
    NGINX_PATIENT_CONF = "nginx-patient.conf",
    NGINX_SITE_CONF = "nginx-site.conf",
    NGINX_TLS_CONF = "nginx-tls.conf",
    PAGE_PHP = "page.php",
    PGBOUNCER_SHORT_INI = "pgbouncer-short.ini",
    PGBOUNCER_INI = "pgbouncer.ini",
    POOL_C = "pool.c",
    POOL_GO = "pool.go",
    POOL_JAVA = "Pool.java",
    POOL_JS = "pool.js",
    POOL_PY = "pool.py",
    POSTERS_PY = "posters.py",
    POSTGRES_POOL_PY = "postgres-pool.py",
    PUSH_JS = "push.js",
    QUOTES_RU = "quotes.ru",
    RATES_GO = "rates.go",
    RELAY_RU = "relay.ru",
    RELOAD_SH = "reload.sh",
    REPORT_PL = "report.pl",
    SHOP_JAVA = "Shop.java",
    SILENT_PY = "silent.py",
    SITE_HTML = "site.html",
    SLOW_PAGE_PY = "slow-page.py",
    STACK_APACHE_CONF = "stack-apache.conf",
    STACK_HAPROXY_CFG = "stack-haproxy.cfg",
    STACK_NGINX_CONF = "stack-nginx.conf",
    STACK_STUNNEL_CONF = "stack-stunnel.conf",
    STORE_PY = "store.py",
    STUNNEL_CONF = "stunnel.conf",
    SUBSCRIBERS_PY = "subscribers.py",
    TICKETS_GO = "tickets.go",
    TICKETS_PY = "tickets.py",
    TLS_PY = "tls.py",
    UNICORN_CONF_RB = "unicorn.conf.rb",
    VARNISH_VCL = "varnish.vcl",
    VISITORS_PY = "visitors.py",
    WAKEUPS_C = "wakeups.c",
    WAKEUPS_PY = "wakeups.py",
    WARM_POOL_GO = "warm-pool.go",
    WORKERS_PY = "workers.py",
}

impl Program {
    /// Puts it into the scratch folder, compiled if need be. Returns the words that run it inside the room.
    ///
    /// # Errors
    /// When a compiler refuses it.
    pub(super) fn install(self, scratch: &Path, cache: &Path) -> Result<String> {
        let (stem, kind) = self.name.rsplit_once('.').unwrap_or((self.name, ""));
        fs::write(scratch.join(self.name), self.text)?;
        let file = format!("{FOLDER}/{}", self.name);
        let binary = format!("{FOLDER}/{stem}");
        let (compiler, words) = match kind {
            "py" => (None, format!("/usr/bin/python3 {file}")),
            "js" => (None, format!("node {file}")),
            "rb" => (None, format!("ruby {file}")),
            "pl" => (None, format!("perl {file}")),
            "php" => (None, format!("php {file}")),
            "sh" => (None, format!("sh {file}")),
            "java" => (Some(vec!["javac", "-d", ".", self.name]), format!("java -cp {FOLDER} {stem}")),
            "erl" => (Some(vec!["erlc", self.name]), format!("erl -noshell -pa {FOLDER} -s {stem} main")),
            "conf" | "cfg" | "cnf" | "ini" | "vcl" | "ru" | "html" => (None, file),
            "go" => (Some(vec!["go", "build", "-o", stem, self.name]), binary),
            // Libraries come after the file that needs them.
            _ => (
                Some(vec!["cc", "-O1", "-D_GNU_SOURCE", "-pthread", "-o", stem, self.name, "-lcurl"]),
                binary,
            ),
        };
        if let Some(words) = compiler {
            let mut command = child::clean(Command::new(words[0]));
            command
                .args(&words[1..])
                .current_dir(scratch)
                .env("GOCACHE", cache.join("go"))
                .env("GO111MODULE", "off");
            child::run(&mut command, &format!("compiling {}", self.name))?;
        }
        Ok(words)
    }
}
