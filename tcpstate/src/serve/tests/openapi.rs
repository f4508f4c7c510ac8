//! The description of the API.

use super::{daemon::Daemon, snapshot};

#[test]
fn the_description_is_as_agreed() {
    let answer = Daemon::start().get("/api/v1/openapi.json");
    assert_eq!(answer.header("content-type"), "application/json");
    snapshot::check("tests/snapshots/openapi.json", &(answer.body + "\n"));
}

#[test]
fn every_described_parameter_is_understood() {
    let daemon = Daemon::start();
    let api = daemon.get("/api/v1/openapi.json").json();
    let mut checked = 0;
    for (path, item) in api["paths"].as_object().unwrap() {
        let parameters = item["get"]["parameters"].as_array().into_iter().flatten();
        for parameter in parameters.filter(|parameter| parameter["in"] == "query") {
            let name = parameter["name"].as_str().unwrap();
            let problem = daemon.get(&format!("{path}?{name}=!")).json();
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.starts_with("`!` is"), "{path} {name}: {detail}");
            checked += 1;
        }
    }
    assert_eq!(checked, 21);
}
