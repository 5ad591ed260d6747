//! Listing: newest first, each recording once whatever arrives meanwhile, and only what was asked for.

use serde_json::Value;

use crate::support::{Server, Vault, id_of};

#[test]
fn pages_hold_every_recording_once_and_newest_first() {
    let vault = Vault::new();
    let server = vault.serve();
    let mut sent: Vec<String> = (0..23).map(|index| upload(&server, &format!("n{index}"), &[])).collect();
    sent.reverse();

    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = server.see(&format!("/v1/recordings?limit=5{cursor}")).json();
        let ids = ids(&page["recordings"]);
        assert!((1..=5).contains(&ids.len()), "{page}");
        seen.extend(ids);
        // What arrives while somebody turns pages is newer than all of them.
        upload(&server, &format!("late{}", seen.len()), &[]);
        match page["cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }

    assert_eq!(seen, sent);
    assert_eq!(server.list("limit=1000").len(), 23 + 5);
    assert_eq!(server.list("").len(), 28, "the default page holds 100");
}

#[test]
fn a_page_that_holds_exactly_all_is_the_last() {
    let vault = Vault::new();
    let server = vault.serve();
    (0..4).for_each(|index| drop(upload(&server, &format!("n{index}"), &[])));

    let page = server.see("/v1/recordings?limit=4").json();

    assert_eq!((ids(&page["recordings"]).len(), &page["cursor"]), (4, &Value::Null));
}

#[test]
fn each_filter_shows_what_it_names_and_nothing_else() {
    let vault = Vault::new();
    let server = vault.serve();
    let a = upload(&server, "a", &[("A-Number", "+31201111111"), ("B-Number", "+31202222222"), ("Call-Id", "c-1")]);
    let b = upload(&server, "b", &[("A-Number", "0031202222222"), ("Call-Id", "c-2"), ("Class", "training")]);
    let c = upload(&server, "c", &[("B-Number", "+31203333333"), ("Call-Id", "c-1"), ("Class", "customer,training")]);
    let partial = server.put("p", b"au").header("Content-Range", "bytes 0-1/5").send().id(201);
    let from = server.show(&b)["received_at"].as_str().expect("a time").to_owned();
    let to = server.show(&c)["received_at"].as_str().expect("a time").to_owned();
    let listed = |query: &str| {
        let mut listed = ids(&Value::from(server.list(query)));
        listed.reverse();
        listed
    };
    let of = |ids: &[&String]| ids.iter().map(|id| (*id).clone()).collect::<Vec<_>>();
    let all = of(&[&a, &b, &c, &partial]);

    assert_eq!(listed(""), all);
    assert_eq!(listed("number=%2B31202222222"), of(&[&a, &b]));
    assert_eq!(listed("number=0031-20-333.33.33"), of(&[&c]));
    assert!(listed("number=%2B31209999999").is_empty());
    assert_eq!(listed("call_id=c-1"), of(&[&a, &c]));
    assert_eq!(listed("call_id=c-1&number=%2B31203333333"), of(&[&c]));
    assert_eq!(listed("class=training"), of(&[&b, &c]));
    assert_eq!(listed("class=customer"), of(&[&a, &c, &partial]));
    assert_eq!(listed("state=stored"), all);
    assert!(listed("state=spooled").is_empty());
    assert_eq!(listed(&format!("from={from}")), all[1..]);
    assert_eq!(listed(&format!("to={from}")), all[..1]);
    assert_eq!(listed(&format!("from={from}&to={to}&class=training")), of(&[&b]));
}

#[test]
fn a_listing_shows_only_the_tenants_own() {
    let vault = Vault::new();
    vault.ok(&["tenant", "create", "other", "--name", "Other", "--recording", "on"]);
    let other = vault.make_token("other", "ingest,read");
    let server = vault.serve();
    let number = ("Callvault-A-Number", "+31201111111");
    server.put("a", b"audio").header(number.0, number.1).send().id(201);
    let theirs = server.put("a", b"audio").header(number.0, number.1).token(&other).send().id(201);

    for query in ["", "?number=%2B31201111111", "?class=customer", "?state=stored"] {
        let page = server.ask("GET", &format!("/v1/recordings{query}")).token(&other).send().json();
        assert!(ids(&page["recordings"]).iter().eq([&theirs]), "{query}: {page}");
    }
}

#[test]
fn a_wrong_parameter_is_refused_by_its_name() {
    let vault = Vault::new();
    let server = vault.serve();
    let wrong = [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=ten", "limit"),
        ("cursor=x", "cursor"),
        ("cursor=AAAA", "cursor"),
        ("from=yesterday", "from"),
        ("to=2026-13-01", "to"),
        ("class=cdr", "class"),
        ("state=playing", "state"),
        ("colour=red", "class, from, to"),
    ];

    for (query, named) in wrong {
        let document = server.see(&format!("/v1/recordings?{query}")).problem(422, "unprocessable");
        assert!(document["detail"].as_str().is_some_and(|detail| detail.contains(named)), "{query}: {document}");
    }
}

fn upload(server: &Server, name: &str, described: &[(&str, &str)]) -> String {
    let ask = described
        .iter()
        .fold(server.put(name, b"audio"), |ask, (field, value)| ask.header(&format!("Callvault-{field}"), value));
    // Times are kept to the millisecond, and filters compare them.
    std::thread::sleep(std::time::Duration::from_millis(2));
    ask.send().id(201)
}

fn ids(recordings: &Value) -> Vec<String> {
    recordings.as_array().expect("recordings").iter().map(id_of).collect()
}
