//! Parameters of the API: every answer says what was right or wrong, and none is the server's fault.

use crate::{fuzz::fuzz, serve::tests::daemon::Daemon};

fn seeds() -> Vec<Vec<u8>> {
    let paths = [
        "sockets?state=CLOSE_WAIT&min_age=5m&pid=12&port=8080&peer=10.0.0.7:50000&netns=4026531840&limit=10",
        "sockets?peer=[2001:db8::7]:443&min_age=1500ms&cursor=3",
        "resets?limit=1000&cursor=18446744073709551615",
        "processes?limit=1",
        "ports?cursor=0-",
        "listeners?limit=2&cursor=3-6e67696e78",
        "findings?class=close-wait-leak&severity=warning&status=open&pid=12&unit=nginx.service",
        "findings/close-wait-leak-0123456789abcdef",
        "explain/FIN_WAIT2",
    ];
    paths.map(|path| path.as_bytes().to_vec()).into()
}

/// The bytes as they may stand in a request line; what has a meaning there keeps it.
fn path(bytes: &[u8]) -> String {
    let kept = |byte: &u8| byte.is_ascii_alphanumeric() || b"?&=%/._-:~".contains(byte);
    let encoded = bytes
        .iter()
        .map(|byte| if kept(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") });
    encoded.collect()
}

#[test]
fn params() {
    let daemon = Daemon::start();
    let agent: ureq::Agent =
        ureq::Agent::config_builder().http_status_as_error(false).proxy(None).build().into();
    fuzz("params", seeds(), |bytes| {
        let path = path(bytes);
        // That one does not end.
        if path.starts_with("events") {
            return;
        }
        let Ok(mut answer) = agent.get(format!("{}/api/v1/{path}", daemon.url())).call() else { return };
        let (status, body) = (answer.status().as_u16(), answer.body_mut().read_to_string().expect("text"));
        let is_json = serde_json::from_str::<serde_json::Value>(&body).is_ok();
        assert!(status < 500 && (is_json || status < 400), "{path}: {status} {body}");
    });
}
