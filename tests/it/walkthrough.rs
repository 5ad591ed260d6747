//! The promise as a whole: what goes in comes out, and when its term ends it is gone.

use crate::support::{Client, Vault, id_of, noise};

#[tokio::test]
async fn a_recording_goes_in_plays_back_and_dies() {
    let vault = Vault::new();
    let client = Client::new(&vault.token);
    let audio = noise(1, 100_000);
    let recording = {
        let server = vault.serve();
        let recording = client.upload(&server, "call.wav", audio.clone()).await;
        assert_eq!(client.fetch(&server.audio(&id_of(&recording))).await, (200, audio));
        recording
    };
    let id = id_of(&recording);

    let late = vault.serve_with(&[], Some("+31d"));
    assert_eq!(client.fetch(&late.audio(&id)).await.0, 410);
    drop(late);
    let received_at: jiff::Timestamp = recording["received_at"].as_str().and_then(|t| t.parse().ok()).expect("a time");
    let floor = (received_at + jiff::SignedDuration::from_hours(32 * 24)).to_string();
    let report = vault.ok_at(&["expire", "--floor", &floor], Some("+32d"));

    assert_eq!(report["keys_destroyed"], 1);
    let listed = vault.ok_at(&["recording", "list", "--state", "shredded"], Some("+32d"));
    assert_eq!(listed["recordings"][0]["id"], id.as_str());
}
