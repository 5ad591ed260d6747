//! `/openapi.json`: it is valid, it tells all that the server does and nothing else, and a fuzzer that believes it finds nothing.
//! Every answer that any other test gets by [`crate::support::wire`] is held to it too.

mod fuzzed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use callvault::http::contract::ELSEWHERE;
use callvault::model::Problem;
use serde_json::{Value, json};

use crate::support::documented::{document, paths, resolved, untold};
use crate::support::wire::Answer;
use crate::support::{ALL_SCOPES, Server, Vault};

/// Every method that a path may have, and one that none has. What takes something away comes last.
const METHODS: [&str; 9] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "TRACE", "BREW", "DELETE"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where tests/run puts the validator and the fuzzer.
fn packages() -> PathBuf {
    root().join("target/test-clients/openapi")
}

/// Every operation: its address, its method in capitals, itself.
fn operations() -> Vec<(&'static str, String, &'static Value)> {
    let of_path = |(path, methods): (&'static String, &'static Value)| {
        let methods = methods.as_object().expect("methods");
        methods.iter().map(move |(method, operation)| (path.as_str(), method.to_ascii_uppercase(), operation))
    };
    paths().iter().flat_map(of_path).collect()
}

#[test]
fn the_document_is_the_one_that_the_server_gives_and_is_valid() {
    let vault = Vault::new();
    let served = vault.serve().ask("GET", "/openapi.json").anonymous().send();
    assert_eq!((served.status, served.header("content-type")), (200, "application/json"));
    assert_eq!(served.json(), *document());
    let file = vault.beside("openapi.json");
    std::fs::write(&file, &served.body).expect("written");

    let mut validator = Command::new("python3");
    validator.args(["-m", "openapi_spec_validator", "--schema", "3.1"]).arg(&file).env("PYTHONPATH", packages());
    let output = validator.output().expect("python3 is there; tests/run installs what it needs");

    let (told, trouble) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && told.trim_end().ends_with(": OK"), "{told}{trouble}");
}

/// Every value below this one that is a reference.
fn references<'a>(value: &'a Value, found: &mut BTreeSet<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get("$ref").and_then(Value::as_str));
            members.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_somewhere_and_every_component_is_referred_to() {
    let mut found = BTreeSet::new();
    references(document(), &mut found);
    assert!(found.len() > 50, "{found:?}");

    for reference in &found {
        assert!(!resolved(&json!({ "$ref": reference })).is_null(), "{reference}");
    }

    for kind in ["schemas", "headers", "responses"] {
        for name in document()["components"][kind].as_object().expect("components").keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(found.contains(reference.as_str()), "nothing refers to {reference}");
        }
    }
}

#[test]
fn every_operation_has_a_name_of_its_own_and_tells_its_parameters() {
    let mut names = BTreeSet::new();

    for (path, method, operation) in operations() {
        let name = operation["operationId"].as_str().expect("a name");
        assert!(names.insert(name), "{name} is there twice");
        assert!(operation["summary"].as_str().is_some_and(|summary| !summary.is_empty()), "{method} {path}");
        let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
        let told: BTreeSet<_> =
            parameters.iter().filter(|one| one["in"] == "path").filter_map(|one| one["name"].as_str()).collect();
        let in_path: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
        assert_eq!(told, in_path, "{method} {path}");
        let places: BTreeSet<_> =
            parameters.iter().map(|one| (one["in"].to_string(), one["name"].to_string())).collect();
        assert_eq!(places.len(), parameters.len(), "{method} {path} tells a parameter twice");
    }
}

#[test]
fn every_problem_is_told_by_an_operation_or_has_a_reason_why_not() {
    let mut told = BTreeSet::new();
    for (_, _, operation) in operations() {
        for response in operation["responses"].as_object().expect("responses").values() {
            let schema = &resolved(response)["content"]["application/problem+json"]["schema"];
            let types = schema["allOf"][1]["properties"]["type"]["enum"].as_array();
            told.extend(types.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        }
    }

    for problem in Problem::ALL {
        let is_told = told.contains(&format!("/problems/{}", problem.name()));
        let is_elsewhere = ELSEWHERE.iter().any(|(elsewhere, _)| elsewhere == problem);
        assert!(is_told != is_elsewhere, "{}: told {is_told}, elsewhere {is_elsewhere}", problem.name());
    }
}

/// Address and methods of each row of the README's table of routes; names in braces are all alike.
fn readme_routes() -> BTreeMap<String, BTreeSet<String>> {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("there is a README");
    let table = readme.split("| route | scope | what |\n").nth(1).and_then(|rest| rest.split("\n\n").next());
    let mut routes = BTreeMap::<String, BTreeSet<String>>::new();
    for row in table.expect("the table of routes").lines().skip(1).filter(|row| !row.contains("own listener")) {
        let mut methods = "";
        for quoted in row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2) {
            let path = quoted.split_once(' ').map_or(quoted, |(told, path)| {
                methods = told;
                path
            });
            let path = path.split('?').next().unwrap_or_default();
            let longer = path.replace(['[', ']'], "");
            for path in [path.split('[').next().unwrap_or_default(), &longer] {
                let known = routes.entry(anonymous(path)).or_default();
                known.extend(methods.split(',').map(str::to_owned));
            }
        }
    }
    routes
}

/// `/v1/recordings/{id}` as `/v1/recordings/{}`.
fn anonymous(path: &str) -> String {
    path.split('/').map(|part| if part.starts_with('{') { "{}" } else { part }).collect::<Vec<_>>().join("/")
}

#[test]
fn the_readme_and_the_document_tell_of_the_same_operations() {
    let (readme, mut told) = (readme_routes(), BTreeMap::<String, BTreeSet<String>>::new());
    for (path, method, _) in operations() {
        told.entry(anonymous(path)).or_default().insert(method);
    }

    assert_eq!(readme.keys().collect::<Vec<_>>(), told.keys().collect::<Vec<_>>());
    let all = |routes: &BTreeMap<String, BTreeSet<String>>| routes.values().flatten().cloned().collect::<BTreeSet<_>>();
    assert!(all(&readme).is_subset(&all(&told)));
    for (path, methods) in told {
        // HEAD comes with GET, and OPTIONS with uploads.
        let named = methods.iter().filter(|method| !["HEAD", "OPTIONS"].contains(&method.as_str()));
        let unnamed: Vec<_> = named.filter(|method| !readme[&path].contains(*method)).collect();
        assert!(unnamed.is_empty(), "the README does not name {unnamed:?} of {path}");
    }
}

#[test]
fn every_route_of_the_router_is_told_and_every_address_that_is_told_has_a_route() {
    let source = std::fs::read_to_string(root().join("src/http/routes.rs")).expect("the router");
    let routes: Vec<_> =
        source.split(".route(\"").skip(1).filter_map(|rest| rest.split('"').next()).map(anonymous).collect();
    assert!(routes.len() > 8, "{routes:?}");
    // `{*rest}` is every address below.
    let leads = |route: &str, path: &str| {
        let is_below = route.strip_suffix("{}").is_some_and(|prefix| path.starts_with(prefix) && path != prefix);
        is_below || route == path
    };
    let told: Vec<_> = paths().keys().map(|path| anonymous(path)).collect();

    for route in &routes {
        assert!(told.iter().any(|path| leads(route, path)), "no operation of {route} is told");
    }

    for path in &told {
        assert!(routes.iter().any(|route| leads(route, path)), "{path} is told, and has no route");
    }
}

/// A recording and an upload that are there, for the addresses that want one.
fn filled(server: &Server, path: &str) -> String {
    let parent = path.split("/{id}").next().unwrap_or_default();
    let id = match parent {
        "/v1/recordings" => server.put("filled", b"audio").send().json()["id"].as_str().expect("an id").to_owned(),
        "/v1/uploads" => {
            let begun = server.ask("POST", "/v1/uploads").header("Upload-Complete", "?0").body(b"").send();
            begun.header("location").rsplit('/').next().expect("an id").to_owned()
        }
        _ => "01890000-0000-7000-8000-000000000000".to_owned(),
    };
    path.replace("{id}", &id).replace("{name}", "not-found").replace("{link}", "none")
}

#[test]
fn every_address_takes_the_methods_that_are_told_and_no_other() {
    let vault = Vault::new();
    let server = vault.serve();

    for (path, told) in paths() {
        let told: BTreeSet<_> =
            told.as_object().expect("methods").keys().map(|name| name.to_ascii_uppercase()).collect();
        let target = filled(&server, path);
        for method in METHODS {
            let answer = server.ask(method, &target).send();
            // Whatever is put below /v1/recordings/ has a name of its own.
            let is_name = method == "PUT" && path.starts_with("/v1/recordings/");
            if told.contains(method) || is_name {
                let is_nowhere = String::from_utf8_lossy(&answer.body).contains("there is nothing at this address");
                assert!(!is_nowhere && ![405, 501].contains(&answer.status), "{method} {target}: {answer}");
            } else if answer.status != 501 {
                assert_eq!(answer.status, 405, "{method} {target}: {answer}");
                let allowed: BTreeSet<_> =
                    answer.header("allow").split(',').map(|name| name.trim().to_owned()).collect();
                assert_eq!(allowed, told, "{method} {target}");
            }
        }
    }
}

#[test]
fn every_operation_opens_to_the_scopes_that_are_told_and_to_no_other() {
    let vault = Vault::new();
    let server = vault.serve();
    // The provider's people are administered by a token that belongs to no tenant.
    let house = vault.ok(&["token", "create", "--name", "house", "--scope", "admin"]);
    let house = house["token"].as_str().expect("a token").to_owned();
    let scopes = ALL_SCOPES.split(',').filter(|scope| *scope != "admin");
    let mut tokens: Vec<_> = scopes.map(|scope| (scope, vault.make_token("acme", scope))).collect();
    tokens.push(("admin", house));

    for (path, method, operation) in operations() {
        let target = filled(&server, path);
        let ask = server.ask(&method, &target).body(b"");
        let ways = operation["security"].as_array().expect("ways in");
        let scopes: BTreeSet<_> = ways.iter().filter_map(|way| way["bearer"][0].as_str()).collect();
        if ways.is_empty() {
            assert_ne!(ask.clone().anonymous().send().status, 401, "{method} {path}");
            continue;
        }
        assert_eq!(ask.clone().anonymous().send().status, 401, "{method} {path}");
        // What one scope opens may be another method's of the same operation, such as erasing: some scope opens it.
        let mut opened = BTreeSet::new();
        for (scope, token) in &tokens {
            let status = ask.clone().token(token).send().status;
            if ![401, 403].contains(&status) {
                opened.insert(*scope);
            }
        }
        assert!(!opened.is_empty() && opened.is_subset(&scopes), "{method} {path}: {opened:?} of {scopes:?}");
    }
}

#[test]
fn an_answer_that_is_not_told_is_found() {
    let answer = |status: u16, headers: &[(&str, &str)], body: &str| {
        let always = [
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("content-security-policy", "default-src 'none'"),
            ("cache-control", "no-store"),
        ];
        let headers = always.iter().chain(headers).map(|(name, value)| (name.to_string(), value.to_string()));
        Answer { status, headers: headers.collect(), body: body.into() }
    };
    let problem = |status: u16, name: &str| {
        let body = json!({ "type": format!("/problems/{name}"), "status": status }).to_string();
        answer(status, &[("content-type", "application/problem+json")], &body)
    };
    let of = |method: &str, target: &str, answer: Answer| untold(method, target, &[], &answer);
    let show = "/v1/recordings/01890000-0000-7000-8000-000000000000";
    let plain = [("content-type", "text/plain")];

    assert_eq!(of("GET", "/healthz", answer(200, &plain, "ok\n")), None);
    assert_eq!(of("get", show, problem(404, "not-found")), None);
    assert_eq!(of("GET", "/nowhere", problem(404, "not-found")), None);
    for (method, target, wrong, what) in [
        ("GET", "/healthz", answer(204, &plain, ""), "204 is not told"),
        ("GET", "/healthz", answer(200, &[("content-type", "text/html")], "ok"), "'text/html' is not told"),
        ("GET", "/healthz", answer(200, &[("x-new", "1")], ""), "'x-new' is not told"),
        ("GET", show, problem(404, "bad-request"), "\"/problems/bad-request\" is not told"),
        ("PUT", show, answer(201, &[], ""), "'Location' is told, and not there"),
        ("GET", "/nowhere", answer(200, &plain, "here"), "is in no document"),
        ("POST", "/healthz", answer(500, &plain, "here"), "is in no document"),
    ] {
        let found = of(method, target, wrong).unwrap_or_default();
        assert!(found.contains(what), "{method} {target}: {found:?} is not {what:?}");
    }
}
