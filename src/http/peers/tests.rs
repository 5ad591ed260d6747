//! What one server tells another is believed as it was told, and in no other form.

use std::net::IpAddr;

use hyper::Request;
use hyper::http::request::Parts;

use super::{ElsewherePlayback, PEER, Peers};
use crate::crypto::keys::MasterKey;
use crate::model::Timestamp;

fn peers(name: &str, key: u8) -> Peers {
    Peers {
        name: name.parse().expect("a name"),
        key: MasterKey::take(&mut [key; 32]).peer_key(),
        playback: ElsewherePlayback::Proxy,
        is_one_of_many: true,
    }
}

fn head(method: &str, address: &str) -> Parts {
    Request::builder().method(method).uri(address).body(()).expect("a request").into_parts().0
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).expect("an instant")
}

fn client() -> IpAddr {
    "192.0.2.7".parse().expect("an address")
}

#[test]
fn a_client_that_another_server_tells_of_is_believed_and_every_change_is_refused() {
    let (one, two) = (peers("vault-1", 7), peers("vault-2", 7));
    let mut parts = head("GET", "/v1/recordings/x/audio?class=customer");
    let stamp = one.stamp(&parts, &two.name, at(0), Some(client()));
    parts.headers.insert(PEER, stamp.clone());

    assert_eq!(two.passed_on_for(&parts, at(200)).expect("it is ours"), Some(Some(client())));

    assert!(one.passed_on_for(&parts, at(0)).is_err(), "it was told to another server");
    assert!(peers("vault-2", 8).passed_on_for(&parts, at(0)).is_err(), "another vault has another key");
    assert!(two.passed_on_for(&parts, at(301)).is_err(), "it is too old");
    assert!(two.passed_on_for(&parts, at(-301)).is_err(), "it is of a time to come");
    for (method, address) in [("DELETE", "/v1/recordings/x/audio?class=customer"), ("GET", "/v1/recordings/x/audio")] {
        let mut other = head(method, address);
        other.headers.insert(PEER, stamp.clone());
        assert!(two.passed_on_for(&other, at(0)).is_err(), "it is about another request");
    }
    for (wrong, right) in [("192.0.2.8", "192.0.2.7"), ("vault-3", "vault-1"), ("1800000001", "1800000000")] {
        let text = stamp.to_str().expect("ASCII").replace(right, wrong);
        parts.headers.insert(PEER, text.parse().expect("a value"));
        assert!(two.passed_on_for(&parts, at(0)).is_err(), "{wrong} was written by nobody");
    }
}

#[test]
fn a_stamp_of_no_time_at_all_is_refused() {
    let two = peers("vault-2", 7);
    let mut parts = head("GET", "/");
    for second in [i64::MIN, i64::MAX] {
        let text = format!("vault-1 {second} - {}", "00".repeat(32));
        parts.headers.insert(PEER, text.parse().expect("a value"));

        assert!(two.passed_on_for(&parts, at(0)).is_err(), "{second}");
    }
}

#[test]
fn a_request_that_nobody_passed_on_has_no_client_but_its_own() {
    assert!(peers("vault-1", 7).passed_on_for(&head("GET", "/"), at(0)).expect("there is nothing to refuse").is_none());
}
