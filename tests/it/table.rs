//! The table of who may do what, from outside: every operation by every kind of principal, with every scope, for its own and
//! another tenant, with and without clearance, from an address that may and one that may not. The rows come from the server's
//! own table of operations: one that is new has no target here, and fails.

use std::collections::BTreeMap;

use callvault::http::contract::{Access, Operation, operations};
use callvault::model::Scope;
use serde_json::{Value, json};

use crate::support::wire::{Answer, Ask};
use crate::support::{Server, Vault};

const NOW: &str = "2026-11-26 12:00:00";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// A tenant's program; with `ingest` alone it is a telephone exchange.
    App,
    Cleared,
    Uncleared,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Whose {
    Own,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum From {
    Inside,
    Outside,
}

/// One cell of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Cell {
    scope: Scope,
    kind: Kind,
    whose: Whose,
    from: From,
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for scope in Scope::ALL {
        for kind in [Kind::App, Kind::Cleared, Kind::Uncleared] {
            for whose in [Whose::Own, Whose::Other] {
                for from in [From::Inside, From::Outside] {
                    // A person does not upload: there is no such token.
                    if kind == Kind::App || scope != Scope::Ingest {
                        cells.push(Cell { scope, kind, whose, from });
                    }
                }
            }
        }
    }
    cells
}

/// What is there to ask for; of two, the second is of class `training`, or is there to be ended.
struct Targets {
    recordings: [String; 2],
    links: [String; 2],
    uploads: [String; 2],
    doomed: String,
    person: String,
    token: String,
    /// Of the first link.
    url: String,
}

#[test]
fn every_operation_opens_to_whom_it_should_and_to_nobody_else() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--name", "Other", "--recording", "on"]);
    let limits = ["--rate-requests-per-s", "0", "--watch-denied-max", "1000000", "--trusted-proxies", "127.0.0.1"];
    let server = vault.serve_with(&limits, Some(NOW));
    let house = house(&vault);
    let tokens: BTreeMap<Cell, String> = tokens(&server, &house);
    let targets = targets(&server, &house);
    let nobodies = nobodies(&vault, &server, &house);
    let mut scoped = 0;

    for operation in operations() {
        let Access::Scoped(scopes) = operation.access else {
            let answer = ask(&server, operation, &targets, None).anonymous().send();
            assert!(!matches!(answer.status, 401 | 403), "{} is for everyone: {answer}", operation.id);
            continue;
        };
        let anonymous = ask(&server, operation, &targets, None).anonymous().send();
        assert_eq!(anonymous.status, 401, "{}: {anonymous}", operation.id);
        for (what, token) in &nobodies {
            let answer = named(ask(&server, operation, &targets, None), Whose::Own).token(token).send();
            assert_eq!(answer.status, 401, "{} by a token that is {what}: {answer}", operation.id);
        }
        for (cell, token) in &tokens {
            let address = if cell.from == From::Inside { "10.1.2.3" } else { "192.0.2.1" };
            let ask =
                ask(&server, operation, &targets, Some(cell.scope)).token(token).header("X-Forwarded-For", address);
            // A program's token belongs to its tenant; a person names one.
            let ask = if cell.kind == Kind::App { ask } else { named(ask, cell.whose) };
            let answer = ask.header("Callvault-Reason", "complaint 7").send();
            expect(operation, scopes, *cell, &answer);
        }
        scoped += 1;
    }
    let (operations, cells) = (operations().count(), tokens.len());
    println!("{scoped} of {operations} operations need a scope, each asked by {cells} principals");
    assert!(scoped > 15 && scoped < operations && cells == 100, "the table was gone through");
}

/// Holds an answer to what the table says.
fn expect(operation: &Operation, scopes: &[Scope], cell: Cell, answer: &Answer) {
    let place = format!("{} {} by {cell:?}: {answer}", operation.method, operation.path);
    let problem = || answer.json()["type"].as_str().unwrap_or_default().to_owned();
    let is_item = operation.path.contains("{id}") && operation.method != "PUT";
    let is_admin = scopes == [Scope::Admin];
    let is_people = operation.path.starts_with("/v1/people");
    let wanted = if cell.from == From::Outside {
        Some((403, "/problems/address-not-allowed"))
    } else if !scopes.contains(&cell.scope) {
        Some((403, "/problems/forbidden"))
    } else if cell.kind == Kind::Uncleared && scopes.iter().any(|scope| scope.reaches_recordings()) {
        Some((403, "/problems/not-cleared"))
    } else if is_people && cell.kind == Kind::App {
        Some((403, "/problems/forbidden"))
    } else if is_admin && operation.method == "POST" && cell.kind != Kind::App {
        // A person gives no rights.
        Some((403, "/problems/forbidden"))
    } else if is_people || (is_admin && !is_item) {
        None
    } else if is_item && cell.whose == Whose::Other {
        Some((404, "/problems/not-found"))
    } else {
        None
    };
    match wanted {
        Some((status, kind)) if operation.method == "HEAD" => {
            assert_eq!(answer.status, status, "{place}, not {kind}");
        }
        Some((status, kind)) => {
            assert_eq!(answer.status, status, "{place}");
            assert_eq!(problem(), kind, "{place}");
        }
        // It was let in; what it asked for may have been done by the cell before, or be no use without a body.
        None => assert!(!matches!(answer.status, 401 | 403 | 404 | 429 | 500..), "{place}"),
    }
}

fn named(ask: Ask, whose: Whose) -> Ask {
    ask.header("Callvault-Tenant", if whose == Whose::Own { "acme" } else { "other" })
}

fn house(vault: &Vault) -> String {
    let made = vault.ok(&["token", "create", "--name", "house", "--scope", "admin"]);
    made["token"].as_str().expect("a token").to_owned()
}

fn post(server: &Server, target: &str, token: &str, document: &Value) -> Value {
    let ask = server.ask("POST", target).token(token).header("Content-Type", "application/json");
    let answer = ask.body(document.to_string().as_bytes()).send();
    assert_eq!(answer.status, 201, "{target} {document}: {answer}");
    answer.json()
}

/// A token for every cell, taken from one network.
fn tokens(server: &Server, house: &str) -> BTreeMap<Cell, String> {
    let person = |document: Value| post(server, "/v1/people", house, &document)["id"].clone();
    let cleared = person(json!({"name": "cleared", "vog": "2026-06-01", "nda": "2020-01-01"}));
    let uncleared = person(json!({"name": "uncleared", "vog": "2026-01-01", "nda": "2020-01-01"}));
    let made = cells().into_iter().map(|cell| {
        let tenant = if cell.whose == Whose::Own { "acme" } else { "other" };
        let mut new = json!({"name": "cell", "scopes": [cell.scope.as_str()], "cidrs": ["10.0.0.0/8"]});
        match cell.kind {
            Kind::App => new["tenant"] = json!(tenant),
            Kind::Cleared => new["person"] = cleared.clone(),
            Kind::Uncleared => new["person"] = uncleared.clone(),
        }
        (cell, post(server, "/v1/tokens", house, &new)["token"].as_str().expect("a token").to_owned())
    });
    made.collect()
}

/// Tokens that count for nothing, each with why.
fn nobodies(vault: &Vault, server: &Server, house: &str) -> Vec<(&'static str, String)> {
    let all: Vec<_> = Scope::ALL.iter().map(|scope| scope.as_str()).collect();
    let text = |made: &Value| made["token"].as_str().expect("a token").to_owned();
    let revoked = post(server, "/v1/tokens", house, &json!({"name": "r", "tenant": "acme", "scopes": all}));
    let target = format!("/v1/tokens/{}", revoked["id"].as_str().expect("an id"));
    assert_eq!(server.ask("DELETE", &target).token(house).send().status, 204);
    let args = ["token", "create", "--tenant", "acme", "--name", "e", "--scope", crate::support::ALL_SCOPES];
    let expired = vault.ok_at(&[&args[..], &["--expires", "2026-11-26T11:59:59Z"]].concat(), Some(NOW));
    let person = post(server, "/v1/people", house, &json!({"name": "p", "vog": "2026-06-01", "nda": "2020-01-01"}));
    let person = person["id"].as_str().expect("an id");
    let theirs = json!({"name": "d", "person": person, "scopes": &all[1..]});
    let theirs = post(server, "/v1/tokens", house, &theirs);
    let disabled = server.ask("PATCH", &format!("/v1/people/{person}")).token(house);
    let disabled = disabled.header("Content-Type", "application/json").body(b"{\"disabled\": true}").send();
    assert_eq!(disabled.status, 200, "{disabled}");
    vec![
        ("malformed", "cv_x".into()),
        ("nobody's", Vault::new().token.clone()),
        ("revoked", text(&revoked)),
        ("over", text(&expired)),
        ("a disabled person's", text(&theirs)),
    ]
}

fn targets(server: &Server, house: &str) -> Targets {
    let text = |value: &Value| value.as_str().expect("a text").to_owned();
    let [customer, training, doomed] = [("a", "customer"), ("b", "training"), ("c", "customer")]
        .map(|(name, class)| server.put(&format!("{name}?class={class}"), b"audio").send().id(201));
    let recordings = [customer, training];
    let uploads = [9, 10].map(|len| {
        let begun = server.ask("POST", "/v1/uploads").header("Tus-Resumable", "1.0.0");
        let begun = begun.header("Upload-Length", &format!("{len}")).send();
        assert_eq!(begun.status, 201, "{begun}");
        begun.header("location").rsplit('/').next().expect("an id").to_owned()
    });
    let made = recordings.each_ref().map(|id| {
        let made = server.ask("POST", &format!("/v1/recordings/{id}/links")).send();
        assert_eq!(made.status, 201, "{made}");
        made.json()
    });
    let token = post(server, "/v1/tokens", house, &json!({"name": "t", "tenant": "acme", "scopes": ["read"]}));
    let person = post(server, "/v1/people", house, &json!({"name": "somebody"}));
    Targets {
        recordings,
        links: made.each_ref().map(|made| text(&made["id"])),
        uploads,
        doomed,
        person: text(&person["id"]),
        token: text(&token["id"]),
        url: text(&made[0]["url"]),
    }
}

/// A request for an operation, on what the tenant has; of what depends on the class, that which the scope may open.
fn ask(server: &Server, operation: &Operation, targets: &Targets, scope: Option<Scope>) -> Ask {
    let class = usize::from(scope == Some(Scope::PlayTraining));
    let recording = &targets.recordings[class];
    let target = match (operation.method, operation.path) {
        ("PUT", "/v1/recordings/{id}") => "/v1/recordings/of-the-table".into(),
        ("DELETE", "/v1/recordings/{id}") if scope == Some(Scope::Rights) => {
            format!("/v1/recordings/{}?erase=1", targets.doomed)
        }
        ("DELETE", "/v1/recordings/{id}") => format!("/v1/recordings/{}", targets.doomed),
        ("DELETE", "/v1/uploads/{id}") => format!("/v1/uploads/{}", targets.uploads[1]),
        (_, path) if path.starts_with("/v1/recordings/{id}") => path.replace("{id}", recording),
        (_, path) if path.starts_with("/v1/uploads/") => path.replace("{id}", &targets.uploads[0]),
        (_, path) if path.starts_with("/v1/links/") => path.replace("{id}", &targets.links[class]),
        (_, path) if path.starts_with("/v1/people/") => path.replace("{id}", &targets.person),
        (_, path) if path.starts_with("/v1/tokens/") => path.replace("{id}", &targets.token),
        (_, "/v1/play/{link}") => targets.url.clone(),
        (_, "/problems/{name}") => "/problems/forbidden".into(),
        (_, path) => path.into(),
    };
    assert!(!target.contains('{'), "{} has no target in this table: give it one", operation.path);
    let ask = server.ask(operation.method, &target);
    match (operation.method, operation.path) {
        ("POST", "/v1/recordings") | ("PUT", _) => ask.body(b"audio"),
        ("PATCH", path) if path.starts_with("/v1/uploads") => {
            let ask = ask.header("Tus-Resumable", "1.0.0").header("Upload-Offset", "0");
            ask.header("Content-Type", "application/offset+octet-stream").body(b"a")
        }
        (_, path) if path.starts_with("/v1/uploads") => ask.header("Tus-Resumable", "1.0.0"),
        _ => ask,
    }
}
