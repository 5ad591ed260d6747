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
//! | 5 | [`app`], [`config`], [`telemetry`] | wiring, the only place that picks backends; settings; logs and traces |
//! | 4 | [`http`] | requests become verbs, results become answers; who may ask |
//! | 3 | [`ingest`], [`playback`], [`expire`] | the three verbs, one file for each story |
//! | 2b | [`reading`], [`audit`] | the only way from sealed bytes to plaintext; the verbs and `verify` go through it; who did what, chained and signed |
//! | 2 | [`catalog`], [`keyring`], [`store`], [`spool`] | rows, keys, objects, and sealed bytes on their way |
//! | 1c | [`disk`], [`bucket`], [`sso`], [`spans`], [`timing`] | syncs that are shared by whoever waits for one; a bucket of S3, for objects and for keys; access tokens of a provider of single sign-on; what a trace is made of; how long work takes |
//! | 1b | [`outward`] | requests to services outside, over HTTPS |
//! | 1 | [`crypto`], [`media`] | keys into keys, bytes into sealed bytes; what a recording's bytes are; no clock, disk, network, async or log |
//! | 0 | [`model`] | the words of the field as checked types |
//!
//! `keyring` does not see `catalog`: the two meet in [`reading`] and [`expire`], and no backup of one holds the other.
//!
//! # The walk of an upload
//!
//! 1. [`http::serve`] accepts the connection, [`http::tls`] secures it, [`http::http1`] or [`http::http2`] reads the request from it,
//!    [`http::answer`] takes it, [`http::routes`] finds [`http::upload`]. [`http::auth`] looks the token's hash up (a person may
//!    also come with an access token, which [`sso`] verifies),
//!    [`http::metadata`] reads headers and query, [`ingest::Ingest::admit`] looks at length and room: all before the body is polled.
//! 2. [`ingest::Ingest::receive`] tells a new name from a known one. For a new one, `ingest/begin.rs` draws a data key, wraps
//!    it for each class under a path that ends with its term ([`keyring::Keyring::wrap`]), and commits the row as
//!    `receiving` ([`catalog::Catalog::begin`]). A known name goes through `ingest/again.rs`: compared, or continued.
//! 3. `ingest/intake.rs` is the straight line from body to disk. A file: [`crypto::stream::Sealer`] seals chunk by chunk,
//!    [`spool::Segment`] appends. A call that goes on: each piece is sealed as a frame ([`crypto::frame`]) into the log that all
//!    calls share ([`spool::log`]), and a chunk's worth of frames becomes a chunk. A sender who hangs up ends the body, not the
//!    upload.
//! 4. The end of the body closes the segment, synced together with others that end ([`disk`]); it is an object now, byte for
//!    byte. `ingest/describe.rs` looks what its bytes tell ([`media`]). `ingest/handover.rs` gives it to [`store::Store::put`]. A store that is down or slow is not the
//!    sender's concern: the recording stays `spooled`, and the answer is 202.
//! 5. [`catalog::Catalog::finish`] is written last: lengths, digest, and the wraps again, bound to them. Then 201.
//!
//! An upload in pieces ([`http::resumable`], [`ingest::resumable`]) keeps its sealer and its segment between two pieces, and
//! takes steps 4 and 5 with the last.
//!
//! After a crash [`ingest::Ingest::take_over`] knows what is left in the spool. `ingest/remains.rs` says how far it is sound,
//! [`ingest::Ingest::recover`] makes a partial recording of it, and a resumable upload goes on behind it.
//!
//! # The walk of a playback
//!
//! 1. [`http::audio`] lets a listener in and asks [`playback::Playback::locate`]: another tenant's recording is 404, one that has
//!    ended ([`reading::Reader::state_at`]) is 410.
//! 2. [`playback::Playback::open`] takes the wrap of the class. [`reading::Reader::data_key`] derives its key from the ring and opens
//!    it; a row that was edited does not open. [`reading::Reader::open`] checks the object's header and length.
//! 3. [`http::range`] decides which bytes are asked for. [`playback::Playback::stream`] fetches whole chunks in windows of 256 KiB,
//!    [`reading::Opened::window`] authenticates each at its place, and the pieces go out. Every piece is looked at once more: past
//!    `expires_at` the stream is cut. The sizes that a streamed WAV could not know are put right on the way ([`media::wav`]).
//!
//! A call that goes on plays by its whole chunks: [`reading::live`] knows how far they reach, [`reading::arriving`] reads them,
//! and [`playback::Playback::follow`] goes on until the call ends.
//!
//! # The walk of an expiry
//!
//! [`expire::Expire::run`] is the story; its head lists the steps. [`catalog::Catalog::announce`] refuses reads of what will die.
//! [`keyring::Keyring::succeed`] writes the next generation of the ring without the dead subtrees, on all mirrors, and reads it
//! back. [`keyring::Keyring::retire`] overwrites the one before: the point of no return. [`catalog::Catalog::shred`] makes the rows
//! say so, `expire/receipts.rs` signs one receipt for each tenant, [`store::Store::delete`] sweeps the dead objects, and
//! `expire/replicas.rs` waits until the servers have followed (`app/follow.rs`).
//!
//! # The walk of a request to the wrong server
//!
//! Several servers share a catalog, and each has a spool of its own: a row that is received or spooled names its holder
//! ([`catalog::Recording::holder`]). [`http::peers`] passes a request about such a recording on to the holder and the answer
//! back. `app/exclusive.rs` takes a server's name before it touches its spool; `ingest/recover.rs` and `ingest/handover.rs`
//! look at its own rows alone. Proved by `what_one_server_receives_spools_and_stores_plays_at_any_other`,
//! `pieces_of_one_upload_are_taken_by_whichever_server_they_reach` and
//! `a_killed_server_loses_nothing_and_the_others_name_it_until_it_is_back`.
//!
//! # The walk of an entry
//!
//! [`http::answer`] gives a request its note ([`http::trail`]); [`http::auth`] writes down who asks, the handler what it is about.
//! Before the answer leaves, the note becomes an entry: [`audit::Trail::append`], [`catalog::Trails::append_trail`], chained by
//! [`crypto::trail`]. Playbacks are sessions ([`audit::Sessions`]); uploads append in [`ingest`], beside their rows.
//! [`audit::sealed`] signs heads and cuts what is old with each run of [`expire`]. Proved by
//! `every_falsified_table_in_postgresql_is_found_with_its_place`, `every_edit_of_an_exported_file_is_found`,
//! `two_servers_killed_under_load_break_no_chain_in_postgresql`, `a_trail_that_cannot_be_written_answers_503_and_reveals_nothing`
//! and `every_route_has_a_row_in_the_trails_table`.
//!
//! # Where the promises are kept
//!
//! | promise | kept in | proved by |
//! |---|---|---|
//! | 1 an acknowledged recording is durable and playable; one that was cut off is kept as far as it came | [`ingest`], [`spool`], [`catalog::sqlite`] | `hundreds_of_uploads_killed_at_random_moments_lose_nothing_that_was_acknowledged`, `a_paced_upload_killed_after_some_chunks_keeps_all_but_the_one_being_filled`, `a_call_whose_server_is_killed_loses_at_most_a_second`, `recovery_killed_at_any_step_loses_no_byte_that_the_spool_held`, `an_offset_that_was_acknowledged_survives_the_death_of_the_server`, `a_store_that_is_down_in_every_way_under_load_loses_nothing_and_delays_nobody`, `an_outage_leaves_uploads_durable_in_the_spool_until_the_store_is_back` |
//! | 2 no plaintext, number or name on a disk, in a log, metric, object name or error | [`crypto::stream`], [`crypto::blob`], [`model::call`], [`http::problem`] | `canaries_reach_no_file_no_log_no_metric_and_no_error_text`, `plaintext_that_is_moved_leaves_no_copy_behind` |
//! | 3 refused from `expires_at` on; at most 1 h 15 min and one period later no key is left, whatever is restored | [`reading::life`], [`expire`], [`keyring`] | `the_second_of_the_end_is_refused_and_the_second_before_plays`, `a_response_that_runs_across_the_end_is_cut_and_never_completes`, `a_restored_backup_opens_nothing_that_ended_and_everything_that_lives`, `a_run_killed_at_any_step_is_completed_by_the_next` |
//! | 4 an erasure is final against every catalog backup after the next run | [`catalog::Ending`], [`crypto::tree`] | `an_erasure_is_final_against_a_catalog_restored_from_before_it`, `a_deletion_is_undone_by_a_restored_catalog_until_the_term_ends` |
//! | 5 edited, moved, cut or extended bytes and rows are found before a byte of them is served | [`crypto::stream`], [`crypto::wrap`], [`reading`] | `an_edited_row_is_detected_before_a_byte_is_served`, `every_kind_of_damage_to_an_object_is_found_before_one_wrong_byte_is_served`, `every_arrangement_of_an_objects_chunks_but_its_own_is_refused` |
//! | 6 a wrong clock destroys nothing outside the guards without a typed confirmation | [`expire::Expire::run`], step 3 | `a_clock_behind_the_floor_is_refused_and_nothing_is_destroyed`, `one_clock_destroys_48_hours_at_most_unless_a_person_confirms_more`, `clocks_that_differ_by_more_than_five_minutes_stop_the_run`, `a_machine_or_a_store_whose_clock_runs_ahead_destroys_nothing`, `a_row_younger_than_thirty_days_stops_the_run_before_anything_is_destroyed` |
//! | 7 tenants are separated by keys | [`crypto::keys`], the tenant tree of [`crypto::ring`] | `an_offboarded_tenant_is_dead_after_the_next_run_and_others_are_untouched`, `an_object_opens_for_its_own_tenant_recording_and_data_key_only` |
//!
//! Where a collector is named, each request and each expire run is a trace ([`spans`], [`telemetry`]), over all servers that had a
//! part in it: `a_request_that_is_passed_on_is_one_trace_over_both_servers`, `canaries_reach_no_collector_of_traces`.
//!
//! Debug builds write down which key sealed under which nonce, where a test asks for it, and no pair comes twice over all that
//! tests do to a vault (`no_pair_comes_twice_over_kills_cuts_retries_and_a_full_disk`); a release build has no such journal.
//!
//! The stored bytes are specified by `vectors/README.md` and the files beside it, and held to them by `src/crypto/vectors.rs`.

#![forbid(unsafe_code)]

pub mod app;
pub mod audit;
pub mod bucket;
pub mod catalog;
pub mod cli;
#[allow(
    rustdoc::invalid_html_tags,
    reason = "the help texts of settings are doc comments, and clap prints them as they are"
)]
pub mod config;
pub mod crypto;
pub mod disk;
pub mod expire;
pub mod http;
pub mod ingest;
pub mod keyring;
pub mod media;
pub mod model;
pub mod outward;
pub mod playback;
pub mod reading;
pub mod spans;
pub mod spool;
pub mod sso;
pub mod store;
pub mod telemetry;
pub mod timing;
