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
    HUNG_PY = "hung.py",
    HUNG_JS = "hung.js",
    HUNG_GO = "hung.go",
    HEALTHY_JS = "healthy.js",
    VISITORS_PY = "visitors.py",
    TLS_PY = "tls.py",
    WAKEUPS_C = "wakeups.c",
    WAKEUPS_PY = "wakeups.py",
    AGENT_C = "agent.c",
    GATEWAY_PHP = "gateway.php",
    STORE_PY = "store.py",
    CALLERS_PY = "callers.py",
    NGINX_HTTP_CONF = "nginx-http.conf",
    NGINX_HUNG_CONF = "nginx-hung.conf",
    NGINX_FPM_WEB_CONF = "nginx-fpm-web.conf",
    NGINX_FPM_SHOP_CONF = "nginx-fpm-shop.conf",
    NGINX_TLS_CONF = "nginx-tls.conf",
    HAPROXY_HUNG_CFG = "haproxy-hung.cfg",
    HAPROXY_REUSE_CFG = "haproxy-reuse.cfg",
    HAPROXY_CLOSE_CFG = "haproxy-close.cfg",
    APACHE_MODULES_CONF = "apache-modules.conf",
    APACHE_HUNG_CONF = "apache-hung.conf",
    APACHE_PREFORK_CONF = "apache-prefork.conf",
    FPM_CONF = "fpm.conf",
    PAGE_PHP = "page.php",
    STUNNEL_CONF = "stunnel.conf",
    SITE_HTML = "site.html",
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
