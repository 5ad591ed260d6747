//! The promise as a whole: what goes in comes out, and when its term ends it is gone.

use crate::support::{Client, Vault, id_of, noise};

#[tokio::test]
async fn a_recording_goes_in_plays_back_and_dies() {
    let vault = Vault::new();
    let client = Client::new(&vault.token);
    let audio = noise(1, 100_000);
    let id = {
        let server = vault.serve();
        let id = id_of(&client.upload(&server, "call.wav", audio.clone()).await);
        assert_eq!(client.fetch(&server.audio(&id)).await, (200, audio));
        id
    };

    let late = vault.serve_with(&[], Some("+31d"));
    assert_eq!(client.fetch(&late.audio(&id)).await.0, 410);
    drop(late);
    let floor = (crate::support::held::now() + jiff::SignedDuration::from_hours(32 * 24)).to_string();
    let report = vault.ok_at(&["expire", "--floor", &floor], Some("+32d"));

    assert_eq!(report["keys_destroyed"], 1);
    let listed = vault.ok_at(&["recording", "list", "--state", "shredded"], Some("+32d"));
    assert_eq!(listed["recordings"][0]["id"], id.as_str());
}
