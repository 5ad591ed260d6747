//! One face over local disk: what is put is there, whole or not at all.

use std::path::PathBuf;

use super::*;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().expect("a directory");
    let store = Store::open(&format!("file://{}", dir.path().join("objects").display()), &S3Settings::default())
        .expect("a directory");
    (dir, store)
}

async fn put(dir: &FilePath, store: &Store, object: ObjectId, bytes: &[u8]) {
    let path = spooled(dir, bytes);
    store.put(Parcel { object, path: &path, sealed_len: bytes.len() as u64 }).await.expect("it is put");
    std::fs::remove_file(path).expect("the object has a name of its own");
}

fn spooled(dir: &FilePath, bytes: &[u8]) -> PathBuf {
    let path = dir.join("segment");
    std::fs::write(&path, bytes).expect("written");
    path
}

#[tokio::test]
async fn a_spooled_file_becomes_an_object_without_a_copy_and_twice_is_once() {
    let (dir, store) = store();
    let (object, path) = (ObjectId([7; 16]), spooled(dir.path(), b"sealed"));

    for _ in 0..2 {
        store.put(Parcel { object, path: &path, sealed_len: 6 }).await.expect("it is put");
    }

    assert_eq!(store.object(object, 6).read(1..4).await.expect("it is there")[..], b"eal"[..]);
    assert_eq!(store.list().await.expect("listed"), vec![(object, 6)]);
    use std::os::unix::fs::MetadataExt;
    assert_eq!(std::fs::metadata(&path).expect("still there").nlink(), 2);
}

#[tokio::test]
async fn a_truncated_extended_or_missing_object_is_told_from_an_outage() {
    let (dir, store) = store();
    let object = ObjectId([7; 16]);
    put(dir.path(), &store, object, b"sealed bytes").await;
    let path = dir.path().join("objects/07").join(object.to_string());

    std::fs::write(&path, b"seal").expect("truncated");
    assert!(matches!(store.object(object, 12).read(0..2).await, Err(StoreError::WrongLength(4))));
    assert!(matches!(store.object(object, 12).read(8..12).await, Err(StoreError::WrongLength(4))));
    std::fs::write(&path, b"sealed bytes and more").expect("extended");
    assert!(matches!(store.object(object, 12).read(0..12).await, Err(StoreError::WrongLength(21))));
    std::fs::remove_file(&path).expect("removed");
    assert!(matches!(store.object(object, 12).read(0..12).await, Err(StoreError::Missing)));
}

#[tokio::test]
async fn deleting_what_is_not_there_counts_as_deleted() {
    let (dir, store) = store();
    let (there, absent) = (ObjectId([1; 16]), ObjectId([2; 16]));
    put(dir.path(), &store, there, b"sealed").await;

    let gone = store.delete(&[there, absent]).await.expect("both are gone");

    assert_eq!(gone, vec![there, absent]);
    assert!(store.list().await.expect("listed").is_empty());
}

#[test]
fn a_store_that_is_neither_a_directory_nor_a_bucket_is_refused_with_advice() {
    for url in ["http://x", "objects", "s3://", "gs://bucket"] {
        let error = Store::open(url, &S3Settings::default()).err().expect("it is refused").to_string();
        assert!(error.contains("file://") || error.contains("s3://"), "{error}");
    }
}
