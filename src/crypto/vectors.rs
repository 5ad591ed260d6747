//! Holds this layer to `vectors/*.json`, which another implementation wrote (`vectors/generate.py`): the same inputs give
//! precisely those bytes, and every named defect is refused for the reason that stands beside it.

use std::collections::HashMap;
use std::fmt;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use bytes::BytesMut;
use serde::{Deserialize, Deserializer, de};
use sha2::{Digest, Sha256};

use super::blob::{open_blob, seal_with_nonce};
use super::header::Header;
use super::keys::*;
use super::receipt::{DigestOfTags, MerkleTree, Signer, chain_hash, verify_signature};
use super::ring::{self, Level, Ring, RingHead, read_generation, write_generation};
use super::stream::{Opener, Sealer};
use super::token::Token;
use super::trail::{entry_hash, genesis};
use super::tree::Tree;
use super::wrap::{Binding, unwrap, wrap_with_nonce};
use super::{CryptoError, labels};
use crate::model::{
    Class, Completeness, Day, Epoch, ObjectId, RecordingId, SubjectId, Tag, TenantNumber, TimePath, Timestamp, TreeId,
};

/// Bytes, written as hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
struct Hex(Vec<u8>);

impl Hex {
    fn array<const N: usize>(&self) -> [u8; N] {
        self.0[..].try_into().expect("the vector has this length")
    }

    fn u64(&self) -> u64 {
        u64::from_be_bytes(self.array())
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Hex, D::Error> {
        let text = String::deserialize(deserializer)?;
        let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).map(|p| u8::from_str_radix(p, 16)));
        let bytes: Result<Result<Vec<u8>, _>, _> = pairs.collect();
        bytes.map_err(de::Error::custom)?.map_err(de::Error::custom).map(Hex)
    }
}

fn hex(bytes: &[u8]) -> Hex {
    Hex(bytes.to_vec())
}

/// Most files: what must be made and opened, and what must be refused.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vectors<A, R> {
    accepted: Vec<A>,
    refused: Vec<R>,
}

fn read<T: de::DeserializeOwned>(json: &str) -> T {
    serde_json::from_str(json).expect("the file has the form that vectors/README.md states")
}

/// What a refusal must be, without its text.
#[derive(Deserialize, Debug, PartialEq, Eq, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum Refusal {
    Malformed,
    NotAuthentic,
}

fn refusal(error: CryptoError) -> Refusal {
    match error {
        CryptoError::Malformed(_) => Refusal::Malformed,
        CryptoError::NotAuthentic => Refusal::NotAuthentic,
        CryptoError::Punctured | CryptoError::UnknownTree => panic!("{error} does not refuse bytes"),
    }
}

// ------------------------------------------------------------------------------------------------------------- trees

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Removal {
    Advance(Hex),
    Puncture(Hex),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TreeVector {
    name: String,
    bits: u8,
    root: Hex,
    removals: Vec<Vec<Removal>>,
    cover: Hex,
    leaves: Vec<LeafVector>,
}

#[derive(Deserialize)]
struct LeafVector {
    path: Hex,
    leaf: Option<Hex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedCover {
    name: String,
    bits: u8,
    cover: Hex,
}

fn tree_after<const BITS: u8>(root: &Hex, removals: &[Removal]) -> Tree<BITS> {
    let mut tree = Tree::new(&mut root.array());
    for removal in removals {
        match removal {
            Removal::Advance(floor) => tree.advance(floor.u64()),
            Removal::Puncture(path) => drop(tree.puncture(path.u64())),
        }
    }
    tree
}

fn written<const BITS: u8>(tree: &Tree<BITS>) -> Hex {
    let mut bytes = Vec::new();
    tree.write(&mut bytes);
    Hex(bytes)
}

fn check_tree<const BITS: u8>(vector: &TreeVector) {
    for order in &vector.removals {
        let tree = tree_after::<BITS>(&vector.root, order);

        assert_eq!(written(&tree), vector.cover, "{}", vector.name);
    }
    let tree = Tree::<BITS>::read(&mut &vector.cover.0[..]).expect(&vector.name);
    assert_eq!(written(&tree), vector.cover, "{}", vector.name);
    for LeafVector { path, leaf } in &vector.leaves {
        let derived = tree.derive(path.u64()).map(|leaf| hex(&*leaf));

        assert_eq!(&derived, leaf, "{} at {path:?}", vector.name);
    }
}

#[test]
fn trees_of_the_vectors_have_their_covers_in_every_order_and_their_leaves() {
    let vectors: Vectors<TreeVector, RefusedCover> = read(include_str!("../../vectors/tree.json"));

    for vector in &vectors.accepted {
        match vector.bits {
            64 => check_tree::<64>(vector),
            32 => check_tree::<32>(vector),
            8 => check_tree::<8>(vector),
            bits => panic!("{}: a tree of {bits} bits", vector.name),
        }
    }
    for RefusedCover { name, bits, cover } in &vectors.refused {
        let read = match bits {
            64 => Tree::<64>::read(&mut &cover.0[..]).map(drop),
            32 => Tree::<32>::read(&mut &cover.0[..]).map(drop),
            bits => panic!("{name}: a tree of {bits} bits"),
        };
        assert_eq!(read.map_err(refusal), Err(Refusal::Malformed), "{name}");
    }
}

// -------------------------------------------------------------------------------------------------------------- keys

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    ring_keys: Vec<RingKeyVector>,
    keks: Vec<KekVector>,
    index_keys: Vec<IndexKeyVector>,
    name_keys: Vec<NameKeyVector>,
    label_keys: Vec<LabelKeyVector>,
    object_keys: Vec<ObjectKeyVector>,
    receipt_keys: Vec<ReceiptKeyVector>,
}

#[derive(Deserialize)]
struct RingKeyVector {
    name: String,
    master: Hex,
    secret: Option<Hex>,
    level: u8,
    generation: u64,
    key: Hex,
}

#[derive(Deserialize)]
struct KekVector {
    name: String,
    leaf: Hex,
    tenant_key: Hex,
    scope: ScopeVector,
    kek: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ScopeVector {
    class: String,
    tenant: u32,
    subject: Hex,
    tree: u16,
    epoch: u32,
    tag: u64,
}

impl ScopeVector {
    fn scope(&self) -> KekScope {
        let class = (1..=4).filter_map(Class::from_number).find(|class| class.as_str() == self.class);
        KekScope {
            class: class.expect("the vector names a class"),
            tenant: TenantNumber(self.tenant),
            subject: SubjectId(self.subject.array()),
            path: TimePath {
                tree: TreeId(self.tree),
                epoch: Epoch::new(self.epoch).expect("the vector has an epoch of 20 bits"),
                tag: Tag::new(self.tag).expect("the vector has a tag of 44 bits"),
            },
        }
    }
}

#[derive(Deserialize)]
struct IndexKeyVector {
    name: String,
    leaf: Hex,
    tenant_key: Hex,
    tenant: u32,
    day: u32,
    key: Hex,
    tokens: Vec<IndexTokenVector>,
}

#[derive(Deserialize)]
struct IndexTokenVector {
    field: u8,
    value: String,
    token: Hex,
}

#[derive(Deserialize)]
struct NameKeyVector {
    name: String,
    leaf: Hex,
    tenant_key: Hex,
    tenant: u32,
    window: u32,
    key: Hex,
    tokens: Vec<NameTokenVector>,
}

#[derive(Deserialize)]
struct NameTokenVector {
    value: String,
    token: Hex,
}

#[derive(Deserialize)]
struct LabelKeyVector {
    name: String,
    data_key: Hex,
    tenant: u32,
    recording: Hex,
    key: Hex,
}

#[derive(Deserialize)]
struct ObjectKeyVector {
    name: String,
    data_key: Hex,
    preamble: Hex,
    tenant: u32,
    recording: Hex,
    key: Hex,
    base_nonce: Hex,
    commitment: Hex,
}

#[derive(Deserialize)]
struct ReceiptKeyVector {
    name: String,
    master: Hex,
    seed: Hex,
    public_key: Hex,
}

fn secret_of(secret: &Option<Hex>) -> Option<GenerationSecret> {
    secret.as_ref().map(|secret| GenerationSecret::take(&mut secret.array()))
}

fn kek_of(leaf: &Hex, tenant_key: &Hex, scope: &ScopeVector) -> Kek {
    Kek::derive(Leaf::take(&mut leaf.array()), &TenantKey::take(&mut tenant_key.array()), &scope.scope())
}

fn keys() -> Keys {
    read(include_str!("../../vectors/keys.json"))
}

#[test]
fn every_rung_of_the_ladder_is_that_of_the_vectors() {
    for v in keys().ring_keys {
        let key = MasterKey::take(&mut v.master.array()).ring_key(secret_of(&v.secret).as_ref(), v.level, v.generation);
        assert_eq!(hex(key.expose()), v.key, "{}", v.name);
    }
    for v in keys().keks {
        assert_eq!(hex(kek_of(&v.leaf, &v.tenant_key, &v.scope).expose()), v.kek, "{}", v.name);
    }
    for v in keys().label_keys {
        let data_key = DataKey::take(&mut v.data_key.array());
        let key = data_key.label_key(TenantNumber(v.tenant), RecordingId::from_bytes(v.recording.array()));
        assert_eq!(hex(key.expose()), v.key, "{}", v.name);
    }
    for v in keys().receipt_keys {
        let master = MasterKey::take(&mut v.master.array());
        assert_eq!(hex(master.signing_seed().expose()), v.seed, "{}", v.name);
        assert_eq!(hex(&Signer::new(&master.signing_seed()).public_key()), v.public_key, "{}", v.name);
    }
}

#[test]
fn search_and_name_tokens_are_those_of_the_vectors() {
    let fields = [IndexField::ANumber, IndexField::BNumber, IndexField::CallId];
    for v in keys().index_keys {
        let (leaf, tenant_key) = (Leaf::take(&mut v.leaf.array()), TenantKey::take(&mut v.tenant_key.array()));
        let key = IndexKey::derive(leaf, &tenant_key, TenantNumber(v.tenant), Day(v.day));
        assert_eq!(hex(key.expose()), v.key, "{}", v.name);
        for t in v.tokens {
            let field = fields.into_iter().find(|field| *field as u8 == t.field).expect("a field of the index");
            assert_eq!(hex(&key.token(field, &t.value)), t.token, "{}: {}", v.name, t.value);
        }
    }
    for v in keys().name_keys {
        let (leaf, tenant_key) = (Leaf::take(&mut v.leaf.array()), TenantKey::take(&mut v.tenant_key.array()));
        let key = NameKey::derive(leaf, &tenant_key, TenantNumber(v.tenant), v.window);
        assert_eq!(hex(key.expose()), v.key, "{}", v.name);
        for t in v.tokens {
            assert_eq!(hex(&key.token(&t.value)), t.token, "{}: {}", v.name, t.value);
        }
    }
}

#[test]
fn an_object_key_is_that_of_the_vectors() {
    for v in keys().object_keys {
        let data_key = DataKey::take(&mut v.data_key.array());
        let recording = RecordingId::from_bytes(v.recording.array());

        let key = data_key.object_key(&v.preamble.array(), TenantNumber(v.tenant), recording);

        assert_eq!(hex(&key.base_nonce), v.base_nonce, "{}", v.name);
        assert_eq!(hex(&key.commitment), v.commitment, "{}", v.name);
        // The cipher does not give its key back; a text sealed under the vector's key opens under ours.
        let theirs = LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, &v.key.0).expect("32 bytes"));
        let nonce = || Nonce::assume_unique_for_key([0; 12]);
        let mut sealed = b"text".to_vec();
        theirs.seal_in_place_append_tag(nonce(), Aad::empty(), &mut sealed).expect("a short text");
        assert_eq!(key.cipher.cipher().open_in_place(nonce(), Aad::empty(), &mut sealed).expect(&v.name), b"text");
    }
}

// ------------------------------------------------------------------------------------------------------------- wraps

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WrapVector {
    name: String,
    leaf: Hex,
    tenant_key: Hex,
    scope: ScopeVector,
    binding: BindingVector,
    wrap: Hex,
    kek: Hex,
    nonce: Hex,
    data_key: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedWrap {
    name: String,
    leaf: Hex,
    tenant_key: Hex,
    scope: ScopeVector,
    binding: BindingVector,
    wrap: Hex,
    error: Refusal,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BindingVector {
    expires_at_s: i64,
    object: Hex,
    plain_len: Option<u64>,
    completeness: String,
}

impl BindingVector {
    fn binding(&self) -> Binding {
        Binding {
            expires_at: Timestamp::from_second(self.expires_at_s).expect("a valid instant"),
            object: ObjectId(self.object.array()),
            plain_len: self.plain_len,
            completeness: match &self.completeness[..] {
                "receiving" => Completeness::Receiving,
                "complete" => Completeness::Complete,
                "partial" => Completeness::Partial,
                other => panic!("no state of completeness: {other}"),
            },
        }
    }
}

#[test]
fn wraps_of_the_vectors_are_made_and_opened_and_every_defect_is_refused() {
    let vectors: Vectors<WrapVector, RefusedWrap> = read(include_str!("../../vectors/wrap.json"));

    for v in vectors.accepted {
        let kek = kek_of(&v.leaf, &v.tenant_key, &v.scope);
        assert_eq!(hex(kek.expose()), v.kek, "{}", v.name);
        let data_key = DataKey::take(&mut v.data_key.array());
        let made = wrap_with_nonce(&kek, &data_key, &v.binding.binding(), v.nonce.array());
        assert_eq!(hex(&made), v.wrap, "{}", v.name);
        let opened = unwrap(&kek, &v.wrap.0, &v.binding.binding()).expect(&v.name);
        assert_eq!(hex(opened.expose()), v.data_key, "{}", v.name);
    }
    for v in vectors.refused {
        let kek = kek_of(&v.leaf, &v.tenant_key, &v.scope);
        let opened = unwrap(&kek, &v.wrap.0, &v.binding.binding());
        assert_eq!(opened.map(drop).map_err(refusal), Err(v.error), "{}", v.name);
    }
}

// ------------------------------------------------------------------------------------------------------------- blobs

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlobVector {
    name: String,
    key: Hex,
    tenant: u32,
    subject: Hex,
    nonce: Hex,
    text: Hex,
    blob: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedBlob {
    name: String,
    key: Hex,
    tenant: u32,
    subject: Hex,
    blob: Hex,
    error: Refusal,
}

#[test]
fn blobs_of_the_vectors_are_made_and_opened_and_every_defect_is_refused() {
    let vectors: Vectors<BlobVector, RefusedBlob> = read(include_str!("../../vectors/blob.json"));

    for v in vectors.accepted {
        let (tenant, subject) = (TenantNumber(v.tenant), SubjectId(v.subject.array()));
        let key = DataKey::take(&mut v.key.array());
        let made = seal_with_nonce(&key, tenant, subject, &v.text.0, v.nonce.array());
        assert_eq!(Hex(made), v.blob, "{}", v.name);
        let opened = open_blob(&key, tenant, subject, &v.blob.0).expect(&v.name);
        assert_eq!(hex(&opened), v.text, "{}", v.name);
    }
    for v in vectors.refused {
        let key = DataKey::take(&mut v.key.array());
        let opened = open_blob(&key, TenantNumber(v.tenant), SubjectId(v.subject.array()), &v.blob.0);
        assert_eq!(opened.map(drop).map_err(refusal), Err(v.error), "{}", v.name);
    }
}

// ----------------------------------------------------------------------------------------------------------- objects

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ObjectVector {
    name: String,
    data_key: Hex,
    tenant: u32,
    recording: Hex,
    salt: Hex,
    chunk_log2: u8,
    plain_len: u64,
    header: Hex,
    sealed_len: u64,
    sealed: Option<Hex>,
    last_tag: Hex,
    sha256: Hex,
    digest: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedObject {
    name: String,
    data_key: Hex,
    tenant: u32,
    recording: Hex,
    parts: Vec<Part>,
    sha256: Hex,
    error: Refusal,
}

/// A piece of an object with a defect: bytes of a sound one, or bytes.
#[derive(Deserialize)]
#[serde(untagged)]
enum Part {
    Span { object: String, from: usize, to: usize },
    Bytes { bytes: Hex },
}

/// The generating rule of the plaintexts.
fn plain(len: u64) -> Vec<u8> {
    (0..len).map(|i| (i ^ i >> 8 ^ i >> 16) as u8).collect()
}

fn open_object(data_key: &DataKey, tenant: u32, recording: &Hex, object: &[u8]) -> Result<Vec<u8>, CryptoError> {
    let recording = RecordingId::from_bytes(recording.array());
    let header = &object[..object.len().min(72)];
    let opener = Opener::new(data_key, TenantNumber(tenant), recording, header, object.len() as u64)?;
    let mut plain = Vec::new();
    for index in 0..opener.geometry().chunk_count() {
        let span = opener.geometry().span(index, index);
        let mut chunk = BytesMut::from(&object[span.start as usize..span.end as usize]);
        opener.open_chunk(index, &mut chunk)?;
        plain.extend_from_slice(&chunk);
    }
    Ok(plain)
}

/// Seals the vector's object where it has chunks as we write them, and takes its bytes where it has not.
fn object_of(v: &ObjectVector, data_key: &DataKey) -> Vec<u8> {
    if v.chunk_log2 != super::header::CHUNK_LOG2 {
        return v.sealed.clone().expect("an object with other chunks is given in full").0;
    }
    let recording = RecordingId::from_bytes(v.recording.array());
    let mut sealer = Sealer::with_salt(data_key, TenantNumber(v.tenant), recording, v.salt.array());
    sealer.write(&plain(v.plain_len));
    let (object, sealed) = sealer.finish();
    assert_eq!((sealed.plain_len, sealed.sealed_len), (v.plain_len, v.sealed_len), "{}", v.name);
    assert_eq!(hex(&sealed.digest), v.digest, "{}", v.name);
    object.to_vec()
}

#[test]
fn objects_of_the_vectors_are_made_and_opened_and_every_defect_is_refused() {
    let vectors: Vectors<ObjectVector, RefusedObject> = read(include_str!("../../vectors/object.json"));
    let mut objects = HashMap::new();

    for v in vectors.accepted {
        let data_key = DataKey::take(&mut v.data_key.array());
        let object = object_of(&v, &data_key);
        assert_eq!(object.len() as u64, v.sealed_len, "{}", v.name);
        assert_eq!(hex(&object[..72]), v.header, "{}", v.name);
        assert_eq!(hex(&object[object.len() - 16..]), v.last_tag, "{}", v.name);
        assert!(v.sealed.is_none_or(|sealed| sealed.0 == object), "{}", v.name);
        assert_eq!(hex(&Sha256::digest(&object)), v.sha256, "{}", v.name);
        assert_eq!(hex(&DigestOfTags::of_object(&object).expect(&v.name)), v.digest, "{}", v.name);
        assert_eq!(Header::read(&object[..72]).expect(&v.name).write()[..], object[..72], "{}", v.name);
        let opened = open_object(&data_key, v.tenant, &v.recording, &object).expect(&v.name);
        assert!(opened == plain(v.plain_len), "{} opens to another plaintext", v.name);
        objects.insert(v.name, object);
    }
    for v in vectors.refused {
        let mut object = Vec::new();
        for part in v.parts {
            match part {
                Part::Span { object: name, from, to } => object.extend_from_slice(&objects[&name][from..to]),
                Part::Bytes { bytes } => object.extend_from_slice(&bytes.0),
            }
        }
        assert_eq!(hex(&Sha256::digest(&object)), v.sha256, "{} is not what it was meant to be", v.name);
        let opened = open_object(&DataKey::take(&mut v.data_key.array()), v.tenant, &v.recording, &object);
        assert_eq!(opened.map(drop).map_err(refusal), Err(v.error), "{}", v.name);
    }
}

// ------------------------------------------------------------------------------------------------------------- rings

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RingVector {
    name: String,
    master: Hex,
    secret: Option<Hex>,
    level: u8,
    generation: u64,
    created_at_s: u64,
    nonce: Hex,
    id: Hex,
    floor: u32,
    trees: Vec<TimeTreeVector>,
    tenants: TenantTreeVector,
    plain: Hex,
    file: Hex,
    commitment: Hex,
    leaves: Vec<RingLeafVector>,
    tenant_keys: Vec<TenantKeyVector>,
}

#[derive(Deserialize)]
struct TimeTreeVector {
    id: u16,
    created_at_s: u64,
    root: Hex,
    removals: Vec<Removal>,
}

#[derive(Deserialize)]
struct TenantTreeVector {
    root: Hex,
    removals: Vec<Removal>,
}

#[derive(Deserialize)]
struct RingLeafVector {
    tree: u16,
    path: Hex,
    leaf: Option<Hex>,
}

#[derive(Deserialize)]
struct TenantKeyVector {
    tenant: u32,
    key: Option<Hex>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedRing {
    name: String,
    master: Hex,
    secret: Option<Hex>,
    file: Hex,
    error: Refusal,
}

/// The plaintext of a ring, put together from trees that were grown from their roots.
fn ring_plain(v: &RingVector) -> Hex {
    let mut plain = v.id.0.clone();
    plain.extend_from_slice(&v.floor.to_be_bytes());
    plain.extend_from_slice(&(v.trees.len() as u16).to_be_bytes());
    for tree in &v.trees {
        plain.extend_from_slice(&tree.id.to_be_bytes());
        plain.extend_from_slice(&tree.created_at_s.to_be_bytes());
        tree_after::<64>(&tree.root, &tree.removals).write(&mut plain);
    }
    tree_after::<32>(&v.tenants.root, &v.tenants.removals).write(&mut plain);
    Hex(plain)
}

fn check_ring_keys(v: &RingVector, ring: &Ring) {
    for RingLeafVector { tree, path, leaf } in &v.leaves {
        let bits = path.u64();
        let epoch = Epoch::new((bits >> 44) as u32).expect("20 bits");
        let path = TimePath { tree: TreeId(*tree), epoch, tag: Tag::new(bits & Tag::INDEX.number()).expect("44 bits") };
        assert_eq!(path.bits(), bits);
        let derived = ring.leaf(&path);
        assert_eq!(ring.is_alive(&path), leaf.is_some(), "{} at {bits:x}", v.name);
        match leaf {
            Some(leaf) => assert_eq!(&hex(derived.expect(&v.name).expose()), leaf, "{} at {bits:x}", v.name),
            None => assert_eq!(derived.map(drop), Err(CryptoError::Punctured), "{} at {bits:x}", v.name),
        }
    }
    for TenantKeyVector { tenant, key } in &v.tenant_keys {
        let derived = ring.tenant_key(TenantNumber(*tenant));
        match key {
            Some(key) => assert_eq!(&hex(derived.expect(&v.name).expose()), key, "{} tenant {tenant}", v.name),
            None => assert_eq!(derived.map(drop), Err(CryptoError::Punctured), "{} tenant {tenant}", v.name),
        }
    }
}

#[test]
fn rings_of_the_vectors_are_made_and_opened_and_every_defect_is_refused() {
    let vectors: Vectors<RingVector, RefusedRing> = read(include_str!("../../vectors/ring.json"));

    for v in vectors.accepted {
        let (master, secret) = (MasterKey::take(&mut v.master.array()), secret_of(&v.secret));
        let level = Level::from_number(v.level).expect("a level");
        let head = RingHead { level, generation: v.generation, created_at_s: v.created_at_s };
        assert_eq!(ring_plain(&v), v.plain, "{}", v.name);
        let ring = Ring::read_plain(&v.plain.0).expect(&v.name);
        assert_eq!(Hex(ring.seal_with_nonce(&head, &master, secret.as_ref(), v.nonce.array())), v.file, "{}", v.name);
        let (read_head, ring) = Ring::open(&v.file.0, &master, secret.as_ref()).expect(&v.name);
        assert_eq!(read_head, head, "{}", v.name);
        assert_eq!((hex(ring.id()), ring.floor().number()), (v.id.clone(), v.floor), "{}", v.name);
        assert_eq!(hex(&ring::commitment(&v.file.0)), v.commitment, "{}", v.name);
        check_ring_keys(&v, &ring);
    }
    for v in vectors.refused {
        let opened = Ring::open(&v.file.0, &MasterKey::take(&mut v.master.array()), secret_of(&v.secret).as_ref());
        assert_eq!(opened.map(drop).map_err(refusal), Err(v.error), "{}", v.name);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct GenerationVector {
    name: String,
    generation: u64,
    secret: Hex,
    file: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedGeneration {
    name: String,
    file: Hex,
}

#[test]
fn generation_files_of_the_vectors_are_made_and_read_and_every_defect_is_refused() {
    let vectors: Vectors<GenerationVector, RefusedGeneration> = read(include_str!("../../vectors/generation.json"));

    for v in vectors.accepted {
        let made = write_generation(v.generation, &GenerationSecret::take(&mut v.secret.array()));
        assert_eq!(hex(&*made), v.file, "{}", v.name);
        let (generation, secret) = read_generation(&v.file.0).expect(&v.name);
        assert_eq!((generation, hex(secret.expose())), (v.generation, v.secret), "{}", v.name);
    }
    for v in vectors.refused {
        let read = read_generation(&v.file.0).map(drop);
        assert_eq!(read.map_err(refusal), Err(Refusal::Malformed), "{}", v.name);
    }
}

// ----------------------------------------------------------------------------------------------- tokens and receipts

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenVector {
    name: String,
    secret: Hex,
    token: String,
    sha256: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedToken {
    name: String,
    token: String,
}

#[test]
fn tokens_of_the_vectors_are_made_and_parsed_and_every_defect_is_refused() {
    let vectors: Vectors<TokenVector, RefusedToken> = read(include_str!("../../vectors/token.json"));

    for v in vectors.accepted {
        assert_eq!(Token::from_secret(&v.secret.array()).reveal(), v.token, "{}", v.name);
        let token = Token::parse(&v.token).expect(&v.name);
        assert_eq!(hex(&token.hash().0), v.sha256, "{}", v.name);
    }
    for v in vectors.refused {
        assert!(Token::parse(&v.token).is_none(), "{}", v.name);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipts {
    merkle_roots: Vec<MerkleVector>,
    accepted: Vec<SignatureVector>,
    refused: Vec<RefusedSignature>,
}

#[derive(Deserialize)]
struct MerkleVector {
    leaves: Vec<Hex>,
    root: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureVector {
    name: String,
    seed: Hex,
    public_key: Hex,
    text: Hex,
    signature: Hex,
    chain_hash: Hex,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RefusedSignature {
    name: String,
    public_key: Hex,
    text: Hex,
    signature: Hex,
}

#[test]
fn receipts_of_the_vectors_are_signed_and_verified_and_every_defect_is_refused() {
    let vectors: Receipts = read(include_str!("../../vectors/receipt.json"));

    for v in vectors.merkle_roots {
        let mut tree = MerkleTree::default();
        v.leaves.iter().for_each(|leaf| tree.add(&leaf.0));
        assert_eq!(hex(&tree.root()), v.root, "{} leaves", v.leaves.len());
    }
    for v in vectors.accepted {
        let signer = Signer::new(&SigningSeed::take(&mut v.seed.array()));
        assert_eq!(hex(&signer.public_key()), v.public_key, "{}", v.name);
        assert_eq!(hex(&signer.sign(&v.text.0)), v.signature, "{}", v.name);
        assert!(verify_signature(&v.public_key.0, &v.text.0, &v.signature.0), "{}", v.name);
        assert_eq!(hex(&chain_hash(&v.text.0)), v.chain_hash, "{}", v.name);
    }
    for v in vectors.refused {
        assert!(!verify_signature(&v.public_key.0, &v.text.0, &v.signature.0), "{}", v.name);
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TrailVector {
    tenant: u32,
    genesis: Hex,
    entries: Vec<EntryVector>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EntryVector {
    seq: u64,
    text: String,
    hash: Hex,
    line: String,
}

#[test]
fn entries_of_the_vectors_are_chained_as_their_lines_say() {
    let vectors: Vec<TrailVector> = read(include_str!("../../vectors/audit.json"));

    for v in vectors {
        let tenant = TenantNumber(v.tenant);
        let mut previous = genesis(tenant);
        assert_eq!(hex(&previous), v.genesis);
        for entry in v.entries {
            previous = entry_hash(tenant, entry.seq, &previous, &entry.text);
            assert_eq!(hex(&previous), entry.hash, "tenant {}, entry {}", v.tenant, entry.seq);
            let (head, text) = entry.line.split_once(",\"entry\":").expect("a line has an entry");
            assert_eq!(text.strip_suffix('}'), Some(entry.text.as_str()));
            assert!(head.ends_with(&format!("\"seq\":{},\"hash\":\"{:?}\"", entry.seq, entry.hash)));
        }
    }
}

#[test]
fn labels_are_the_strings_that_stored_bytes_depend_on() {
    let all = [
        labels::GGM,
        labels::KEK,
        labels::WRAP,
        labels::OBJECT,
        labels::INDEX,
        labels::BLOB,
        labels::RING,
        labels::NAME,
        labels::LABEL,
        labels::RECEIPT,
        labels::TRAIL,
    ];
    let ends = ["ggm", "kek", "wrap", "object", "index", "blob", "ring", "name", "label", "receipt", "trail"];
    for (label, end) in all.into_iter().zip(ends) {
        assert_eq!(label, format!("callvault/v1/{end}").as_bytes());
    }
}
