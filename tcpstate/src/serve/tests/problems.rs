//! Errors that are not a parameter's fault.

use super::daemon::{Answer, Daemon};

#[track_caller]
fn is_problem(answer: &Answer, status: u16, title: &str) {
    let problem = answer.json();
    assert_eq!((answer.status, answer.header("content-type")), (status, "application/problem+json"));
    assert_eq!(problem["type"], "about:blank");
    assert_eq!((&problem["status"], &problem["title"]), (&status.into(), &title.into()));
    assert!(problem["detail"].as_str().is_some_and(|detail| !detail.is_empty()), "{problem}");
    assert!(problem.get("field").is_none(), "{problem}");
}

#[test]
fn an_unknown_path_is_a_problem() {
    let daemon = Daemon::start();
    for path in ["/nowhere", "/api/v1/", "/api/v2/status", "/metrics/", "/%2e%2e/etc/passwd"] {
        is_problem(&daemon.get(path), 404, "Not Found");
    }
}

#[test]
fn an_unknown_method_is_a_problem_that_says_which_are_allowed() {
    let daemon = Daemon::start();
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let answer = daemon.ask(method, "/api/v1/sockets");
        is_problem(&answer, 405, "Method Not Allowed");
        assert_eq!(answer.header("allow"), "GET,HEAD", "{method}");
    }
}

#[test]
fn without_engine_every_answer_from_it_is_a_problem() {
    let mut daemon = Daemon::start();
    daemon.end_engine();
    let paths = ["/-/ready", "/metrics", "/api/v1/status", "/api/v1/summary", "/api/v1/sockets"];
    for path in paths.into_iter().chain(["/api/v1/resets", "/api/v1/events"]) {
        is_problem(&daemon.get(path), 503, "Service Unavailable");
    }
    assert_eq!(daemon.get("/-/healthy").status, 200);
}

#[test]
fn a_panic_is_a_problem_that_tells_nothing_of_the_inside() {
    use std::sync::Arc;

    use axum::{Router, middleware, routing::get};

    async fn broken() -> &'static str {
        panic!("secret inside")
    }

    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status_line_and_body = runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let own = Arc::new(crate::serve::shared::Own::default());
        let guard = middleware::from_fn_with_state(own, crate::serve::guard::guard);
        let router = Router::new().route("/", get(broken)).layer(guard);
        tokio::spawn(async move { axum::serve(listener, router).await });
        tokio::task::spawn_blocking(move || {
            use std::io::{Read, Write};
            let mut connection = std::net::TcpStream::connect(address).unwrap();
            connection.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
            let mut text = String::new();
            connection.read_to_string(&mut text).unwrap();
            text
        })
        .await
        .unwrap()
    });
    assert!(status_line_and_body.starts_with("HTTP/1.1 500 "), "{status_line_and_body}");
    assert!(status_line_and_body.contains("application/problem+json"));
    assert!(!status_line_and_body.contains("secret"), "{status_line_and_body}");
}
