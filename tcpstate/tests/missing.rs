//! Each capability taken away, and each file of the kernel: what is lost is named by `tcpstate check`, in the status, in
//! the log, in a metric, and in what the findings say that they cannot see.
#![expect(
    clippy::expect_used,
    clippy::float_cmp,
    reason = "a failed expectation is a failed test, and flags are exact in f64"
)]

mod support;

use std::{
    collections::BTreeSet,
    process::{Command, Stdio},
};

use support::{Daemon, alone, eventually, skip};

/// Runs a command where the kernel's files are shown without some of them, in a mount namespace of its own: first an
/// empty directory, then what is taken away, separated by blanks, then the command. `/proc/NAME` is left out of what
/// looks like /proc; an empty file system is put over anything else. `hidepid` shows no process that may not be traced,
/// as that option of proc does.
const WITHOUT_FILES: &str = r#"
set -e
room=$1 taken=$2
shift 2
mount -t tmpfs tcpstate "$room"
mkdir -p "$room/real" "$room/proc/thread-self/net"
case $taken in hidepid) option=hidepid=invisible ;; *) option=hidepid=off ;; esac
mount -t proc -o "$option" tcpstate "$room/real"
for name in "$room"/real/*; do
    case ${name##*/} in
        thread-self) ;;
        *) ln -s "$name" "$room/proc/" ;;
    esac
done
for name in ns cgroup mountinfo; do ln -s "$room/real/thread-self/$name" "$room/proc/thread-self/"; done
for name in "$room"/real/thread-self/net/*; do ln -s "$name" "$room/proc/thread-self/net/"; done
for path in $taken; do
    case $path in
        hidepid) ;;
        /proc/sys/*) mount -t tmpfs tcpstate "$room/real${path#/proc}" ;;
        /proc/*) rm "$room$path" ;;
        *) if [ -d "$path" ]; then mount -t tmpfs tcpstate "$path"; fi ;;
    esac
done
mount --rbind "$room/proc" /proc
exec "$@"
"#;

/// What is lost.
enum Lost {
    /// The tier is the better one, and the same is missing as where nothing was taken away.
    Nothing,
    /// What has this name, of which these words are said in all places; the metric has the name as its label.
    This(&'static str, &'static str),
    /// eBPF, for want of this.
    Events(&'static str),
}

/// One line of the table.
struct Row {
    /// As setpriv has it: `-sys_admin`, several with commas.
    capabilities: &'static str,
    /// See [`WITHOUT_FILES`].
    files: &'static str,
    lost: &'static [Lost],
}

const fn without_capability(capabilities: &'static str, lost: &'static [Lost]) -> Row {
    Row { capabilities, files: "", lost }
}

const fn without_file(files: &'static str, lost: &'static [Lost]) -> Row {
    Row { capabilities: "", files, lost }
}

const TO_DUMP: Lost = Lost::This("CAP_SYS_ADMIN", "is missing: it is needed to dump the sockets of other");
const TO_LOOK: Lost = Lost::This("CAP_SYS_PTRACE", "is missing: it is needed to see other users' open files");
const TO_READ: Lost =
    Lost::This("CAP_DAC_READ_SEARCH", "is missing: it is needed to read other users' /proc/PID/fd");
const TO_LOAD: Lost = Lost::This("CAP_BPF", "is missing: it is needed to load eBPF programs");
const TO_ATTACH: Lost = Lost::This("CAP_PERFMON", "is missing: it is needed to attach eBPF programs");
const FROZEN: Lost = Lost::This("/sys/fs/cgroup", "cannot be read (");

const NO_PROCESSES: Lost = Lost::This("/proc/PID", "cannot be read (");
const NO_EVENTS: Lost = Lost::Events("CAP_BPF is missing");

const UNTOUCHED: Row = without_capability("", &[Lost::Nothing]);

const ROWS: &[Row] = &[
    // CAP_SYS_ADMIN includes these two, and CAP_DAC_OVERRIDE the third.
    without_capability("-bpf", &[Lost::Nothing]),
    without_capability("-perfmon", &[Lost::Nothing]),
    without_capability("-dac_read_search", &[Lost::Nothing]),
    without_capability("-net_admin", &[Lost::Nothing]),
    without_capability("-sys_admin", &[TO_DUMP]),
    without_capability("-sys_ptrace", &[TO_LOOK]),
    without_capability("-dac_read_search,-dac_override", &[TO_READ]),
    without_capability("-bpf,-sys_admin", &[TO_LOAD, TO_DUMP, NO_EVENTS]),
    without_capability("-perfmon,-sys_admin", &[TO_ATTACH, TO_DUMP, Lost::Events("CAP_PERFMON is missing")]),
    without_capability("-all", &[TO_LOAD, TO_ATTACH, TO_DUMP, TO_LOOK, TO_READ, NO_EVENTS]),
    without_file("", &[Lost::Nothing]),
    without_file(
        "/sys/kernel/btf",
        &[Lost::Events("/sys/kernel/btf/vmlinux does not exist: this kernel was built without")],
    ),
    without_file("/sys/kernel/tracing /sys/kernel/debug", &[Lost::Nothing]),
    without_file(
        "/proc/thread-self/net/snmp /proc/thread-self/net/netstat /proc/thread-self/net/sockstat",
        &[
            Lost::This("/proc/net/snmp", "cannot be read ("),
            Lost::This("/proc/net/netstat", "cannot be read ("),
            Lost::This("/proc/net/sockstat", "cannot be read ("),
        ],
    ),
    without_file("/proc/sys/net/ipv4", &[Lost::This("/proc/sys/net/ipv4", "cannot be read (")]),
    without_file("/proc/1", &[NO_PROCESSES]),
    // The option concerns those alone who may not look at processes, nor are in the group of root.
    without_file("hidepid", &[Lost::Nothing]),
    Row {
        capabilities: "-all",
        files: "hidepid",
        lost: &[TO_LOAD, TO_ATTACH, TO_DUMP, TO_LOOK, TO_READ, NO_EVENTS, NO_PROCESSES],
    },
    without_file("/sys/fs/cgroup", &[FROZEN]),
    without_file("/proc/thread-self/mountinfo", &[FROZEN]),
];

impl Row {
    fn name(&self) -> String {
        format!("without {:?} {:?}", self.capabilities, self.files)
    }

    /// A command of tcpstate under the circumstances of this row. It keeps its pid all the way.
    fn tcpstate(&self, room: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        if !self.files.is_empty() {
            command.args(["sh", "-c", WITHOUT_FILES, "sh", room, self.files]);
        }
        if !self.capabilities.is_empty() {
            command.args([
                "setpriv",
                "--regid=65534",
                "--clear-groups",
                "--inh-caps=-all",
                &format!("--bounding-set={}", self.capabilities),
            ]);
        }
        command.arg(env!("CARGO_BIN_EXE_tcpstate")).args(arguments);
        command
    }
}

/// What one daemon says.
struct Said {
    places: [(&'static str, String); 4],
    tier: String,
    missing: BTreeSet<String>,
}

fn say(row: &Row, room: &str) -> Said {
    // Both take a while to read the kernel's types.
    let check = row.tcpstate(room, &["check"]).stdout(Stdio::piped()).spawn().expect("it starts");
    let daemon = Daemon::start_command(&mut row.tcpstate(room, &["daemon", "--reconcile-interval", "200ms"]));
    let findings = eventually(|| {
        let found = daemon.json("/api/v1/findings");
        if found["as_of"].is_null() { Err("no pass yet".to_owned()) } else { Ok(found) }
    });
    let checked = check.wait_with_output().expect("it runs");
    let status = daemon.json("/api/v1/status");
    let prefix = "tcpstate_missing{what=\"";
    let missing = daemon.metrics();
    let missing = missing.iter().filter(|(_, value)| **value == 1.0);
    let missing =
        missing.filter_map(|(name, _)| Some(name.strip_prefix(prefix)?.strip_suffix("\"}")?.to_owned()));
    Said {
        tier: status["tier"].as_str().expect("a tier").to_owned(),
        missing: missing.collect(),
        places: [
            ("check", String::from_utf8_lossy(&checked.stdout).into_owned()),
            ("status", format!("{status:#}")),
            ("log", daemon.log()),
            ("cannot_see", format!("{:#}", findings["cannot_see"])),
        ],
    }
}

#[test]
fn whatever_is_taken_away_is_named_everywhere() {
    alone("whatever_is_taken_away_is_named_everywhere", || {
        let room = std::env::temp_dir().join(format!("tcpstate-missing-{}", std::process::id()));
        std::fs::create_dir_all(&room).expect("a directory");
        let place = room.to_str().expect("a path");
        if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
            skip("what is taken away can be hidden only where a mount namespace can be made");
            return;
        }
        let untouched = say(&UNTOUCHED, place);
        if untouched.tier != "events" {
            skip("what is lost with a capability can be seen only where eBPF programs can be loaded");
            return;
        }
        for row in ROWS {
            let said = say(row, place);
            judge(row, &said, &untouched);
        }
        std::fs::remove_dir(&room).expect("it is empty here");
    });
}

fn judge(row: &Row, said: &Said, untouched: &Said) {
    let name = row.name();
    let mut labels = untouched.missing.clone();
    let mut tier = untouched.tier.as_str();
    for lost in row.lost {
        let words = match lost {
            Lost::Nothing => continue,
            Lost::This(what, words) => {
                labels.insert((*what).to_owned());
                [*what, *words]
            }
            Lost::Events(words) => {
                tier = "dumps only";
                [*words, ""]
            }
        };
        for (place, text) in &said.places {
            let says = |line: &str| words.iter().all(|words| line.contains(words));
            assert!(text.lines().any(says), "{name}: {place} does not have {words:?}: {text}");
        }
    }
    assert_eq!(said.missing, labels, "{name}: the metric");
    assert_eq!(said.tier, tier, "{name}");
}
