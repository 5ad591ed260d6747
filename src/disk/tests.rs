//! Syncs that are shared: who is served by which, and who is told of a failure.

use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::JoinHandle;

use super::*;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Own,
    All,
}

/// A sync that began, and ends when the test says so.
struct Begun {
    kind: Kind,
    ends: mpsc::Sender<io::Result<()>>,
}

impl Begun {
    fn end(self) {
        self.ends.send(Ok(())).expect("it waits");
    }

    fn fail(self) {
        self.ends.send(Err(io::ErrorKind::StorageFull.into())).expect("it waits");
    }
}

/// A disk whose syncs the test holds.
struct Held {
    disk: Disk,
    begun: UnboundedReceiver<Begun>,
    dir: tempfile::TempDir,
}

impl Held {
    fn new() -> Held {
        let dir = tempfile::tempdir().expect("a directory");
        let (tell, begun) = unbounded_channel();
        let hold = move |kind| {
            let (ends, end) = mpsc::channel();
            tell.send(Begun { kind, ends }).expect("the test listens");
            end.recv().expect("the test says how it ends")
        };
        let hold_own = hold.clone();
        let syncs = Syncs { own: Box::new(move |_| hold_own(Kind::Own)), all: Some(Box::new(move || hold(Kind::All))) };
        Held { disk: Disk::with(device_of(dir.path()), syncs), begun, dir }
    }

    /// One that has come when this returns.
    async fn waiter(&self, since: Option<Mark>) -> JoinHandle<io::Result<()>> {
        let (disk, paths) = (self.disk.clone(), vec![self.dir.path().to_owned()]);
        let waiter = tokio::spawn(async move { disk.sync(paths, since).await });
        tokio::task::yield_now().await;
        waiter
    }

    async fn waiters(&self, count: usize) -> Vec<JoinHandle<io::Result<()>>> {
        let mut waiters = Vec::new();
        for _ in 0..count {
            waiters.push(self.waiter(Some(self.disk.mark())).await);
        }
        waiters
    }

    async fn next(&mut self) -> Begun {
        tokio::time::timeout(Duration::from_secs(10), self.begun.recv()).await.expect("a sync begins").expect("a sync")
    }

    /// A round that is under way: whoever comes now waits for the next.
    async fn busy(&mut self) -> Begun {
        while self.disk.0.lock().is_serving {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let (mut own, waiters) = (Vec::new(), self.waiters(ROUND_MIN).await);
        for _ in &waiters {
            own.push(self.next().await);
        }
        assert!(own.iter().all(|begun| begun.kind == Kind::Own), "there were few");
        let joined = self.waiters(ROUND_MIN).await;
        own.into_iter().for_each(Begun::end);
        all_ok(waiters).await;
        let round = self.next().await;
        assert_eq!(round.kind, Kind::All);
        drop(joined);
        round
    }
}

fn device_of(dir: &Path) -> u64 {
    std::fs::metadata(dir).expect("a directory").dev()
}

async fn all_ok(waiters: Vec<JoinHandle<io::Result<()>>>) {
    for waiter in waiters {
        waiter.await.expect("it ends").expect("synced");
    }
}

#[tokio::test]
async fn waiters_that_come_while_a_sync_runs_are_served_by_the_next_and_not_by_it() {
    let mut held = Held::new();
    let running = held.busy().await;
    let waiters = held.waiters(ROUND_MIN).await;

    running.end();
    let next = held.next().await;

    assert_eq!(next.kind, Kind::All);
    assert!(waiters.iter().all(|waiter| !waiter.is_finished()), "the sync that ended had begun before them");
    next.end();
    all_ok(waiters).await;
    assert!(held.begun.try_recv().is_err(), "no more was synced than was asked for");
}

#[tokio::test]
async fn an_error_reaches_all_of_its_round_and_none_of_the_next() {
    let mut held = Held::new();
    let running = held.busy().await;
    let failing = held.waiters(ROUND_MIN).await;
    running.end();
    let round = held.next().await;
    let earlier = held.disk.mark();
    round.fail();
    for waiter in failing {
        let error = waiter.await.expect("it ends").expect_err("its round failed");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }

    let running = held.busy().await;
    let next = held.waiters(ROUND_MIN).await;
    let had_written_before = held.waiter(Some(earlier)).await;
    running.end();

    let round = held.next().await;
    assert_eq!(round.kind, Kind::All);
    round.end();
    all_ok(next).await;
    // The failure may have been of what he wrote, and was told to others: his own files are asked.
    let own = held.next().await;
    assert_eq!(own.kind, Kind::Own);
    own.fail();
    assert!(had_written_before.await.expect("it ends").is_err());
}

#[tokio::test]
async fn waiters_that_are_dropped_harm_nobody_and_cost_nothing() {
    let mut held = Held::new();
    let running = held.busy().await;
    let (dropped, kept) = (held.waiters(ROUND_MIN).await, held.waiters(1).await);
    for waiter in dropped {
        waiter.abort();
        assert!(waiter.await.expect_err("it was dropped").is_cancelled());
    }

    running.end();

    let own = held.next().await;
    assert_eq!(own.kind, Kind::Own, "one is left");
    own.end();
    all_ok(kept).await;
}

#[tokio::test]
async fn what_lies_elsewhere_or_was_written_nobody_knows_when_is_synced_by_itself() {
    let mut held = Held::new();
    let running = held.busy().await;
    let disk = held.disk.clone();

    let unknown = held.waiter(None).await;
    held.next().await.end();
    let elsewhere = tokio::spawn(async move { disk.sync(vec!["/proc".into()], Some(disk.mark())).await });
    let own = held.next().await;

    assert_eq!(own.kind, Kind::Own);
    own.end();
    all_ok(vec![unknown, elsewhere]).await;
    running.end();
}

#[tokio::test]
async fn a_thousand_waiters_cost_few_syncs() {
    let dir = tempfile::tempdir().expect("a directory");
    let counts = Arc::new([AtomicUsize::new(0), AtomicUsize::new(0)]);
    let counting = |kind: Kind| {
        let counts = counts.clone();
        move || {
            counts[kind as usize].fetch_add(1, Relaxed);
            std::thread::sleep(Duration::from_millis(20));
            Ok(())
        }
    };
    let own = counting(Kind::Own);
    let syncs = Syncs { own: Box::new(move |_| own()), all: Some(Box::new(counting(Kind::All))) };
    let disk = Disk::with(device_of(dir.path()), syncs);

    let waiting = (0..1_000).map(|_| disk.sync(vec![dir.path().to_owned()], Some(disk.mark())));
    let synced = futures::future::join_all(waiting).await;

    assert!(synced.iter().all(|synced| synced.is_ok()));
    let [own, all] = [Kind::Own, Kind::All].map(|kind| counts[kind as usize].load(Relaxed));
    assert!(own <= 2 * ROUND_MIN && all <= 10, "{own} by themselves, {all} of the file system");
}

#[tokio::test]
async fn a_round_that_panics_leaves_nobody_waiting() {
    let dir = tempfile::tempdir().expect("a directory");
    let slow = |_: &[PathBuf]| {
        std::thread::sleep(Duration::from_millis(50));
        Ok(())
    };
    let disk =
        Disk::with(device_of(dir.path()), Syncs { own: Box::new(slow), all: Some(Box::new(|| panic!("broken"))) });

    for _ in 0..2 {
        let waiting = (0..100).map(|_| disk.sync(vec![dir.path().to_owned()], Some(disk.mark())));
        let synced = futures::future::join_all(waiting).await;
        assert!(synced.iter().any(|synced| synced.is_err()));
    }
}

#[tokio::test]
async fn a_file_system_is_one_disk_for_all_who_ask_and_syncs_what_there_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let (spool, store) = (Disk::of(dir.path()).expect("a disk"), Disk::of(dir.path()).expect("a disk"));
    assert!(Arc::ptr_eq(&spool.0, &store.0));
    let since = spool.mark();
    std::fs::write(dir.path().join("written"), b"bytes").expect("written");

    for since in [Some(since), None] {
        spool.sync(vec![dir.path().join("written"), dir.path().to_owned()], since).await.expect("synced");
    }

    assert!(spool.sync(vec![dir.path().join("absent")], Some(since)).await.is_err());
}
