//! What keys and sealing cost: `cargo bench --bench crypto`.

use bytes::BytesMut;
use callvault::crypto::header::{CHUNK_LEN, Geometry, HEADER_LEN};
use callvault::crypto::keys::DataKey;
use callvault::crypto::random::random;
use callvault::crypto::stream::{Opener, Sealer};
use callvault::crypto::tree::Tree;
use callvault::model::{RecordingId, TenantNumber};
use divan::counter::BytesCount;
use divan::{Bencher, black_box};

const TENANT: TenantNumber = TenantNumber(1);

fn main() {
    divan::main();
}

fn recording() -> RecordingId {
    RecordingId::from_bytes([1; 16])
}

/// 1 MiB, written in frames of this length, as they come from a socket.
#[divan::bench(args = [160, 1_460, 4_096, 16_384, 65_536, 1_048_576])]
fn seal_by_frame_len(bencher: Bencher, frame_len: usize) {
    let (key, frame) = (DataKey::random(), vec![7; frame_len]);
    bencher.counter(BytesCount::new(1usize << 20)).bench(|| {
        let mut sealer = Sealer::new(&key, TENANT, recording());
        for _ in 0..(1 << 20) / frame_len {
            sealer.write(black_box(&frame));
            if sealer.sealed().len() >= 8 * CHUNK_LEN {
                sealer.clear_sealed();
            }
        }
        sealer.finish()
    });
}

/// A recording of this length, with its keys.
#[divan::bench(args = [1_000, 16_384, 1_440_000])]
fn seal_by_recording_len(bencher: Bencher, plain_len: usize) {
    let (key, plain) = (DataKey::random(), vec![7; plain_len]);
    bencher.counter(BytesCount::new(plain_len)).bench(|| {
        let mut sealer = Sealer::new(&key, TENANT, recording());
        sealer.write(black_box(&plain));
        sealer.finish()
    });
}

/// One chunk of this length; the last of an object is shorter than 16 KiB.
#[divan::bench(args = [1_000, 4_096, 16_384])]
fn open_by_chunk_len(bencher: Bencher, chunk_len: usize) {
    let key = DataKey::random();
    let mut sealer = Sealer::new(&key, TENANT, recording());
    sealer.write(&vec![7; chunk_len]);
    let (object, sealed) = sealer.finish();
    let opener =
        Opener::new(&key, TENANT, recording(), &object[..HEADER_LEN], sealed.sealed_len).expect("sealed above");
    let span = Geometry::of_plain(chunk_len as u64).span(0, 0);
    let chunk = BytesMut::from(&object[span.start as usize..span.end as usize]);
    bencher.counter(BytesCount::new(chunk_len)).with_inputs(|| chunk.clone()).bench_values(|mut chunk| {
        opener.open_chunk(0, &mut chunk).expect("sealed above");
        chunk
    });
}

/// One leaf from the root: 64 HMACs.
#[divan::bench]
fn tree_derive(bencher: Bencher) {
    let tree = Tree::<64>::new(&mut random());
    bencher.bench(|| tree.derive(black_box(0x1234_5678_9abc_def0)));
}

/// The floor moves on by an hour; below it, this many single paths were punctured.
#[divan::bench(args = [0, 100, 10_000])]
fn tree_advance(bencher: Bencher, punctures: u64) {
    bencher.with_inputs(|| punctured(punctures)).bench_values(|mut tree| {
        tree.advance(black_box(1 << 60));
        tree
    });
}

/// One more path dies, beside this many.
#[divan::bench(args = [0, 100, 10_000])]
fn tree_puncture(bencher: Bencher, punctures: u64) {
    bencher.with_inputs(|| punctured(punctures)).bench_values(|mut tree| {
        tree.puncture(black_box(0x7fff_0000_1234_5678));
        tree
    });
}

fn punctured(count: u64) -> Tree<64> {
    let mut tree = Tree::<64>::new(&mut [7; 32]);
    for path in 0..count {
        tree.puncture(path.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    }
    tree
}
