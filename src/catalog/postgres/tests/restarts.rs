//! A database that goes away: before a verb, in it, while its commit is under way, under load; and what leases do then.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;

/// A database in a cluster of the test's own, with every sync in its place.
fn alone() -> (Cluster, InDatabase) {
    let cluster = Cluster::durable();
    let database = InDatabase(cluster.empty());
    (cluster, database)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_when_the_database_crashes_under_load() {
    const TASKS: usize = 8;
    let (cluster, database) = alone();
    let (catalog, tenant) = inhabited(&database).await;
    let (is_over, count) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..TASKS {
        let (catalog, is_over, count) = (catalog.clone(), is_over.clone(), count.clone());
        tasks.spawn(async move {
            let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
            while !is_over.load(Ordering::Relaxed) {
                let new = recording(tenant, at(0));
                let last = finished(&new, State::Stored, Completeness::Complete);
                let id = new.id;
                match async {
                    catalog.begin(new).await?;
                    catalog.finish(last).await
                }
                .await
                {
                    Ok(()) => acknowledged.push(id),
                    Err(error) => refused.push((id, error)),
                }
                count.fetch_add(1, Ordering::Relaxed);
            }
            (acknowledged, refused)
        });
    }

    for round in 1..=3 {
        while count.load(Ordering::Relaxed) < round * 60 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::task::block_in_place(|| cluster.order("restart"));
    }
    is_over.store(true, Ordering::Relaxed);

    let mut stored = 0;
    for (acknowledged, refused) in tasks.join_all().await {
        for id in acknowledged {
            assert_eq!(found(&catalog, id).await.state, State::Stored);
            stored += 1;
        }
        // Seconds without a database are no reason to refuse: the verbs wait, or find out.
        assert!(refused.is_empty(), "{:?}", refused[0].1);
    }
    assert!(stored >= 180);
    let counts = catalog.counts().await.expect("it answers");
    assert_eq!(counts.recordings, [(State::Stored, stored)], "nothing was begun twice, nothing was lost");
}

/// What lies between a client and the database, and can swallow the answer to a commit.
async fn swallowing(server: &str) -> (String, Arc<AtomicBool>) {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let (login, address) = server.split_once('@').expect("a login and an address");
    let address = address.to_owned();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("{login}@{}", listener.local_addr().expect("it is bound"));
    let is_armed = Arc::new(AtomicBool::new(false));
    let armed = is_armed.clone();
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let database = tokio::net::TcpStream::connect(&address).await.expect("the database listens");
            let armed = armed.clone();
            tokio::spawn(async move {
                let ((mut from, mut to), (mut back, mut out)) = (client.into_split(), database.into_split());
                let upward = tokio::spawn(async move { tokio::io::copy(&mut from, &mut out).await });
                let mut buffer = vec![0; 65_536];
                while let Ok(len @ 1..) = back.read(&mut buffer).await {
                    // A command's end, as the protocol tells it.
                    if buffer[..len].windows(7).any(|bytes| bytes == b"COMMIT\0") && armed.swap(false, Ordering::SeqCst)
                    {
                        break;
                    }
                    if to.write_all(&buffer[..len]).await.is_err() {
                        break;
                    }
                }
                upward.abort();
            });
        }
    });
    (url, is_armed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_is_lost_is_found_to_have_taken_place() {
    let database = InDatabase::empty();
    let (server, name) = database.0.rsplit_once('/').expect("a database");
    let (proxy, is_armed) = swallowing(server).await;
    let behind = InDatabase(format!("{proxy}/{name}"));
    let (catalog, tenant) = inhabited(&behind).await;
    let new = recording(tenant, at(0));

    for verb in 0..2 {
        is_armed.store(true, Ordering::SeqCst);
        match verb {
            0 => catalog.begin(new.clone()).await.expect("it took place"),
            _ => catalog.finish(finished(&new, State::Stored, Completeness::Complete)).await.expect("it took place"),
        }
        assert!(!is_armed.load(Ordering::SeqCst), "the answer was swallowed");
    }

    assert_eq!(found(&catalog, new.id).await.state, State::Stored);
    let counts = catalog.counts().await.expect("it answers");
    assert_eq!(counts.recordings, [(State::Stored, 1)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_stays_away_is_unavailable_and_nothing_has_happened() {
    let (cluster, database) = alone();
    let (catalog, tenant) = inhabited(&database).await;
    let new = recording(tenant, at(0));
    tokio::task::block_in_place(|| cluster.order("stop"));

    let refused = catalog.begin(new.clone()).await;

    assert!(matches!(refused, Err(CatalogError::Unavailable(_))), "{refused:?}");
    tokio::task::block_in_place(|| cluster.order("start"));
    assert!(catalog.recording(None, new.id).await.expect("it answers again").is_none());
    catalog.begin(new).await.expect("it is as good as new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_living_server_is_entered_again_after_a_restart_of_the_database() {
    let (cluster, database) = alone();
    let (one, other) = (database.open(), database.open());
    let lease = one.enter_replica(&replica("vault-0"), None).await.expect("nobody has the name");
    one.set_replica_generation(&replica("vault-0"), 7, at(0)).await.expect("it answers");
    let expiry = one.lease_expiry().await.expect("it answers").expect("nobody holds it");

    tokio::task::block_in_place(|| cluster.order("restart"));

    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while other.replicas().await.expect("it answers").len() != 1 {
        assert!(std::time::Instant::now() < deadline, "it never came back");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(other.replicas().await.expect("it answers")[0].generation, 7);
    while other.lease_expiry().await.expect("it answers").is_some() {
        assert!(std::time::Instant::now() < deadline, "the lease never came back");
    }
    drop((lease, expiry));
    assert!(other.replicas().await.expect("it answers").is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_connection_dies_is_not_on_the_list() {
    let database = InDatabase::empty();
    let (one, other) = (database.postgres(), database.open());
    let slot = one.pool.write(|db| async move { replicas::slot(&db, &replica("vault-0")).await });
    slot.await.expect("nobody has the name");

    // The row alone is no sign of life.
    assert!(other.replicas().await.expect("it answers").is_empty());
    let _lease = other.enter_replica(&replica("vault-1"), None).await.expect("nobody has the name");
    assert_eq!(database.column("SELECT id FROM replica"), ["vault-1"], "the dead are taken off");
}
