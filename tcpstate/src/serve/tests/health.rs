//! The page, and what supervisors ask.

use super::{daemon::Daemon, scene};

#[test]
fn the_page_links_to_everything_that_can_be_asked() {
    let daemon = Daemon::start();
    let page = daemon.get("/");
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.body.contains(env!("CARGO_PKG_VERSION")));
    let api = daemon.get("/api/v1/openapi.json").json();
    for path in api["paths"].as_object().unwrap().keys().filter(|path| *path != "/") {
        if path == "/api/v1/findings/{id}" {
            continue;
        }
        let path = &path.replace("{topic}", "close-wait-leak");
        assert!(page.body.contains(&format!("href=\"{path}")), "{path}");
        let answers = path == "/api/v1/events" || daemon.get(path).status == 200;
        assert!(answers, "{path}");
    }
}

#[test]
fn the_daemon_is_healthy_before_it_is_ready() {
    let daemon = Daemon::with(scene::blind_readings(), scene::tracker(&[]));
    assert_eq!((daemon.get("/-/healthy").status, daemon.get("/-/healthy").body.as_str()), (200, "healthy\n"));
    let ready = daemon.get("/-/ready");
    assert_eq!((ready.status, ready.header("content-type")), (503, "application/problem+json"));
    daemon.fake.lock().unwrap().readings.ready = true;
    assert_eq!((daemon.get("/-/ready").status, daemon.get("/-/ready").body.as_str()), (200, "ready\n"));
}

#[test]
fn nothing_is_cached() {
    let daemon = Daemon::start();
    for path in ["/", "/metrics", "/api/v1/status", "/api/v1/sockets?limit=0", "/nowhere"] {
        assert_eq!(daemon.get(path).header("cache-control"), "no-store", "{path}");
    }
}

#[test]
fn the_server_ends_when_it_is_told_to() {
    let daemon = Daemon::start();
    daemon.get("/-/healthy");
    assert!(daemon.stop());
}
