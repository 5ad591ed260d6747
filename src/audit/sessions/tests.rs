//! Sessions over a real catalog.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::catalog::sqlite::Sqlite;
use crate::catalog::{SharedCatalog, TrailRow};
use crate::model::clock::SystemClock;

const TENANT: TenantNumber = TenantNumber(1);

struct Vault {
    catalog: SharedCatalog,
    sessions: Sessions,
    _dir: tempfile::TempDir,
}

fn vault(idle: Duration, write_every: Duration) -> Vault {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let catalog: SharedCatalog = Arc::new(Sqlite::open(&dir.path().join("catalog.db")).expect("the folder is ours"));
    let trail = Trail { catalog: catalog.clone(), clock: Arc::new(SystemClock) };
    Vault { catalog, sessions: Sessions::new(trail, SessionLimits { idle, write_every }), _dir: dir }
}

const LONG: Duration = Duration::from_secs(3_600);

fn listening(uid: u32) -> Listening {
    let who = Arc::new(Who::operator(uid));
    let recording = RecordingId::from_bytes([7; 16]);
    Listening { tenant: TENANT, who, recording, class: Class::Customer, reason: Some("complaint".into()) }
}

impl Vault {
    async fn rows(&self) -> Vec<TrailRow> {
        self.catalog.trail_after(TENANT, 0, 1_000).await.expect("it answers")
    }

    async fn actions(&self) -> Vec<String> {
        self.rows().await.into_iter().map(|row| row.action).collect()
    }
}

#[tokio::test]
async fn a_dozen_connections_of_a_player_are_one_session_with_merged_ranges() {
    let vault = vault(Duration::ZERO, LONG);
    let requests = (0..12).map(|_| vault.sessions.begin(listening(1)));
    let playing = futures::future::try_join_all(requests).await.expect("there is room");
    assert_eq!(vault.actions().await, ["play"]);

    for (number, playing) in playing.iter().enumerate() {
        playing.serves(number as u64 * 100, 100);
    }
    playing[0].serves(5_000, 10);
    vault.sessions.tend().await;
    assert_eq!(vault.actions().await, ["play"], "it goes on");
    drop(playing);
    vault.sessions.tend().await;

    let rows = vault.rows().await;
    assert_eq!(rows.len(), 2);
    assert!(rows[0].text.contains("\"reason\":\"complaint\""), "{}", rows[0].text);
    assert!(rows[1].text.contains("\"play\":1,\"ranges\":[[0,1199],[5000,5009]]"), "{}", rows[1].text);
    assert_eq!(vault.sessions.count(), 0);
}

#[tokio::test]
async fn another_listener_or_reason_is_a_session_of_its_own() {
    let vault = vault(LONG, LONG);
    let _first = vault.sessions.begin(listening(1)).await.expect("there is room");
    let _second = vault.sessions.begin(listening(2)).await.expect("there is room");
    let other = Listening { reason: None, ..listening(1) };
    let _third = vault.sessions.begin(other).await.expect("there is room");

    assert_eq!(vault.actions().await, ["play"; 3]);
}

#[tokio::test]
async fn a_long_session_is_written_while_it_lasts_and_at_the_end() {
    let vault = vault(LONG, Duration::ZERO);
    let playing = vault.sessions.begin(listening(1)).await.expect("there is room");
    playing.serves(0, 10);
    vault.sessions.tend().await;
    vault.sessions.tend().await;
    playing.serves(10, 10);
    playing.serves(20, 0);
    vault.sessions.end().await;

    let rows = vault.rows().await;
    assert_eq!(vault.actions().await, ["play", "played", "played"]);
    assert!(rows[1].text.contains("[[0,9]]") && rows[2].text.contains("[[10,19]]"));
}

#[tokio::test]
async fn a_seeker_of_single_bytes_fills_entries_and_no_memory() {
    let vault = vault(LONG, LONG);
    for number in 0..600 {
        let playing = vault.sessions.begin(listening(1)).await.expect("there is room");
        playing.serves(number * 2, 1);
        assert!(vault.sessions.all()[0].1.lock().spans.len() <= SPANS_WAITING_MAX);
    }
    vault.sessions.end().await;

    let rows = vault.rows().await;
    let ranges = rows.iter().map(|row| row.text.matches("],[").count() + 1);
    assert!(ranges.clone().all(|count| count <= RANGES_MAX) && rows.len() > 600 / RANGES_MAX);
    assert_eq!(
        rows.iter().filter(|row| row.action == "played").map(|row| row.text.matches('[').count() - 1).sum::<usize>(),
        600
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn sessions_that_are_tended_while_they_are_joined_lose_no_byte() {
    let vault = vault(Duration::ZERO, Duration::ZERO);
    let is_over = AtomicBool::new(false);
    let tending = async {
        while !is_over.load(Ordering::Relaxed) {
            vault.sessions.tend().await;
            tokio::task::yield_now().await;
        }
    };
    let playing = async {
        for number in 0..200 {
            let playing = vault.sessions.begin(listening(1)).await.expect("there is room");
            playing.serves(number, 1);
            drop(playing);
            tokio::task::yield_now().await;
        }
        is_over.store(true, Ordering::Relaxed);
    };
    futures::join!(tending, playing);
    vault.sessions.tend().await;

    let mut served = Spans::default();
    for row in vault.rows().await {
        let entry: serde_json::Value = serde_json::from_str(&row.text).expect("JSON");
        for range in entry["ranges"].as_array().into_iter().flatten() {
            served.add(range[0].as_u64().expect("a number"), range[1].as_u64().expect("a number"));
        }
    }
    assert_eq!(served.into_ranges(), [(0, 199)]);
}
