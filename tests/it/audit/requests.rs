//! What requests leave: each its entry before its answer, and no answer without one.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{export, last_number, verify};
use crate::support::postgres::Cluster;
use crate::support::{Server, Vault, noise, wait_until};

/// Entries of the vault's tenant, oldest first, as `GET /v1/audit` shows them.
fn entries(server: &Server) -> Vec<Value> {
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.see(&format!("/v1/audit?limit=1000{cursor}")).json();
        let found = page["entries"].as_array().unwrap_or_else(|| panic!("no trail: {page}"));
        all.extend(found.iter().map(|line| line["entry"].clone()));
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    // Reading is told too; what these reads left is left out.
    all.retain(|entry| entry["action"] != "audit-read");
    all.reverse();
    all
}

/// The entries of one action.
fn told(server: &Server, action: &str) -> Vec<Value> {
    entries(server).into_iter().filter(|entry| entry["action"] == action).collect()
}

fn quick(vault: &mut Vault) {
    vault.env.push(("CALLVAULT_AUDIT_SESSION_IDLE".into(), "1s".into()));
}

#[test]
fn every_request_leaves_an_entry_that_says_who_did_what_to_which_recording() {
    let mut vault = Vault::new();
    quick(&mut vault);
    let server = vault.serve();
    let bytes = noise(1, 100_000);
    let id = server.put("calls/one", &bytes).send().id(201);
    server.put("calls/one", &bytes).send().id(200);
    server.put("calls/one", &noise(2, 10)).send().problem(409, "conflict");
    server.list("limit=5&class=customer");
    server.show(&id);
    server.ask("GET", &format!("/v1/recordings/{id}/audio")).header("Range", "bytes=10-19").send();
    server.see("/v1/receipts");
    server.see("/v1/recordings/0197b0f0-0000-7000-8000-000000000000").problem(404, "not-found");
    server.ask("DELETE", &format!("/v1/recordings/{id}")).send();
    server.see(&format!("/v1/recordings/{id}")).problem(410, "deleted");
    wait_until("the session is told", || told(&server, "played").len() == 1);

    let told: Vec<_> = entries(&server)
        .iter()
        .filter(|entry| entry["who"]["kind"] != "operator")
        .map(|entry| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            let is_of = if entry["recording"] == id.as_str() { "it" } else { "" };
            format!("{} {} {} {is_of}", text("action"), text("result"), text("problem")).trim().replace("  ", " ")
        })
        .collect();

    let expected = [
        "upload allowed it",
        "uploaded allowed it",
        "upload allowed it",
        "upload failed conflict",
        "list allowed",
        "show allowed it",
        "play allowed it",
        "receipts allowed",
        "show denied not-found",
        "delete allowed it",
        "show failed deleted it",
        "played allowed it",
    ];
    for line in expected {
        assert!(told.iter().any(|told| told == line), "{line} is not in {told:#?}");
    }
    assert_eq!(told.len(), expected.len(), "{told:#?}");
    let played = &self::told(&server, "played")[0];
    assert_eq!((&played["ranges"], &played["class"]), (&json!([[10, 19]]), &json!("customer")));
    assert_eq!(played["who"]["address"], "127.0.0.1");
    assert_eq!(verify(&vault, &[]).0, 0);
}

#[test]
fn lines_of_an_export_are_those_of_the_answer_and_filters_find_their_entries() {
    let vault = Vault::new();
    let server = vault.serve();
    let id = server.put("one", &noise(1, 1_000)).send().id(201);
    server.put("two", &noise(2, 1_000)).send().id(201);
    server.show(&id);

    let answer = server.see("/v1/audit?limit=1000");
    let text = String::from_utf8(answer.body.clone()).expect("JSON");
    let lines = export(&vault, "acme");

    let count = answer.json()["entries"].as_array().map_or(0, Vec::len);
    assert!(count >= 6);
    for line in lines.lines().take(count) {
        assert!(text.contains(line), "{line} is not in {text}");
    }
    let found = |query: &str| {
        let page = server.see(&format!("/v1/audit?{query}")).json();
        let entries = page["entries"].as_array().expect("a list");
        entries.iter().map(|line| line["entry"]["action"].as_str().expect("a word").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(found(&format!("recording={id}")), ["show", "uploaded", "upload"]);
    assert_eq!(found("action=uploaded"), ["uploaded"; 2]);
    assert_eq!(found("to=2020-01-01T00:00:00Z"), [""; 0]);
    assert!(found("from=2020-01-01T00:00:00Z&action=show") == ["show"]);
    let (mut numbers, mut cursor): (Vec<u64>, String) = (Vec::new(), String::new());
    loop {
        let page = server.see(&format!("/v1/audit?limit=3&to=2100-01-01T00:00:00Z{cursor}")).json();
        let entries = page["entries"].as_array().expect("a list");
        numbers.extend(entries.iter().map(|line| line["seq"].as_u64().expect("a number")));
        let Some(next) = page["cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    assert!(numbers.windows(2).all(|two| two[0] == two[1] + 1) && numbers.last() == Some(&1), "{numbers:?}");
    for bad in ["action=dance", "limit=0", "limit=1001", "cursor=x", "from=now", "who=me", "limit=1&limit=2"] {
        server.see(&format!("/v1/audit?{bad}")).problem(422, "unprocessable");
    }
    let reader = vault.make_token("acme", "read");
    server.ask("GET", "/v1/audit").token(&reader).send().problem(403, "forbidden");
    assert!(told(&server, "audit-export").len() == 1 && last_number(&lines) > 6);
}

#[test]
fn what_a_stopped_server_served_is_told_and_a_killed_one_leaves_the_beginning() {
    let vault = Vault::new();
    let mut server = vault.serve();
    let id = server.put("one", &noise(1, 400_000)).send().id(201);
    for range in ["bytes=0-9", "bytes=10-99", "bytes=5000-5999", "bytes=-1"] {
        server.ask("GET", &format!("/v1/recordings/{id}/audio")).header("Range", range).send();
    }
    server.stop();

    let mut server = vault.serve();
    let played = told(&server, "played");
    assert_eq!(played.len(), 1, "{played:?}");
    assert_eq!(played[0]["ranges"], json!([[0, 99], [5_000, 5_999], [399_999, 399_999]]));
    assert_eq!(server.play(&id).len(), 400_000);
    server.kill();

    let server = vault.serve();
    assert_eq!((told(&server, "play").len(), told(&server, "played").len()), (2, 1));
    assert_eq!(verify(&vault, &[]).0, 0);
}

#[test]
fn a_trail_that_cannot_be_written_answers_503_and_reveals_nothing() {
    let url = Cluster::shared().empty();
    let mut vault = Vault::with_env(|_| vec![("CALLVAULT_CATALOG".to_owned(), url.clone())]);
    vault.env.push(("CALLVAULT_POSTGRES_STATEMENT_TIMEOUT".into(), "1s".into()));
    vault.env.push(("CALLVAULT_UPLOAD_IDLE".into(), "120s".into()));
    let server = vault.serve();
    let bytes = noise(1, 50_000);
    let id = server.put("one", &bytes).send().id(201);
    let half = noise(2, 40_000);
    let mut begun = server.connect();
    let head = format!(
        "PUT /v1/recordings/half HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Length: 40000\r\n\
         Connection: close\r\n\r\n",
        server.token
    );
    begun.send(&head).expect("a head");
    begun.0.set_nodelay(true).expect("a socket");
    std::io::Write::write_all(&mut begun.0, &half[..20_000]).expect("half of it");
    wait_until("it has begun", || told(&server, "upload").len() == 2);

    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let (url, over) = (&url, &over);
        scope.spawn(move || hold_trail(url, over));
        wait_until("the trail is held", || server.see(&format!("/v1/recordings/{id}")).status == 503);
        let show = server.see(&format!("/v1/recordings/{id}"));
        show.problem(503, "unavailable");
        server.see("/v1/recordings").problem(503, "unavailable");
        let play = server.see(&format!("/v1/recordings/{id}/audio"));
        play.problem(503, "unavailable");
        server.ask("DELETE", &format!("/v1/recordings/{id}")).send().problem(503, "unavailable");
        server.see("/v1/recordings/0197b0f0-0000-7000-8000-000000000000").problem(503, "unavailable");
        server.put("three", &noise(3, 10)).send().problem(503, "unavailable");
        std::io::Write::write_all(&mut begun.0, &half[20_000..]).expect("the rest");
        let answer = begun.answer().expect("an answer");
        answer.problem(503, "unavailable");
        over.store(true, Ordering::Relaxed);
    });

    // Nothing happened but what was received, which is kept whole; its sender asks again.
    assert!(server.play(&id) == bytes);
    server.put("half", &half).send().id(200);
    server.put("three", &noise(3, 10)).send().id(201);
    assert_eq!(verify(&vault, &[]).0, 0);
}

/// Nobody else appends while this runs.
fn hold_trail(url: &str, over: &AtomicBool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("it answers");
        let connection = tokio::spawn(connection);
        client.batch_execute("BEGIN; LOCK TABLE trail_head IN ACCESS EXCLUSIVE MODE").await.expect("a lock");
        while !over.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        client.batch_execute("ROLLBACK").await.expect("the lock's end");
        drop(client);
        connection.await.expect("it ends").expect("it ends well");
    });
}

#[test]
fn tokens_that_nobody_knows_are_counted_in_the_trail_of_the_house() {
    let vault = Vault::new();
    let mut server = vault.serve();
    for _ in 0..5 {
        server.ask("GET", "/v1/recordings").token("cv_unknown").send().problem(401, "unauthorized");
    }
    server.stop();

    let output = vault.run(&["audit", "export", "--house"]);
    let lines = String::from_utf8(output.stdout).expect("lines");
    let found = lines.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let unknown: Vec<_> = found.filter(|line| line["entry"]["action"] == "refused").collect();
    assert_eq!(unknown.len(), 1, "{lines}");
    let entry = &unknown[0]["entry"];
    assert_eq!((&entry["count"], &entry["who"]["address"]), (&json!(5), &json!("127.0.0.1")));
    assert_eq!(entry["result"], "denied");
}

/// Servers that are killed under load: the chains hold, and every answer that was read has its entry.
fn kills_break_no_chain(vault: &Vault, servers: &[&[&str]]) {
    let mut fleet: Vec<Server> = servers.iter().map(|args| vault.serve_with(args, None)).collect();
    let id = fleet[0].put("one", &noise(1, 20_000)).send().id(201);
    let shown = AtomicUsize::new(0);
    for round in 0..3_u64 {
        let is_over = AtomicBool::new(false);
        let asks: Vec<_> = fleet.iter().map(|server| server.ask("GET", &format!("/v1/recordings/{id}"))).collect();
        std::thread::scope(|scope| {
            for ask in asks.iter().cycle().take(6) {
                let (is_over, shown) = (&is_over, &shown);
                scope.spawn(move || {
                    while !is_over.load(Ordering::Relaxed) {
                        let answer = ask.try_send();
                        if answer.is_ok_and(|answer| answer.status == 200) {
                            shown.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(700 + 130 * round));
            fleet.iter_mut().for_each(Server::kill);
            is_over.store(true, Ordering::Relaxed);
        });
        let (code, report) = verify(vault, &[]);
        assert_eq!(code, 0, "round {round}: {report}");
        fleet = servers.iter().map(|args| vault.serve_with(args, None)).collect();
    }
    let (shown, count) = (shown.into_inner(), told(&fleet[0], "show").len());
    println!("{shown} answers, {count} entries");
    assert!(shown > 20 && count >= shown, "{shown} answers, {count} entries");
}

#[test]
fn servers_killed_under_load_break_no_chain_in_sqlite() {
    let vault = Vault::new();
    kills_break_no_chain(&vault, &[&[]]);
}

#[test]
fn two_servers_killed_under_load_break_no_chain_in_postgresql() {
    let cluster = Cluster::durable();
    let url = cluster.empty();
    let vault = Vault::with_env(|_| vec![("CALLVAULT_CATALOG".to_owned(), url.clone())]);
    let spools = [vault.beside("spool-a"), vault.beside("spool-b")].map(|path| path.to_string_lossy().into_owned());
    let servers = [("a", &spools[0]), ("b", &spools[1])]
        .map(|(name, spool)| ["--replica-name", name, "--spool-dir", spool.as_str()]);
    kills_break_no_chain(&vault, &servers.each_ref().map(|args| &args[..]));
}

/// What the trail of `acme`, or of the house, says of one action: result, kind, clearance, reason, note.
fn lines_of(vault: &Vault, place: &[&str], action: &str) -> Vec<Value> {
    let output = vault.run(&[&["audit", "export"][..], place].concat());
    let text = String::from_utf8(output.stdout).expect("lines");
    let lines = text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    lines.map(|line| line["entry"].clone()).filter(|entry| entry["action"] == action).collect()
}

#[test]
fn people_links_and_tokens_are_told_with_clearance_and_reason() {
    let vault = Vault::new();
    let id_of = |made: Value| made["id"].as_str().expect("an id").to_owned();
    let day = "2020-01-01";
    let today = callvault::model::Clock::now(&callvault::model::clock::SystemClock).to_string();
    let person =
        |name: &str, papers: &[&str]| id_of(vault.ok(&[&["person", "add", "--name", name][..], papers].concat()));
    let cleared = person("Jansen", &["--vog", &today[..10], "--nda", day]);
    let other = person("Pietersen", &["--nda", day]);
    let token = |person: &str| {
        let made = ["token", "create", "--name", "t", "--person", person, "--scope", "read,play:customer"];
        vault.ok(&made)["token"].as_str().expect("a token").to_owned()
    };
    let (cleared_token, other_token) = (token(&cleared), token(&other));
    let server = vault.serve();
    let id = server.put("a", b"audio").send().id(201);
    let as_person = |method: &str, target: &str, token: &str| {
        server.ask(method, target).token(token).header("Callvault-Tenant", "acme").header("Callvault-Reason", "case 7")
    };
    let audio = format!("/v1/recordings/{id}/audio");

    as_person("GET", &audio, &other_token).send().problem(403, "not-cleared");
    assert_eq!(as_person("GET", &audio, &cleared_token).send().body, b"audio");
    let made = server.ask("POST", &format!("/v1/recordings/{id}/links")).send().json();
    let link = made["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.ask("GET", made["url"].as_str().expect("a link")).anonymous().send().status, 200);
    assert_eq!(server.ask("DELETE", &format!("/v1/links/{link}")).send().status, 204);
    let new = json!({"name": "x", "scopes": ["ingest"]}).to_string();
    let made = server.ask("POST", "/v1/tokens").header("Content-Type", "application/json").body(new.as_bytes()).send();
    let token_id = made.json()["id"].as_str().expect("an id").to_owned();
    assert_eq!(server.ask("DELETE", &format!("/v1/tokens/{token_id}")).send().status, 204);
    vault.ok(&["person", "set", &other, "--vog", &today[..10]]);

    let plays = told(&server, "play");
    let of = |at: usize, name: &str| plays[at]["who"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!((of(0, "kind"), of(0, "id"), of(0, "clearance")), ("person".into(), other.clone(), "no-vog".into()));
    assert_eq!((&plays[0]["result"], &plays[0]["problem"]), (&json!("denied"), &json!("not-cleared")));
    assert_eq!((of(1, "id"), of(1, "clearance")), (cleared, "cleared".into()));
    assert_eq!((&plays[1]["result"], &plays[1]["reason"]), (&json!("allowed"), &json!("case 7")));
    assert_eq!((of(2, "kind"), of(2, "id"), plays.len()), ("link".into(), link.clone(), 3));
    for (action, subject) in [("link-create", &link), ("link-revoke", &link), ("token-revoke", &token_id)] {
        let entries = told(&server, action);
        assert_eq!((entries.len(), &entries[0]["subject"]), (1, &json!(subject)), "{action}: {entries:?}");
    }
    let created = told(&server, "token-create");
    assert_eq!(created.last().map(|entry| &entry["note"]), Some(&json!("pbx with ingest")));
    let papers = lines_of(&vault, &["--house"], "person-set");
    assert_eq!((&papers[0]["subject"], papers[0]["note"] == format!("vog {}", &today[..10])), (&json!(other), true));
    let names = ["Jansen", "Pietersen"];
    let whole = [["--house", ""], ["--tenant", "acme"]].map(|place| {
        let place: Vec<_> = place.into_iter().filter(|part| !part.is_empty()).collect();
        String::from_utf8(vault.run(&[&["audit", "export"][..], &place[..]].concat()).stdout).expect("lines")
    });
    assert!(whole.iter().all(|text| names.iter().all(|name| !text.contains(name))));
}
