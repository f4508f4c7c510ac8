//! The description of the API.

use proptest::{
    strategy::{Strategy, ValueTree},
    string::string_regex,
    test_runner::TestRunner,
};
use serde_json::{Map, Value, json};

use super::{
    daemon::{Answer, Daemon},
    diagnosed,
    events::Stream,
    scene, snapshot,
};
use crate::track::Event;

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

/// The query parameters that are described, with their routes.
fn parameters(api: &Value) -> Vec<(String, Value)> {
    let of = |(path, item): (&String, &Value)| {
        let parameters = item["get"]["parameters"].as_array().cloned().unwrap_or_default();
        parameters.into_iter().map(|parameter| (path.clone(), parameter)).collect::<Vec<_>>()
    };
    let all = api["paths"].as_object().unwrap().iter().flat_map(of);
    all.filter(|(_, parameter)| parameter["in"] == "query").collect()
}

#[test]
fn a_text_is_taken_where_it_is_as_described_and_only_there() {
    let daemon = Daemon::start();
    let mut runner = TestRunner::deterministic();
    let mut any = |of: &str| string_regex(of).unwrap().new_tree(&mut runner).unwrap().current();
    for (path, parameter) in parameters(&daemon.get("/api/v1/openapi.json").json()) {
        let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
        if schema["type"] == "integer" || name == "peer" {
            continue;
        }
        let words =
            schema["enum"].as_array().into_iter().flatten().map(|word| word.as_str().unwrap().to_owned());
        let mut texts: Vec<_> = words.collect();
        if let Some(pattern) = schema["pattern"].as_str() {
            texts.extend((0..20).map(|_| any(pattern.trim_start_matches('^').trim_end_matches('$'))));
        }
        assert!(!texts.is_empty(), "{path}: it is not described what {name} may be");
        texts.extend((0..20).map(|_| any("[ -~]{0,6}")));
        let described = jsonschema::draft202012::new(schema).unwrap();
        for text in texts {
            let coded = text.bytes().map(|byte| format!("%{byte:02X}")).collect::<Vec<_>>().concat();
            let status = daemon.get(&format!("{path}?{name}={coded}")).status;
            let expected = if described.is_valid(&text.clone().into()) { 200 } else { 400 };
            assert_eq!(status, expected, "{path} {name}={text}");
        }
    }
}

/// The description, made strict: what it does not mention must not be there.
struct Described(Value);

impl Described {
    fn by(daemon: &Daemon) -> Self {
        let mut api = daemon.get("/api/v1/openapi.json").json();
        let mut parts = api["components"]["schemas"].clone();
        let schemas = api["components"]["schemas"].as_object_mut().unwrap();
        for schema in schemas.values_mut() {
            name_parts(schema);
            if schema.get("properties").is_some() || schema.get("allOf").is_some() {
                schema["unevaluatedProperties"] = false.into();
            }
        }
        for (name, schema) in parts.as_object_mut().unwrap() {
            name_parts(schema);
            schemas.insert(format!("{name}{PART}"), schema.take());
        }
        Self(api)
    }

    /// What an answer has to be, by the route and the status; `None` for an answer that is not described.
    fn content(&self, route: &str, status: u16) -> Option<&Map<String, Value>> {
        self.0["paths"][route]["get"]["responses"].get(status.to_string())?["content"].as_object()
    }

    fn schema(&self, mut schema: Value) -> jsonschema::Validator {
        schema["components"] = self.0["components"].clone();
        jsonschema::draft202012::new(&schema).unwrap()
    }

    #[track_caller]
    fn check(&self, schema: &Value, value: &Value, what: &str) {
        let errors: Vec<_> = self
            .schema(schema.clone())
            .iter_errors(value)
            .map(|error| format!("{} at {}", error, error.instance_path()))
            .collect();
        assert!(errors.is_empty(), "{what}: {errors:#?}\nin {value:#}");
    }

    /// Asks, and checks that the answer is one that is described.
    #[track_caller]
    fn ask(&self, daemon: &Daemon, route: &str, path: &str, status: u16) -> Answer {
        let answer = daemon.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        let content =
            self.content(route, status).unwrap_or_else(|| panic!("{path}: {status} is not described"));
        let kind = answer.header("content-type").split(';').next().unwrap();
        let described = content.get(kind).unwrap_or_else(|| panic!("{path}: {kind} is not described"));
        if kind.ends_with("json") {
            self.check(&described["schema"], &answer.json(), path);
        }
        answer
    }
}

/// What the name of a schema ends in where it is a part of another one, whose fields it does not mention.
const PART: &str = "AsPart";

/// Has a schema refer to its parts as such.
fn name_parts(value: &mut Value) {
    for part in value.get_mut("allOf").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(name) = part["$ref"].as_str() {
            part["$ref"] = format!("{name}{PART}").into();
        }
    }
    match value {
        Value::Object(fields) => fields.values_mut().for_each(name_parts),
        Value::Array(items) => items.iter_mut().for_each(name_parts),
        _ => {}
    }
}

/// A daemon that has something of everything.
fn daemon_with_everything() -> Daemon {
    let mut tracker = scene::tracker(&scene::rows());
    scene::add_resets(&mut tracker, 3);
    let daemon = Daemon::with(scene::readings(), tracker);
    daemon.diagnose(diagnosed::diagnosed());
    daemon
}

/// A path of a route.
fn path_of(route: &str, daemon: &Daemon) -> String {
    let findings = daemon.get("/api/v1/findings").json();
    let id = findings["findings"][0]["id"].as_str().unwrap_or("none");
    route.replace("{topic}", "close-wait-leak").replace("{id}", id)
}

#[test]
fn every_answer_is_as_described() {
    let daemon = daemon_with_everything();
    let described = Described::by(&daemon);
    let routes: Vec<_> = described.0["paths"].as_object().unwrap().keys().cloned().collect();
    for route in routes.iter().filter(|route| *route != "/api/v1/events") {
        let path = path_of(route, &daemon);
        let answer = described.ask(&daemon, route, &path, 200);
        if answer.header("content-type") == "application/json" {
            for list in ["sockets", "resets", "findings", "processes", "ports", "listeners"] {
                let found = answer.json()[list].as_array().map(Vec::len);
                assert!(found != Some(0), "{path} shows nothing: {}", answer.body);
            }
        }
        if route.starts_with("/api/") {
            described.ask(&daemon, route, &format!("{path}?no_such_parameter=1"), 400);
        }
    }
    for route in ["/api/v1/findings/{id}", "/api/v1/explain/{topic}"] {
        let nowhere = route.replace("{id}", "nowhere").replace("{topic}", "nowhere");
        described.ask(&daemon, route, &nowhere, 404);
    }
}

#[test]
fn what_is_not_known_is_described_too() {
    let daemon = Daemon::with(scene::blind_readings(), scene::tracker(&[]));
    let described = Described::by(&daemon);
    described.ask(&daemon, "/-/ready", "/-/ready", 503);
    for route in ["status", "summary", "sockets", "resets", "findings", "processes", "ports", "listeners"] {
        let route = format!("/api/v1/{route}");
        described.ask(&daemon, &route, &route, 200);
    }
}

#[test]
fn every_route_may_be_refused_as_described() {
    let mut daemon = daemon_with_everything();
    let described = Described::by(&daemon);
    daemon.end_engine();
    for route in described.0["paths"].as_object().unwrap().keys() {
        for status in [400, 421, 503] {
            let content = described.content(route, status);
            let is_problem = content.is_some_and(|content| content.contains_key("application/problem+json"));
            assert!(is_problem, "{route}: {status}");
        }
    }
    for route in ["/metrics", "/api/v1/status", "/api/v1/summary", "/api/v1/sockets", "/api/v1/resets"] {
        described.ask(&daemon, route, route, 503);
    }
}

#[test]
fn every_event_is_as_described() {
    let daemon = daemon_with_everything();
    let described = Described::by(&daemon);
    let mut stream = Stream::open(&daemon);
    let unknown = crate::track::Transition { cookie: None, actor: None, ..scene::transition(scene::NOW_NS) };
    daemon.tell(vec![
        Event::Transition(scene::transition(scene::NOW_NS)),
        Event::Transition(unknown),
        Event::ResetSent(scene::reset_sent(scene::NOW_NS)),
        Event::ResetReceived(scene::reset_received(scene::NOW_NS)),
    ]);
    for schema in ["TransitionEvent", "TransitionEvent", "ResetSentEvent", "ResetReceivedEvent"] {
        let (name, data) = stream.next().unwrap();
        described.check(&json!({"$ref": format!("#/components/schemas/{schema}")}), &data, &name);
    }
}
