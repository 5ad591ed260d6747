//! The clocks that `expire` asks: the machine's and the object store's. Keys die by the earliest, and by none where they differ.

use crate::support::s3::{Bucket, Date};
use crate::support::{Client, Vault, id_of, noise};

const DAY_S: i64 = 86_400;

/// A vault over S3 with one recording of 30 days; its id.
async fn stored(bucket: &Bucket) -> (Vault, String) {
    let vault = bucket.vault();
    let mut server = vault.serve();
    let id = id_of(&Client::new(&vault.token).upload(&server, "call", noise(1, 1_000)).await);
    server.stop();
    (vault, id)
}

fn generation(vault: &Vault) -> u64 {
    vault.ok(&["status"])["ring"]["generation"].as_u64().expect("a number")
}

async fn plays(vault: &Vault, id: &str) -> bool {
    let server = vault.serve();
    Client::new(&vault.token).fetch(&server.audio(id)).await.0 == 200
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_or_a_store_whose_clock_runs_ahead_destroys_nothing() {
    let bucket = Bucket::s3s().await;
    let (vault, id) = stored(&bucket).await;
    let before = generation(&vault);

    let (code, text) = vault.exit(&["expire"], Some("+31d"));
    assert!(code == 4 && text.contains("'system'") && text.contains("'object store'"), "{text}");
    bucket.say(Some(Date::Ahead(31 * DAY_S)));
    let (code, text) = vault.exit(&["expire"], None);
    assert!(code == 4 && text.contains("differ by"), "{text}");
    let (code, text) = vault.exit(&["expire", "--floor", "2090-01-01T00:00:00Z"], None);
    assert!(code == 4, "no word of a person makes two clocks agree: {text}");

    assert_eq!(generation(&vault), before);
    bucket.say(None);
    assert!(plays(&vault, &id).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_clocks_that_agree_destroy_more_than_48_hours_and_one_alone_does_not() {
    let bucket = Bucket::s3s().await;
    let (vault, _) = stored(&bucket).await;

    bucket.say(Some(Date::Unreadable));
    let (code, text) = vault.exit(&["expire"], Some("+31d"));
    assert!(code == 4 && text.contains("--floor"), "{text}");
    bucket.say(Some(Date::Ahead(31 * DAY_S + 200)));

    let report = vault.ok_at(&["expire"], Some("+31d"));

    assert_eq!(report["keys_destroyed"], 1, "{report}");
}
