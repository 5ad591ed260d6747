//! callvault takes call recordings from PBXes over HTTP, seals them while they stream, keeps them in S3-compatible object
//! storage or on local disk, plays them back to those who may listen, and makes them unreadable when their agreed term ends.
//! The end of a term is the destruction of keys that no database and no backup holds: a tiny file, the ring, which is
//! written anew and overwritten once an hour. Sealed audio and catalog rows may be copied and kept anywhere; without the
//! ring they open nothing.
//!
//! This page is the map. Each file begins with what it promises; read those next.
//!
//! # Layers
//!
//! A module sees the layers below its own, and no other module of its own layer (`tests/it/tidy.rs` holds the table, its one
//! exception, and the check).
//!
//! | | modules | what they do |
//! |---|---|---|
//! | 6 | [`cli`] | commands: arguments become checked settings and one verb; what it gave is printed |
//! | 5 | [`app`], [`config`], [`telemetry`] | wiring, the only place that picks backends; settings; logs |
//! | 4 | [`http`] | requests become verbs, results become answers; who may ask |
//! | 3 | [`ingest`], [`playback`], [`expire`] | the three verbs, one file for each story |
//! | 2b | [`reading`] | the only way from sealed bytes to plaintext; the verbs and `verify` go through it |
//! | 2 | [`catalog`], [`keyring`], [`store`], [`spool`] | rows, keys, objects, and sealed bytes on their way |
//! | 1 | [`crypto`] | keys into keys, bytes into sealed bytes; no clock, disk, network, async or log |
//! | 0 | [`model`] | the words of the field as checked types |
//!
//! `keyring` does not see `catalog`: the two meet in [`reading`] and [`expire`], and no backup of one holds the other.
//!
//! # The walk of an upload
//!
//! 1. [`http::serve`] accepts the connection, [`http::routes`] finds [`http::upload`]. [`http::auth`] looks the token's hash up,
//!    [`http::metadata`] reads headers and query, [`ingest::Ingest::admit`] looks at length and room: all before the body is polled.
//! 2. [`ingest::Ingest::receive`] tells a new name from a known one. For a new one, `ingest/begin.rs` draws a data key, wraps
//!    it for each class under a path that ends with its term ([`keyring::Keyring::wrap`]), and commits the row as
//!    `receiving` ([`catalog::Catalog::begin`]). A known name goes through `ingest/again.rs`: compared, or continued.
//! 3. `ingest/intake.rs` is the straight line from body to disk: [`crypto::stream::Sealer`] seals chunk by chunk,
//!    [`spool::Segment`] appends. A sender who hangs up ends the body, not the upload.
//! 4. The end of the body closes the segment (fsync); it is an object now, byte for byte. [`store::Store::put`] takes it. A store
//!    that is down is not the sender's concern: the recording stays `spooled`, and the answer is 202.
//! 5. [`catalog::Catalog::finish`] is written last: lengths, digest, and the wraps again, bound to them. Then 201.
//!
//! After a crash [`ingest::Ingest::recover`] finishes, sends on, or removes what is in the spool.
//!
//! # The walk of a playback
//!
//! 1. [`http::audio`] lets a listener in and asks [`playback::Playback::locate`]: another tenant's recording is 404, one that has
//!    ended ([`reading::life::state_at`]) is 410.
//! 2. [`playback::Playback::open`] takes the wrap of the class. [`reading::Reader::data_key`] derives its key from the ring and opens
//!    it; a row that was edited does not open. [`reading::Reader::open`] checks the object's header and length.
//! 3. [`http::range`] decides which bytes are asked for. [`playback::Playback::stream`] fetches whole chunks in windows of 256 KiB,
//!    [`reading::Opened::window`] authenticates each at its place, and the pieces go out. Every piece is looked at once more: past
//!    `expires_at` the stream is cut.
//!
//! # The walk of an expiry
//!
//! [`expire::Expire::run`] is the story; its head lists the steps. [`catalog::Catalog::announce`] refuses reads of what will die.
//! [`keyring::Keyring::succeed`] writes the next generation of the ring without the dead subtrees, on all mirrors, and reads it
//! back. [`keyring::Keyring::retire`] overwrites the one before: the point of no return. [`catalog::Catalog::shred`] makes the rows
//! say so, `expire/receipts.rs` signs one receipt for each tenant, [`store::Store::delete`] sweeps the dead objects, and
//! `expire/replicas.rs` waits until the servers have followed (`app/follow.rs`).
//!
//! # Where the promises are kept
//!
//! | promise | kept in | proved by |
//! |---|---|---|
//! | 1 an acknowledged recording is durable and playable; one that was cut off is kept as far as it came | [`ingest`], [`spool`], [`catalog::sqlite`] | `a_recording_goes_in_plays_back_and_dies`, `a_connection_that_is_cut_leaves_a_partial_recording_that_plays`, `a_segment_whose_writer_died_at_any_byte_opens_in_its_full_chunks` |
//! | 2 no plaintext, number or name on a disk, in a log, metric, object name or error | [`crypto::stream`], [`crypto::blob`], [`model::call`], [`http::problem`] | `a_wrong_value_is_refused_without_being_repeated`, `plaintext_that_is_moved_leaves_no_copy_behind` |
//! | 3 refused from `expires_at` on; at most 1 h 15 min and one period later no key is left, whatever is restored | [`reading::life`], [`expire`], [`keyring`] | `a_recording_goes_in_plays_back_and_dies`, `an_advance_reaches_every_tree_and_a_lower_floor_changes_nothing` |
//! | 4 an erasure is final against every catalog backup after the next run | [`catalog::Ending`], [`crypto::tree`] | `erasing_one_recording_and_one_tenant_leaves_all_others_readable`, `the_same_removals_in_any_order_and_number_leave_the_same_bytes` |
//! | 5 edited, moved, cut or extended bytes and rows are found before a byte of them is served | [`crypto::stream`], [`crypto::wrap`], [`reading`] | `objects_of_the_vectors_are_made_and_opened_and_every_defect_is_refused`, `wraps_of_the_vectors_are_made_and_opened_and_every_defect_is_refused`, `every_arrangement_of_an_objects_chunks_but_its_own_is_refused` |
//! | 6 a wrong clock destroys nothing outside the guards without a typed confirmation | [`expire::Expire::run`], step 3 | `a_recording_goes_in_plays_back_and_dies` types the confirmation; the refusals have no test in this tree yet |
//! | 7 tenants are separated by keys | [`crypto::keys`], the tenant tree of [`crypto::ring`] | `an_object_opens_for_its_own_tenant_recording_and_data_key_only`, `rings_of_the_vectors_are_made_and_opened_and_every_defect_is_refused` |
//!
//! The stored bytes are specified by `vectors/README.md` and the files beside it, and held to them by `src/crypto/vectors.rs`.

#![forbid(unsafe_code)]

pub mod app;
pub mod catalog;
pub mod cli;
#[allow(
    rustdoc::invalid_html_tags,
    reason = "the help texts of settings are doc comments, and clap prints them as they are"
)]
pub mod config;
pub mod crypto;
pub mod expire;
pub mod http;
pub mod ingest;
pub mod keyring;
pub mod model;
pub mod playback;
pub mod reading;
pub mod spool;
pub mod store;
pub mod telemetry;
