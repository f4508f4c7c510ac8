//! What an interpreter runs: `python3` says little about a program, `server.py` says which one it is. Only that one
//! argument of a command line is kept, since others may hold secrets.

use std::path::Path;

/// Interpreters, by the beginning of the name of their file, with the options that take the next argument with them.
const INTERPRETERS: [(&str, &[&str]); 15] = [
    ("python", &["-W", "-X", "--check-hash-based-pycs"]),
    ("pypy", &["-W", "-X"]),
    ("perl", &["-I"]),
    ("ruby", &["-I", "-r", "-C", "-E"]),
    ("nodejs", NODE),
    ("node", NODE),
    ("php", &["-c", "-d", "-z"]),
    ("luajit", &["-l"]),
    ("lua", &["-l"]),
    ("java", &["-cp", "-classpath", "--class-path", "-p", "--module-path", "--add-modules", "-agentlib"]),
    ("Rscript", &[]),
    ("bash", &["-O", "-o"]),
    ("dash", &["-o"]),
    ("sh", &["-o"]),
    ("zsh", &["-o"]),
];
const NODE: &[&str] = &["-r", "--require", "--import", "--loader", "-C"];
/// Options after which comes code, not a file.
const CODE: [&str; 6] = ["-c", "-e", "-E", "-r", "--eval", "-p"];
/// Options after which comes what is run: a module, a jar or a file.
const NAMED: [&str; 4] = ["-m", "-jar", "--module", "-f"];
/// Longer names are no names.
const MAX: usize = 256;

/// What the process with this program and this `/proc/PID/cmdline` runs, if the program is an interpreter.
#[must_use]
pub fn of(exe: &str, cmdline: &[u8]) -> Option<String> {
    let file = Path::new(exe).file_name()?.to_str()?;
    let (name, taking) = INTERPRETERS.iter().find(|(name, _)| is_called(file, name))?;
    let mut arguments = cmdline.split(|byte| *byte == 0).skip(1).map(String::from_utf8_lossy);
    while let Some(argument) = arguments.next() {
        let named = NAMED.contains(&argument.as_ref()) && !(is_shell(name) || *name == "perl");
        if named {
            return kept(&arguments.next()?);
        }
        if taking.contains(&argument.as_ref()) {
            arguments.next()?;
        } else if CODE.contains(&argument.as_ref()) {
            return None;
        } else if !argument.starts_with('-') {
            return kept(&argument);
        }
    }
    None
}

/// `python3.11` is called `python`, `php-fpm8.2` is not called `php`.
fn is_called(file: &str, name: &str) -> bool {
    let version = file.strip_prefix(name);
    version.is_some_and(|version| version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn is_shell(name: &str) -> bool {
    name.ends_with("sh")
}

fn kept(name: &str) -> Option<String> {
    (!name.is_empty() && name.len() <= MAX).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::of;

    #[track_caller]
    fn assert_runs(exe: &str, arguments: &str, expected: Option<&str>) {
        let cmdline = arguments.replace(' ', "\0") + "\0";
        assert_eq!(of(exe, cmdline.as_bytes()).as_deref(), expected, "{exe}: {arguments}");
    }

    #[test]
    fn script_is_the_first_argument_that_is_no_option() {
        assert_runs("/usr/bin/python3.11", "python3 -u /srv/app/server.py 8000", Some("/srv/app/server.py"));
        assert_runs("/usr/bin/python3", "python3 -X dev app.py", Some("app.py"));
        assert_runs("/usr/bin/python3", "python3 -m http.server 8000", Some("http.server"));
        assert_runs("/usr/bin/node", "node --max-old-space-size=64 index.js", Some("index.js"));
        assert_runs(
            "/usr/lib/jvm/17/bin/java",
            "java -Xmx1g -cp a.jar:b.jar com.example.Main x",
            Some("com.example.Main"),
        );
        assert_runs("/usr/bin/java", "java -jar /opt/app.jar --port 1", Some("/opt/app.jar"));
        assert_runs("/usr/bin/perl", "perl worker.pl 10.0.0.1", Some("worker.pl"));
        assert_runs("/usr/bin/php8.2", "php -d memory_limit=1 consumer.php", Some("consumer.php"));
        assert_runs("/usr/bin/bash", "/bin/bash -e /usr/bin/run.sh -m x", None);
        assert_runs("/usr/bin/dash", "sh /usr/bin/run.sh -m x", Some("/usr/bin/run.sh"));
    }

    #[test]
    fn code_on_the_command_line_is_not_kept() {
        assert_runs("/usr/bin/python3", "python3 -c import_secrets", None);
        assert_runs("/usr/bin/bash", "bash -c curl_secret", None);
        assert_runs("/usr/bin/node", "node -e secret", None);
        assert_runs("/usr/bin/perl", "perl -e secret", None);
        assert_runs("/usr/bin/php", "php -r secret", None);
        assert_runs("/usr/bin/ruby", "ruby -e secret", None);
    }

    #[test]
    fn other_programs_and_titles_run_nothing() {
        assert_runs("/usr/sbin/nginx", "nginx -c /etc/nginx.conf", None);
        assert_runs("/usr/sbin/php-fpm8.2", "php-fpm8.2 -F", None);
        // A title in place of a command line.
        assert_eq!(of("/usr/bin/ruby3.1", b"puma: cluster worker 0: 77 [app]\0\0\0"), None);
        assert_eq!(of("/usr/bin/python3", b""), None);
    }

    proptest! {
        #[test]
        fn no_command_line_is_a_panic(exe in "/[a-z/]{0,20}(python3|java|sh)", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Some(script) = of(&exe, &bytes) {
                prop_assert!(!script.is_empty() && script.len() <= super::MAX);
            }
        }
    }
}
