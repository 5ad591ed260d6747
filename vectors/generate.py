#!/usr/bin/env python3
"""Writes every vector in this folder: a second implementation of the bytes, which shares no code with the Rust one and calls none of it.
What DESIGN leaves open (name, label and receipt keys, the checksum of tokens) follows the documentation of the Rust files.

    pip install cryptography && python3 vectors/generate.py

It is deterministic: after a run, `git diff --exit-code vectors/` tells whether the vectors that are checked in are its own.
Where the Rust code walks a tree, this walks the definition: the cover is computed from the set of dead paths, whatever the order
in which they died.
"""

import hashlib
import hmac
import json
import os
import struct
import zlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HERE = os.path.dirname(os.path.abspath(__file__))

GGM = b"callvault/v1/ggm"
KEK = b"callvault/v1/kek"
WRAP = b"callvault/v1/wrap"
OBJECT = b"callvault/v1/object"
INDEX = b"callvault/v1/index"
BLOB = b"callvault/v1/blob"
RING = b"callvault/v1/ring"
NAME = b"callvault/v1/name"
LABEL = b"callvault/v1/label"
RECEIPT = b"callvault/v1/receipt"
TRAIL = b"callvault/v1/trail"

CLASSES = {"customer": 1, "training": 2, "cdr": 3, "finance": 4}
COMPLETENESS = {"receiving": 0, "complete": 1, "partial": 2}
TAG_BITS = 44
INDEX_TAG = 2**44 - 1


def u8(n):
    return struct.pack(">B", n)


def u16(n):
    return struct.pack(">H", n)


def u32(n):
    return struct.pack(">I", n)


def u64(n):
    return struct.pack(">Q", n)


def i64(n):
    return struct.pack(">q", n)


def fixed(what, length):
    """Bytes that look random and never change: the vectors hold them, nobody has to compute them again."""
    blocks = b"".join(hashlib.sha256(f"{what}/{block}".encode()).digest() for block in range(length // 32 + 1))
    return blocks[:length]


# ---------------------------------------------------------------------------------------------------------------- primitives


def mac(key, message):
    return hmac.new(key, message, hashlib.sha256).digest()


def hkdf_expand(prk, info, length):
    """RFC 5869 section 2.3."""
    out, block = b"", b""
    for counter in range(1, -(-length // 32) + 1):
        block = mac(prk, block + info + u8(counter))
        out += block
    return out[:length]


def hkdf(salt, ikm, info, length=32):
    """RFC 5869 sections 2.2 and 2.3."""
    return hkdf_expand(mac(salt, ikm), info, length)


def hchacha20(key, nonce16):
    """draft-irtf-cfrg-xchacha-03 section 2.2."""
    state = list(struct.unpack("<4I", b"expand 32-byte k")) + list(struct.unpack("<8I", key))
    state += list(struct.unpack("<4I", nonce16))

    def quarter(a, b, c, d):
        for target, other, xored, turn in ((a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)):
            state[target] = (state[target] + state[other]) & 0xFFFFFFFF
            mixed = state[xored] ^ state[target]
            state[xored] = ((mixed << turn) | (mixed >> (32 - turn))) & 0xFFFFFFFF

    for _ in range(10):
        for column in range(4):
            quarter(column, 4 + column, 8 + column, 12 + column)
        for diagonal in range(4):
            quarter(diagonal, 4 + (diagonal + 1) % 4, 8 + (diagonal + 2) % 4, 12 + (diagonal + 3) % 4)
    return struct.pack("<8I", *state[:4], *state[12:])


def xchacha_seal(key, nonce24, aad, plain):
    """draft-irtf-cfrg-xchacha-03 section 2.3."""
    return ChaCha20Poly1305(hchacha20(key, nonce24[:16])).encrypt(bytes(4) + nonce24[16:], plain, aad)


def check_primitives():
    """The published vectors of the two primitives that stand in this file."""
    prk = hkdf(bytes(range(13)), b"\x0b" * 22, bytes(range(0xF0, 0xFA)), 42)  # RFC 5869 A.1
    assert prk.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    sub = hchacha20(bytes(range(32)), bytes.fromhex("000000090000004a0000000031415927"))  # draft section 2.2.1
    assert sub.hex() == "82413b4227b27bfed30e42508a877d73a0f9e4d58a74a853c12ec41326d3ecdc"
    text = (
        b"Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it."
    )
    aad = bytes.fromhex("50515253c0c1c2c3c4c5c6c7")
    sealed = xchacha_seal(bytes(range(0x80, 0xA0)), bytes(range(0x40, 0x58)), aad, text)  # draft A.3.1
    assert sealed[-16:].hex() == "c0875924c1c7987947deafd8780acf49"


# --------------------------------------------------------------------------------------------------------------------- trees


def child(node, bit):
    return mac(node, GGM + u8(bit))


def node_at(root, bits, start, depth):
    node = root
    for level in range(depth):
        node = child(node, start >> (bits - 1 - level) & 1)
    return node


def leaf_at(root, bits, path):
    return node_at(root, bits, path, bits)


def live_subtrees(bits, removals):
    """The greatest subtrees without a dead path, ascending: from the definition, not by puncturing."""
    floor = max([n for kind, n in removals if kind == "advance"], default=0)
    dead = sorted({n for kind, n in removals if kind == "puncture"})
    found = []

    def visit(start, depth):
        end = start + 2 ** (bits - depth) - 1
        if end < floor:
            return
        if start >= floor and not any(start <= path <= end for path in dead):
            found.append((start, depth))
        elif depth < bits:
            visit(start, depth + 1)
            visit(start + 2 ** (bits - depth - 1), depth + 1)

    visit(0, 0)
    return found


def write_cover(subtrees):
    return u32(len(subtrees)) + b"".join(u64(start) + u8(depth) + node for start, depth, node in subtrees)


def cover(root, bits, removals):
    return write_cover([(s, d, node_at(root, bits, s, d)) for s, d in live_subtrees(bits, removals)])


def is_dead(path, removals):
    return any(path < n if kind == "advance" else path == n for kind, n in removals)


def path_of(epoch, tag):
    return epoch << TAG_BITS | tag


def show_removals(removals):
    return [{kind: u64(n).hex()} for kind, n in removals]


def show_tree(name, root, bits, removals, sampled, orders=None):
    samples = [
        {"path": u64(p).hex(), "leaf": None if is_dead(p, removals) else leaf_at(root, bits, p).hex()} for p in sampled
    ]
    return {
        "name": name,
        "bits": bits,
        "root": root.hex(),
        "removals": [show_removals(order) for order in ([removals] + (orders or []))],
        "cover": cover(root, bits, removals).hex(),
        "leaves": samples,
    }


def tree_vectors():
    root64, root32, root8 = fixed("root64", 32), fixed("root32", 32), fixed("root8", 32)
    top = 2**64 - 1
    epoch = path_of(20_000, 0)
    one, two, three = path_of(20_100, 7), path_of(20_100, 8), path_of(30_000, INDEX_TAG)
    mixed = [("puncture", one), ("advance", epoch), ("puncture", two), ("puncture", three)]
    eight = [("puncture", 3), ("puncture", 2), ("puncture", 200), ("advance", 17), ("puncture", 255), ("puncture", 17)]
    accepted = [
        show_tree("fresh", root64, 64, [], [0, 1, one, top]),
        show_tree("first_path_punctured", root64, 64, [("puncture", 0)], [0, 1, top]),
        show_tree("last_path_punctured", root64, 64, [("puncture", top)], [0, top - 1, top]),
        show_tree("advanced_to_an_epoch", root64, 64, [("advance", epoch)], [0, epoch - 1, epoch, one, top]),
        show_tree("advanced_to_half", root64, 64, [("advance", 2**63)], [2**63 - 1, 2**63, top]),
        show_tree("advanced_to_the_last_path", root64, 64, [("advance", top)], [0, top - 1, top]),
        show_tree(
            "advanced_twice", root64, 64, [("advance", epoch), ("advance", epoch + 2**50)], [epoch, epoch + 2**50, top],
            [[("advance", epoch + 2**50)], [("advance", epoch + 2**50), ("advance", epoch)]],
        ),
        show_tree(
            "mixed_removals_in_three_orders", root64, 64, mixed, [epoch - 1, epoch, one, two, three, three - 1],
            [list(reversed(mixed)), [mixed[1], mixed[3], mixed[0], mixed[2]]],
        ),
        show_tree("tenants_fresh", root32, 32, [], [0, 1, 2**32 - 1]),
        show_tree(
            "tenants_offboarded", root32, 32, [("puncture", 1), ("puncture", 2**32 - 1)], [0, 1, 2, 2**32 - 1],
            [[("puncture", 2**32 - 1), ("puncture", 1), ("puncture", 1)]],
        ),
        show_tree(
            "small_tree_in_two_orders", root8, 8, eight, list(range(256)), [sorted(eight, key=lambda r: r[1])]
        ),
        show_tree("nothing_alive", root8, 8, [("advance", 255), ("puncture", 255)], [0, 254, 255]),
    ]
    n = [fixed(f"node/{k}", 32) for k in range(4)]
    half = 2**63
    whole = write_cover([(0, 0, n[0])])
    pair = write_cover([(0, 2, n[0]), (half, 1, n[1])])
    refused = [
        ("count_cut_off", 64, whole[:3]),
        ("empty_input", 64, b""),
        ("last_node_cut_off", 64, pair[:-1]),
        ("count_larger_than_the_cover", 64, u32(3) + pair[4:]),
        ("count_of_2_pow_32_less_1", 64, u32(2**32 - 1) + pair[4:]),
        ("depth_65_of_64", 64, write_cover([(0, 65, n[0])])),
        ("depth_255", 64, write_cover([(0, 255, n[0])])),
        ("depth_33_of_32", 32, write_cover([(0, 33, n[0])])),
        ("root_does_not_start_at_0", 64, write_cover([(1, 0, n[0])])),
        ("start_inside_its_subtree", 64, write_cover([(half + 1, 1, n[0])])),
        ("start_beyond_the_tree", 32, write_cover([(2**32, 32, n[0])])),
        ("start_left_aligned_instead_of_right", 32, write_cover([(2**63, 1, n[0])])),
        ("subtrees_out_of_order", 64, write_cover([(half, 1, n[0]), (0, 2, n[1])])),
        ("subtree_twice", 64, write_cover([(0, 2, n[0]), (0, 2, n[0])])),
        ("subtree_inside_the_one_before", 64, write_cover([(0, 1, n[0]), (2**62, 2, n[1])])),
        ("subtree_and_its_first_child", 64, write_cover([(0, 1, n[0]), (0, 2, n[1])])),
        ("first_child_before_its_parent", 64, write_cover([(0, 2, n[0]), (0, 1, n[1])])),
        ("siblings_stand_for_their_parent", 64, write_cover([(0, 1, n[0]), (half, 1, n[1])])),
        ("sibling_leaves_stand_for_their_parent", 64, write_cover([(6, 64, n[0]), (7, 64, n[1])])),
    ]
    return {
        "accepted": accepted,
        "refused": [{"name": name, "bits": bits, "cover": data.hex()} for name, bits, data in refused],
    }


# ---------------------------------------------------------------------------------------------------------------------- keys


def kek_of(leaf, tenant_key, scope):
    info = u8(CLASSES[scope["class"]]) + u32(scope["tenant"]) + bytes.fromhex(scope["subject"])
    info += u16(scope["tree"]) + u32(scope["epoch"]) + u64(scope["tag"])
    return hkdf(KEK, leaf + tenant_key, info)


def ring_key_of(master, secret, level, generation):
    return hkdf(RING, master + (secret or b""), u8(level) + u64(generation))


def label_key_of(data_key, tenant, recording):
    return hkdf_expand(data_key, LABEL + u32(tenant) + recording, 32)


def object_secrets_of(data_key, preamble, tenant, recording):
    okm = hkdf_expand(data_key, OBJECT + preamble + u32(tenant) + recording, 76)
    return okm[:32], okm[32:44], okm[44:]


def seed_of(master):
    return hkdf(RECEIPT, master, b"")


def scope_of(klass="customer", tenant=7, subject="subject", tree=1, epoch=20_123, tag=0x0ABC_DEF0_1234):
    subject = fixed(subject, 16).hex()
    return {"class": klass, "tenant": tenant, "subject": subject, "tree": tree, "epoch": epoch, "tag": tag}


def key_vectors():
    master, secret = fixed("master", 32), fixed("secret", 32)
    leaf, tenant_key, data_key = fixed("leaf", 32), fixed("tenant key", 32), fixed("data key", 32)
    recording = fixed("recording", 16)
    ring_keys = [
        {
            "name": name,
            "master": master.hex(),
            "secret": s.hex() if s else None,
            "level": level,
            "generation": generation,
            "key": ring_key_of(master, s, level, generation).hex(),
        }
        for name, s, level, generation in [
            ("level_1", None, 1, 1),
            ("level_2", secret, 2, 1),
            ("level_2_next_generation", secret, 2, 2),
            ("level_3", secret, 3, 2**40),
        ]
    ]
    scopes = [
        ("customer", scope_of()),
        ("training", scope_of("training")),
        ("cdr", scope_of("cdr")),
        ("finance", scope_of("finance")),
        ("all_numbers_at_their_least", scope_of(tenant=0, tree=0, epoch=0, tag=0)),
        ("all_numbers_at_their_most", scope_of(tenant=2**32 - 1, tree=2**16 - 1, epoch=2**20 - 1, tag=INDEX_TAG)),
    ]
    keks = [
        {"name": n, "leaf": leaf.hex(), "tenant_key": tenant_key.hex(), "scope": s, "kek": kek_of(leaf, tenant_key, s).hex()}
        for n, s in scopes
    ]
    index = []
    for name, tenant, day in [("first_day", 1, 0), ("a_day", 7, 900), ("largest", 2**32 - 1, 43_690)]:
        key = hkdf(INDEX, leaf + tenant_key, u32(tenant) + u32(day))
        tokens = [
            {"field": field, "value": value, "token": mac(key, u8(field) + value.encode())[:16].hex()}
            for field, value in [(1, "+31201234567"), (2, "+31201234567"), (2, "101"), (3, "call-1@pbx.example"), (1, "")]
        ]
        index.append(
            {"name": name, "leaf": leaf.hex(), "tenant_key": tenant_key.hex(), "tenant": tenant, "day": day,
             "key": key.hex(), "tokens": tokens}
        )
    names = []
    for name, tenant, window in [("first_window", 1, 0), ("a_window", 7, 13)]:
        key = hkdf(NAME, leaf + tenant_key, u32(tenant) + u32(window))
        tokens = [
            {"value": value, "token": mac(key, value.encode())[:16].hex()}
            for value in ["in/2026/01/31/call-1.wav", "gesprek-\u00e9\u00e9n.wav", "x" * 512]
        ]
        names.append(
            {"name": name, "leaf": leaf.hex(), "tenant_key": tenant_key.hex(), "tenant": tenant, "window": window,
             "key": key.hex(), "tokens": tokens}
        )
    preamble = preamble_of(fixed("salt", 24))
    key, base, commitment = object_secrets_of(data_key, preamble, 7, recording)
    seed = seed_of(master)
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    return {
        "ring_keys": ring_keys,
        "keks": keks,
        "index_keys": index,
        "name_keys": names,
        "label_keys": [
            {"name": n, "data_key": data_key.hex(), "tenant": t, "recording": recording.hex(),
             "key": label_key_of(data_key, t, recording).hex()}
            for n, t in [("a_label", 7), ("another_tenant", 8)]
        ],
        "object_keys": [
            {"name": "an_object", "data_key": data_key.hex(), "preamble": preamble.hex(), "tenant": 7,
             "recording": recording.hex(), "key": key.hex(), "base_nonce": base.hex(), "commitment": commitment.hex()}
        ],
        "receipt_keys": [
            {"name": "a_master_key", "master": master.hex(), "seed": seed.hex(), "public_key": public.hex()}
        ],
    }


# --------------------------------------------------------------------------------------------------------------------- wraps


def wrap_aad(binding):
    plain_len = 2**64 - 1 if binding["plain_len"] is None else binding["plain_len"]
    return (
        WRAP + i64(binding["expires_at_s"]) + bytes.fromhex(binding["object"]) + u64(plain_len)
        + u8(COMPLETENESS[binding["completeness"]])
    )


def wrap_of(kek, nonce, binding, data_key):
    return nonce + xchacha_seal(kek, nonce, wrap_aad(binding), data_key)


def binding_of(expires_at_s=1_790_000_000, object_id=None, plain_len=160_000, completeness="complete"):
    object_id = fixed("object", 16).hex() if object_id is None else object_id
    return {"expires_at_s": expires_at_s, "object": object_id, "plain_len": plain_len, "completeness": completeness}


def wrap_vectors():
    leaf, tenant_key, data_key = fixed("leaf", 32), fixed("tenant key", 32), fixed("data key", 32)

    def vector(name, scope, binding, wrapped, extra, error=None):
        shown = {"name": name, "leaf": leaf.hex(), "tenant_key": tenant_key.hex(), "scope": scope, "binding": binding,
                 "wrap": wrapped.hex()}
        return shown | ({"error": error} if error else extra)

    accepted = []
    for name, scope, binding in [
        ("receiving", scope_of(), binding_of(plain_len=None, completeness="receiving")),
        ("complete", scope_of(), binding_of()),
        ("partial", scope_of(), binding_of(plain_len=16_384, completeness="partial")),
        ("training", scope_of("training"), binding_of(expires_at_s=1_780_000_000)),
        ("cdr_without_an_object", scope_of("cdr"), binding_of(object_id="00" * 16, plain_len=512)),
        ("expires_before_1970", scope_of(), binding_of(expires_at_s=-1, plain_len=0)),
    ]:
        nonce = fixed("wrap nonce/" + name, 24)
        wrapped = wrap_of(kek_of(leaf, tenant_key, scope), nonce, binding, data_key)
        extra = {"kek": kek_of(leaf, tenant_key, scope).hex(), "nonce": nonce.hex(), "data_key": data_key.hex()}
        accepted.append(vector(name, scope, binding, wrapped, extra))

    scope, binding, nonce = scope_of(), binding_of(), fixed("wrap nonce", 24)
    kek = kek_of(leaf, tenant_key, scope)
    good = wrap_of(kek, nonce, binding, data_key)
    edit = lambda at: good[:at] + u8(good[at] ^ 1) + good[at + 1:]
    bad_label = nonce + xchacha_seal(kek, nonce, BLOB + wrap_aad(binding)[17:], data_key)
    refused = [
        ("wrap_expires_at_edited", scope, binding_of(expires_at_s=1_790_000_001), good),
        ("wrap_object_swapped", scope, binding_of(object_id=fixed("another object", 16).hex()), good),
        ("wrap_object_removed", scope, binding_of(object_id="00" * 16), good),
        ("wrap_plain_len_edited", scope, binding_of(plain_len=159_999), good),
        ("wrap_plain_len_unknown", scope, binding_of(plain_len=None), good),
        ("wrap_partial_called_complete", scope, binding_of(),
         wrap_of(kek, nonce, binding_of(completeness="partial"), data_key)),
        ("wrap_complete_called_receiving", scope, binding_of(completeness="receiving"), good),
        ("wrap_class_edited", scope_of("training"), binding, good),
        ("wrap_tenant_edited", scope_of(tenant=8), binding, good),
        ("wrap_moved_to_another_recording", scope_of(subject="another subject"), binding, good),
        ("wrap_tree_edited", scope_of(tree=2), binding, good),
        ("wrap_epoch_edited", scope_of(epoch=20_124), binding, good),
        ("wrap_tag_of_the_path_edited", scope_of(tag=1), binding, good),
        ("wrap_nonce_edited", scope, binding, edit(0)),
        ("wrap_last_byte_of_the_nonce_edited", scope, binding, edit(23)),
        ("wrap_key_edited", scope, binding, edit(24)),
        ("wrap_authenticator_edited", scope, binding, edit(71)),
        ("wrap_sealed_without_associated_data", scope, binding, nonce + xchacha_seal(kek, nonce, b"", data_key)),
        ("wrap_sealed_under_the_label_of_blobs", scope, binding, bad_label),
    ]
    malformed = [
        ("wrap_empty", scope, binding, b""),
        ("wrap_last_byte_missing", scope, binding, good[:-1]),
        ("wrap_one_byte_longer", scope, binding, good + b"\0"),
        ("wrap_of_a_16_byte_key", scope, binding, wrap_of(kek, nonce, binding, data_key[:16])),
    ]
    return {
        "accepted": accepted,
        "refused": [vector(*v, {}, "not_authentic") for v in refused] + [vector(*v, {}, "malformed") for v in malformed],
    }


# --------------------------------------------------------------------------------------------------------------------- blobs


def padded(text):
    return text + b"\x80" + bytes(-(len(text) + 1) % 64)


def seal_blob(key, nonce, tenant, subject, plain, label=BLOB):
    return nonce + xchacha_seal(key, nonce, label + u32(tenant) + subject, plain)


def blob_vectors():
    key, subject, nonce = fixed("data key", 32), fixed("subject", 16), fixed("blob nonce", 24)
    label_key = label_key_of(key, 7, fixed("recording", 16))
    texts = [
        ("empty", key, b""),
        ("one_byte", key, b"x"),
        ("one_byte_less_than_a_block", key, b"x" * 63),
        ("one_block", key, b"x" * 64),
        ("ends_with_the_padding_mark", key, b"text\x80"),
        ("ends_with_zeros", key, b"text" + bytes(60)),
        ("call_data", key, b'{"call_id":"call-1","a_number":"+31201234567","duration_ms":61000}'),
        ("under_a_label_key", label_key, b'{"name":"call-1.wav","media_type":"audio/wav"}'),
    ]
    accepted = [
        {"name": n, "key": k.hex(), "tenant": 7, "subject": subject.hex(), "nonce": nonce.hex(), "text": t.hex(),
         "blob": seal_blob(k, nonce, 7, subject, padded(t)).hex()}
        for n, k, t in texts
    ]
    text = b"+31201234567"
    seal = lambda plain, **other: seal_blob(key, nonce, 7, subject, plain, **other)
    good = seal(padded(text))
    edit = lambda at: good[:at] + u8(good[at] ^ 1) + good[at + 1:]
    cases = [
        ("blob_of_another_tenant", "not_authentic", seal_blob(key, nonce, 8, subject, padded(text))),
        ("blob_of_another_subject", "not_authentic", seal_blob(key, nonce, 7, fixed("another subject", 16), padded(text))),
        ("blob_under_another_key", "not_authentic", seal_blob(fixed("another key", 32), nonce, 7, subject, padded(text))),
        ("blob_sealed_under_the_label_of_wraps", "not_authentic", seal(padded(text), label=WRAP)),
        ("blob_nonce_edited", "not_authentic", edit(0)),
        ("blob_text_edited", "not_authentic", edit(24)),
        ("blob_authenticator_edited", "not_authentic", edit(len(good) - 1)),
        ("blob_first_block_missing", "not_authentic",
         (lambda two: two[:24] + two[88:])(seal(padded(b"y" * 64)))),
        ("blob_empty", "malformed", b""),
        ("blob_last_byte_missing", "malformed", good[:-1]),
        ("blob_one_byte_longer", "malformed", good + b"\0"),
        ("blob_without_a_block", "malformed", seal(b"")),
        ("blob_not_padded", "malformed", seal(text)),
        ("blob_padded_to_32", "malformed", seal(text + b"\x80" + bytes(32 - 13))),
        ("blob_padding_mark_missing", "malformed", seal(text + bytes(52))),
        ("blob_all_zero", "malformed", seal(bytes(64))),
        ("blob_padding_not_zero", "malformed", seal(text + b"\x80" + bytes(50) + b"\1")),
        ("blob_padding_mark_of_another_value", "malformed", seal(text + b"\x81" + bytes(51))),
        ("blob_padded_by_a_block_too_many", "malformed", seal(padded(text) + bytes(64))),
    ]
    refused = [
        {"name": n, "key": key.hex(), "tenant": 7, "subject": subject.hex(), "blob": b.hex(), "error": e} for n, e, b in cases
    ]
    return {"accepted": accepted, "refused": refused}


# ------------------------------------------------------------------------------------------------------------------- objects


def preamble_of(salt, chunk_log2=14, magic=b"CVR1", version=1, suite=1, zeros=bytes(9)):
    return magic + u8(version) + u8(suite) + u8(chunk_log2) + zeros + salt


def plain_of(length):
    return bytes((i ^ i >> 8 ^ i >> 16) & 0xFF for i in range(length))


def chunk_nonce(base, index):
    return base[:4] + u64(int.from_bytes(base[4:], "big") ^ index)


def seal_object(data_key, tenant, recording, salt, plain, chunk_log2=14, **header):
    preamble = preamble_of(salt, chunk_log2, **header)
    key, base, commitment = object_secrets_of(data_key, preamble, tenant, recording)
    chunk_len = 2**chunk_log2
    sealed = preamble + commitment
    for index in range(len(plain) // chunk_len + 1):
        sealed += ChaCha20Poly1305(key).encrypt(
            chunk_nonce(base, index), plain[index * chunk_len:(index + 1) * chunk_len], b""
        )
    return sealed


def digest_of_tags(sealed, chunk_log2):
    step = 2**chunk_log2 + 16
    digest = hashlib.sha256(sealed[:72])
    for start in range(72, len(sealed), step):
        digest.update(sealed[start:start + step][-16:])
    return digest.digest()


HEX_LEN_MAX = 5000


def object_vectors():
    data_key, recording, other_recording = fixed("data key", 32), fixed("recording", 16), fixed("another recording", 16)
    objects, accepted = {}, []

    def add(name, length, salt="salt", key=data_key, tenant=7, rec=recording, chunk_log2=14):
        sealed = seal_object(key, tenant, rec, fixed(salt, 24), plain_of(length), chunk_log2)
        objects[name] = sealed
        accepted.append(
            {"name": name, "data_key": key.hex(), "tenant": tenant, "recording": rec.hex(), "salt": fixed(salt, 24).hex(),
             "chunk_log2": chunk_log2, "plain_len": length, "header": sealed[:72].hex(), "sealed_len": len(sealed),
             "sealed": sealed.hex() if len(sealed) <= HEX_LEN_MAX else None,
             "last_tag": sealed[-16:].hex(), "sha256": hashlib.sha256(sealed).hexdigest(),
             "digest": digest_of_tags(sealed, chunk_log2).hex()}
        )

    for name, length in [
        ("empty", 0), ("one_byte", 1), ("one_byte_less_than_a_chunk", 16_383), ("one_chunk", 16_384),
        ("one_byte_more_than_a_chunk", 16_385), ("two_chunks", 32_768), ("two_chunks_and_a_half", 40_960),
        ("chunk_index_of_two_bytes", 257 * 16_384 + 5),
    ]:
        add(name, length)
    add("second_segment_of_one_recording", 40_960, salt="another salt")
    add("another_recording_under_one_data_key", 40_960, rec=other_recording)
    add("another_data_key", 40_960, key=fixed("another data key", 32))
    add("smallest_chunks", 4_096 + 100, chunk_log2=12)
    add("largest_chunks", 5, chunk_log2=20)

    big, step = "two_chunks_and_a_half", 16_400
    end = len(objects[big])

    def span(start, stop, name=big):
        return {"object": name, "from": start, "to": stop}

    def put(data):
        return {"bytes": data.hex()}

    def chunk(index, name=big):
        return span(72 + index * step, min(72 + (index + 1) * step, len(objects[name])), name)

    def edited(at, data, name=big):
        return [span(0, at, name), put(data), span(at + len(data), len(objects[name]), name)]

    def flipped(at, name=big):
        return edited(at, u8(objects[name][at] ^ 1), name)

    def made(**header):
        """A header with a defect whose commitment is right all the same: made by a writer, not by an editor."""
        sealed = seal_object(data_key, 7, recording, fixed("salt", 24), b"", **header)
        return [put(sealed)]

    whole = [span(0, end)]
    spanning = span(0, 72)
    refused = [
        ("header_magic_of_a_ring", "malformed", edited(0, b"CVK1")),
        ("header_version_0", "malformed", edited(4, b"\0")),
        ("header_version_2", "malformed", edited(4, b"\2")),
        ("header_version_2_with_its_own_commitment", "malformed", made(version=2)),
        ("header_suite_0", "malformed", edited(5, b"\0")),
        ("header_suite_2", "malformed", edited(5, b"\2")),
        ("header_suite_2_with_its_own_commitment", "malformed", made(suite=2)),
        ("header_chunk_log2_11", "malformed", made(chunk_log2=11)),
        ("header_chunk_log2_21", "malformed", made(chunk_log2=21)),
        ("header_chunk_log2_255", "malformed", edited(6, b"\xff")),
        ("header_byte_7_not_zero", "malformed", made(zeros=b"\1" + bytes(8))),
        ("header_byte_15_not_zero", "malformed", made(zeros=bytes(8) + b"\1")),
        ("header_chunk_log2_edited_to_13", "not_authentic", edited(6, b"\x0d")),
        ("header_chunk_log2_edited_to_15", "not_authentic", edited(6, b"\x0f")),
        ("header_salt_edited", "not_authentic", flipped(16)),
        ("header_last_byte_of_the_salt_edited", "not_authentic", flipped(39)),
        ("header_commitment_edited", "not_authentic", flipped(40)),
        ("header_last_byte_of_the_commitment_edited", "not_authentic", flipped(71)),
        ("header_of_another_segment", "not_authentic", [span(0, 72, "second_segment_of_one_recording"), span(72, end)]),
        ("header_cut_off", "malformed", [span(0, 71)]),
        ("header_alone", "malformed", [spanning]),
        ("nothing", "malformed", []),
        ("last_chunk_missing", "malformed", [span(0, 72 + 2 * step)]),
        ("last_chunk_without_its_tag", "not_authentic", [span(0, end - 16)]),
        ("last_chunk_shorter_than_a_tag", "malformed", [span(0, 72 + 2 * step + 15)]),
        ("last_byte_missing", "not_authentic", [span(0, end - 1)]),
        ("cut_inside_the_first_chunk", "not_authentic", [span(0, 72 + 5_000)]),
        ("empty_last_chunk_missing", "malformed", [span(0, 72 + 2 * step, "two_chunks")]),
        ("one_byte_longer", "not_authentic", whole + [put(b"\0")]),
        ("extended_to_a_whole_chunk", "malformed", whole + [put(bytes(72 + 3 * step - end))]),
        ("extended_by_an_empty_chunk", "not_authentic", [span(0, len(objects["one_chunk"]), "one_chunk"), put(bytes(16))]),
        ("chunks_reordered", "not_authentic", [spanning, chunk(1), chunk(0), chunk(2)]),
        ("first_chunk_missing", "not_authentic", [spanning, chunk(1), chunk(2)]),
        ("middle_chunk_missing", "not_authentic", [spanning, chunk(0), chunk(2)]),
        ("chunk_twice", "not_authentic", [spanning, chunk(0), chunk(0), chunk(1), chunk(2)]),
        ("chunk_replaced_by_another_of_its_object", "not_authentic", [spanning, chunk(0), chunk(0), chunk(2)]),
        ("last_chunk_in_the_place_of_the_first", "not_authentic", [spanning, chunk(2)]),
        ("chunk_of_another_segment", "not_authentic",
         [spanning, chunk(0), chunk(1, "second_segment_of_one_recording"), chunk(2)]),
        ("chunk_of_another_recording", "not_authentic",
         [spanning, chunk(0), chunk(1, "another_recording_under_one_data_key"), chunk(2)]),
        ("last_chunk_of_another_data_key", "not_authentic", [spanning, chunk(0), chunk(1), chunk(2, "another_data_key")]),
        ("ciphertext_edited", "not_authentic", flipped(72)),
        ("last_byte_of_the_ciphertext_edited", "not_authentic", flipped(end - 17)),
        ("tag_of_a_full_chunk_edited", "not_authentic", flipped(72 + step - 1)),
        ("tag_of_the_last_chunk_edited", "not_authentic", flipped(end - 1)),
        ("tag_of_an_empty_object_edited", "not_authentic", flipped(87, "empty")),
        ("opened_for_another_tenant", "not_authentic", whole, {"tenant": 8}),
        ("opened_for_another_recording", "not_authentic", whole, {"recording": other_recording.hex()}),
        ("opened_with_another_data_key", "not_authentic", whole, {"data_key": fixed("another data key", 32).hex()}),
    ]

    def build(parts):
        return b"".join(
            bytes.fromhex(p["bytes"]) if "bytes" in p else objects[p["object"]][p["from"]:p["to"]] for p in parts
        )

    shown = []
    for name, error, parts, *other in refused:
        keys = {"data_key": data_key.hex(), "tenant": 7, "recording": recording.hex()} | (other[0] if other else {})
        shown.append(
            {"name": name} | keys
            | {"parts": parts, "sha256": hashlib.sha256(build(parts)).hexdigest(), "error": error}
        )
    return {"accepted": accepted, "refused": shown}


# --------------------------------------------------------------------------------------------------------------------- rings


def ring_plain(ring_id, floor, trees, tenant_cover, count=None):
    plain = ring_id + u32(floor) + u16(len(trees) if count is None else count)
    for tree_id, created, cover_bytes in trees:
        plain += u16(tree_id) + u64(created) + cover_bytes
    return plain + tenant_cover


def ring_file(master, secret, level, generation, created, nonce, plain, magic=b"CVK1", version=1, zero=b"\0\0"):
    head = magic + u8(version) + u8(level) + zero + u64(generation) + u64(created)
    return head + nonce + xchacha_seal(ring_key_of(master, secret, level, generation), nonce, head, plain)


def ring_vectors():
    master, secret, ring_id = fixed("master", 32), fixed("secret", 32), fixed("ring", 16)
    created, nonce = 1_780_000_000, fixed("ring nonce", 24)
    roots = [fixed("time root 1", 32), fixed("time root 2", 32)]
    tenant_root = fixed("tenant root", 32)
    floor = 20_000
    advance = [("advance", path_of(floor, 0))]
    dead = path_of(20_500, 0x0ABC_DEF0_1234)
    rings = [
        ("level_1_fresh", None, 1, 1, 0, [(1, created, roots[0], [])], []),
        ("level_2_fresh", secret, 2, 1, 0, [(1, created, roots[0], [])], []),
        ("level_2_advanced", secret, 2, 2, floor, [(1, created, roots[0], advance)], []),
        ("level_2_with_punctures", secret, 2, 77, floor,
         [(1, created, roots[0], advance + [("puncture", dead), ("puncture", dead + 1)])], [("puncture", 7)]),
        ("level_2_with_two_trees", secret, 2, 78, floor,
         [(1, created, roots[0], advance + [("puncture", dead)]), (2, created + 3_600, roots[1], advance)],
         [("puncture", 7), ("puncture", 0)]),
        ("level_3", secret, 3, 2**40, floor, [(1, created, roots[0], advance)], []),
        ("level_2_at_the_last_epoch", secret, 2, 3, 2**20 - 1,
         [(1, created, roots[0], [("advance", path_of(2**20 - 1, 0))])], []),
    ]
    accepted = []
    for name, s, level, generation, fl, trees, tenants in rings:
        plain = ring_plain(
            ring_id, fl, [(i, c, cover(r, 64, removals)) for i, c, r, removals in trees], cover(tenant_root, 32, tenants)
        )
        file = ring_file(master, s, level, generation, created, nonce, plain)
        leaves = []
        for i, _, r, removals in trees:
            for path in [path_of(max(fl, 1) - 1, 5), path_of(fl, 0), dead, dead + 1, dead + 2, 2**64 - 1]:
                leaf = None if is_dead(path, removals) else leaf_at(r, 64, path).hex()
                leaves.append({"tree": i, "path": u64(path).hex(), "leaf": leaf})
        keys = [
            {"tenant": t, "key": None if is_dead(t, tenants) else leaf_at(tenant_root, 32, t).hex()}
            for t in [0, 1, 6, 7, 2**32 - 1]
        ]
        accepted.append(
            {"name": name, "master": master.hex(), "secret": s.hex() if s else None, "level": level,
             "generation": generation, "created_at_s": created, "nonce": nonce.hex(), "id": ring_id.hex(), "floor": fl,
             "trees": [{"id": i, "created_at_s": c, "root": r.hex(), "removals": show_removals(m)} for i, c, r, m in trees],
             "tenants": {"root": tenant_root.hex(), "removals": show_removals(tenants)},
             "plain": plain.hex(), "file": file.hex(), "commitment": hashlib.sha256(file).hexdigest(),
             "leaves": leaves, "tenant_keys": keys}
        )

    time_cover, tenant_cover = cover(roots[0], 64, advance), cover(tenant_root, 32, [])
    tree = (1, created, time_cover)
    plain = ring_plain(ring_id, floor, [tree], tenant_cover)
    sealed = lambda p, **other: ring_file(
        *[other.pop(k, d) for k, d in
          [("master", master), ("secret", secret), ("level", 2), ("generation", 2), ("created", created)]],
        nonce, p, **other
    )
    good, level_1 = sealed(plain), sealed(plain, secret=None, level=1)
    put = lambda at, data: good[:at] + data + good[at + len(data):]
    flip = lambda at: put(at, u8(good[at] ^ 1))
    siblings = write_cover([(0, 1, fixed("node/0", 32)), (2**31, 1, fixed("node/1", 32))])
    late = (1, created, cover(roots[0], 64, [("advance", path_of(floor, 0) - 1)]))
    cases = [
        ("ring_empty", "malformed", b"", secret),
        ("ring_cut_off_in_its_head", "malformed", good[:47], secret),
        ("ring_head_alone", "malformed", good[:48], secret),
        ("ring_magic_of_an_object", "malformed", sealed(plain, magic=b"CVR1"), secret),
        ("ring_version_0", "malformed", sealed(plain, version=0), secret),
        ("ring_version_2", "malformed", sealed(plain, version=2), secret),
        ("ring_level_0", "malformed", put(5, b"\0"), secret),
        ("ring_level_4", "malformed", sealed(plain, level=4), secret),
        ("ring_byte_6_not_zero", "malformed", sealed(plain, zero=b"\1\0"), secret),
        ("ring_byte_7_not_zero", "malformed", sealed(plain, zero=b"\0\1"), secret),
        ("ring_level_downgraded", "not_authentic", put(5, b"\1"), None),
        ("ring_level_downgraded_and_opened_with_the_secret", "not_authentic", put(5, b"\1"), secret),
        ("ring_level_raised", "not_authentic", put(5, b"\3"), secret),
        ("ring_level_2_sealed_without_a_secret", "not_authentic", sealed(plain, secret=None), None),
        ("ring_level_1_sealed_with_a_secret", "not_authentic", sealed(plain, level=1), secret),
        ("ring_opened_without_its_secret", "not_authentic", good, None),
        ("ring_of_level_1_opened_with_a_secret", "not_authentic", level_1, secret),
        ("ring_opened_with_another_secret", "not_authentic", good, fixed("another secret", 32)),
        ("ring_sealed_under_another_master_key", "not_authentic", sealed(plain, master=fixed("another master", 32)), secret),
        ("ring_generation_edited", "not_authentic", flip(15), secret),
        ("ring_created_edited", "not_authentic", flip(23), secret),
        ("ring_nonce_edited", "not_authentic", flip(24), secret),
        ("ring_id_edited", "not_authentic", flip(48), secret),
        ("ring_floor_edited", "not_authentic", flip(48 + 19), secret),
        ("ring_authenticator_edited", "not_authentic", flip(len(good) - 1), secret),
        ("ring_last_byte_missing", "not_authentic", good[:-1], secret),
        ("ring_one_byte_longer", "not_authentic", good + b"\0", secret),
        ("ring_sealed_part_empty", "malformed", sealed(b""), secret),
        ("ring_floor_beyond_the_last_epoch", "malformed", sealed(ring_plain(ring_id, 2**20, [], tenant_cover)), secret),
        ("ring_path_below_the_floor_alive", "malformed", sealed(ring_plain(ring_id, floor, [late], tenant_cover)), secret),
        ("ring_floor_without_its_advance", "malformed",
         sealed(ring_plain(ring_id, 1, [(1, created, cover(roots[0], 64, []))], tenant_cover)), secret),
        ("ring_trees_out_of_order", "malformed",
         sealed(ring_plain(ring_id, floor, [(2, created, time_cover), tree], tenant_cover)), secret),
        ("ring_tree_twice", "malformed", sealed(ring_plain(ring_id, floor, [tree, tree], tenant_cover)), secret),
        ("ring_tree_count_too_large", "malformed", sealed(ring_plain(ring_id, floor, [tree], tenant_cover, 2)), secret),
        ("ring_tree_count_too_small", "malformed", sealed(ring_plain(ring_id, floor, [tree], tenant_cover, 0)), secret),
        ("ring_tenant_cover_missing", "malformed", sealed(ring_plain(ring_id, floor, [tree], b"")), secret),
        ("ring_tenant_cover_cut_off", "malformed", sealed(plain[:-1]), secret),
        ("ring_bytes_follow_the_tenant_cover", "malformed", sealed(plain + b"\0"), secret),
        ("ring_sibling_tenants_stand_for_their_parent", "malformed",
         sealed(ring_plain(ring_id, floor, [tree], siblings)), secret),
        ("ring_tenant_of_33_bits", "malformed",
         sealed(ring_plain(ring_id, floor, [tree], write_cover([(2**32, 32, fixed("node/0", 32))]))), secret),
    ]
    refused = [
        {"name": n, "master": master.hex(), "secret": s.hex() if s else None, "file": f.hex(), "error": e}
        for n, e, f, s in cases
    ]
    generation_file = lambda g: b"CVG1" + bytes(4) + u64(g) + secret
    one = generation_file(1)
    generations = {
        "accepted": [
            {"name": n, "generation": g, "secret": secret.hex(), "file": generation_file(g).hex()}
            for n, g in [("first", 1), ("later", 2**40 + 5)]
        ],
        "refused": [
            {"name": n, "file": f.hex()}
            for n, f in [
                ("generation_file_empty", b""),
                ("generation_file_overwritten_with_zeros", bytes(48)),
                ("generation_file_magic_of_a_ring", b"CVK1" + one[4:]),
                ("generation_file_byte_4_not_zero", one[:4] + b"\1" + one[5:]),
                ("generation_file_byte_7_not_zero", one[:7] + b"\1" + one[8:]),
                ("generation_file_last_byte_missing", one[:-1]),
                ("generation_file_one_byte_longer", one + b"\0"),
            ]
        ],
    }
    return {"accepted": accepted, "refused": refused}, generations


# -------------------------------------------------------------------------------------------------------- tokens and receipts

DIGITS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


def base62(number, length):
    digits = ""
    for _ in range(length):
        number, digit = divmod(number, 62)
        digits = DIGITS[digit] + digits
    assert number == 0
    return digits


def token_of(secret):
    return "cv_" + base62(int.from_bytes(secret, "big"), 43) + base62(zlib.crc32(secret), 6)


def token_vectors():
    accepted = [
        {"name": name, "secret": secret.hex(), "token": token_of(secret),
         "sha256": hashlib.sha256(token_of(secret).encode()).hexdigest()}
        for name, secret in [
            ("zero", bytes(32)), ("all_ones", b"\xff" * 32), ("one", bytes(31) + b"\1"), ("random", fixed("token", 32)),
        ]
    ]
    secret = fixed("token", 32)
    good = token_of(secret)
    largest = 2**256
    refused = [
        ("token_empty", ""),
        ("token_prefix_alone", "cv_"),
        ("token_without_its_prefix", good[3:]),
        ("token_prefix_in_capitals", "CV_" + good[3:]),
        ("token_prefix_with_another_separator", "cv-" + good[3:]),
        ("token_last_digit_missing", good[:-1]),
        ("token_one_digit_longer", good + "0"),
        ("token_first_digit_missing", "cv_" + good[4:]),
        ("token_followed_by_a_newline", good + "\n"),
        ("token_after_a_space", " " + good),
        ("token_digit_outside_base62", good[:10] + "-" + good[11:]),
        ("token_digit_outside_ascii", good[:10] + "\u00e9" + good[12:]),
        ("token_digit_edited", good[:10] + ("A" if good[10] != "A" else "B") + good[11:]),
        ("token_digits_swapped", good[:10] + good[11] + good[10] + good[12:]),
        ("token_checksum_edited", good[:-1] + ("A" if good[-1] != "A" else "B")),
        ("token_checksum_of_its_text_instead_of_its_bytes", good[:46] + base62(zlib.crc32(good[:46].encode()), 6)),
        ("token_number_of_257_bits", "cv_" + base62(largest, 43) + base62(zlib.crc32(bytes(32)), 6)),
        ("token_number_plus_2_pow_256", "cv_" + base62(largest + 1, 43) + base62(zlib.crc32(bytes(31) + b"\1"), 6)),
        ("token_largest_digits", "cv_" + "z" * 43 + base62(zlib.crc32(b"\xff" * 32), 6)),
        ("token_checksum_plus_2_pow_32", good[:46] + base62(zlib.crc32(secret) + 2**32, 6)),
        ("token_checksum_little_endian",
         good[:46] + base62(int.from_bytes(struct.pack("<I", zlib.crc32(secret)), "big"), 6)),
    ]
    assert len({text for _, text in refused}) == len(refused)
    return {"accepted": accepted, "refused": [{"name": n, "token": t} for n, t in refused]}


def merkle_root(leaves):
    """RFC 9162 section 2.1.1."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\0" + leaves[0]).digest()
    half = 1
    while half * 2 < len(leaves):
        half *= 2
    return hashlib.sha256(b"\1" + merkle_root(leaves[:half]) + merkle_root(leaves[half:])).digest()


def receipt_vectors():
    seed = seed_of(fixed("master", 32))
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    text = b"receipt"
    good = key.sign(text)
    flip = lambda data, at: data[:at] + u8(data[at] ^ 1) + data[at + 1:]
    other = Ed25519PrivateKey.from_private_bytes(fixed("another seed", 32)).public_key()
    roots = []
    for count in [0, 1, 2, 3, 4, 5, 7, 8, 33]:
        leaves = [fixed(f"leaf/{k}", 48) for k in range(count)]
        roots.append({"leaves": [leaf.hex() for leaf in leaves], "root": merkle_root(leaves).hex()})
    return {
        "merkle_roots": roots,
        "accepted": [{"name": "signed", "seed": seed.hex(), "public_key": public.hex(), "text": text.hex(),
                      "signature": good.hex(), "chain_hash": hashlib.sha256(text).hexdigest()}],
        "refused": [
            {"name": n, "public_key": p.hex(), "text": t.hex(), "signature": s.hex()}
            for n, p, t, s in [
                ("receipt_text_edited", public, b"Receipt", good),
                ("receipt_signature_edited", public, text, flip(good, 0)),
                ("receipt_signature_cut_off", public, text, good[:-1]),
                ("receipt_signature_empty", public, text, b""),
                ("receipt_of_another_key", other.public_bytes(Encoding.Raw, PublicFormat.Raw), text, good),
                ("receipt_public_key_cut_off", public[:-1], text, good),
            ]
        ],
    }


def trail_vectors():
    texts = [
        '{"at":"2026-11-27T10:00:00.123Z","action":"play","result":"allowed","who":{"kind":"person","id":"4711"},"class":"customer"}',
        '{"at":"2026-11-27T10:00:01Z","action":"played","result":"allowed","who":{"kind":"person","id":"4711"},"play":1,"ranges":[[0,99],[200,299]]}',
        '{"reason":"caf\u00e9, \\"quoted\\", \\u0000"}',
    ]
    trails = []
    for tenant in [0, 3, 2**32 - 1]:
        previous = hashlib.sha256(TRAIL + u8(0) + u32(tenant)).digest()
        trail = {"tenant": tenant, "genesis": previous.hex(), "entries": []}
        for seq, text in enumerate(texts, 1):
            entry = text.encode()
            previous = hashlib.sha256(TRAIL + u8(1) + u32(tenant) + u64(seq) + previous + entry).digest()
            line = f'{{"tenant":{tenant},"seq":{seq},"hash":"{previous.hex()}","entry":{text}}}'
            trail["entries"].append({"seq": seq, "text": text, "hash": previous.hex(), "line": line})
        trails.append(trail)
    return trails


def main():
    check_primitives()
    rings, generations = ring_vectors()
    files = {
        "tree": tree_vectors(),
        "keys": key_vectors(),
        "wrap": wrap_vectors(),
        "blob": blob_vectors(),
        "object": object_vectors(),
        "ring": rings,
        "generation": generations,
        "token": token_vectors(),
        "receipt": receipt_vectors(),
        "audit": trail_vectors(),
    }
    for name, vectors in files.items():
        with open(os.path.join(HERE, name + ".json"), "w", encoding="ascii", newline="\n") as file:
            json.dump(vectors, file, indent=1)
            file.write("\n")


if __name__ == "__main__":
    main()
