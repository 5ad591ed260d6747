//! One suite for every backend: each sentence of the contract in `catalog` as an event and what holds after it.
//!
//! A backend makes a [`Backend`] that can be opened more than once and hands its maker to [`conformance!`], which turns
//! every function of the suite into a test. A function that the list forgets is dead code, which clippy refuses.

pub mod access;
pub mod ending;
pub mod expiry;
pub mod fixtures;
pub mod house;
pub mod listing;
pub mod recordings;
pub mod replicas;
pub mod shredding;
pub mod tenants;
pub mod trail;

use super::SharedCatalog;

/// A catalog of its own, empty at first.
pub trait Backend {
    /// Opens it, each time anew: what one handle acknowledged, another sees.
    fn open(&self) -> SharedCatalog;
}

macro_rules! conformance {
    ($backend:path) => {
        crate::catalog::conformance::conformance! {
            $backend;
            tenants::numbers_start_at_one_and_are_not_given_twice,
            tenants::taken_slug_is_refused_and_leaves_no_tenant,
            tenants::change_leaves_unnamed_settings_alone,
            tenants::what_is_not_there_is_not_found,
            tenants::offboarding_revokes_the_tokens_and_queues_one_puncture,
            tenants::offboarded_tenant_gets_no_token_and_no_recording,
            access::token_is_found_by_hash_certificate_and_id_with_all_that_was_stored,
            access::token_of_no_tenant_is_the_providers_own,
            access::token_of_nobody_or_with_what_is_anothers_is_refused,
            access::token_revoked_twice_keeps_the_first_instant,
            access::last_use_of_a_token_never_moves_back,
            access::tokens_are_listed_ascending_by_creation,
            access::person_is_found_by_id_and_subject_and_listed_by_creation,
            access::change_of_a_person_leaves_unnamed_fields_alone,
            access::subject_of_another_person_is_refused,
            access::link_reads_back_as_written_and_stays_revoked,
            access::link_is_forgotten_a_month_after_its_end,
            access::link_is_used_by_as_many_players_as_it_has_uses,
            access::of_many_players_at_once_as_many_begin_as_there_are_uses,
            access::what_one_asks_for_another_confirms_once_and_in_time,
            recordings::begun_recording_reads_back_as_written,
            recordings::taken_name_is_refused_and_leaves_nothing,
            recordings::taken_path_is_refused_and_leaves_nothing,
            recordings::name_of_another_tenant_is_free,
            recordings::of_many_that_begin_under_one_name_one_wins,
            recordings::many_that_begin_and_finish_at_once_are_all_there,
            recordings::begin_whose_caller_leaves_is_whole_or_absent,
            recordings::second_recording_joins_a_call_as_it_is,
            recordings::finished_recording_reads_back_as_written,
            recordings::finish_of_a_complete_recording_changes_nothing,
            recordings::finish_that_leaves_out_a_wrap_changes_nothing,
            recordings::continued_upload_queues_the_shorter_object,
            recordings::finish_after_the_end_queues_the_new_object,
            recordings::object_is_stored_only_from_the_spool,
            recordings::resume_is_set_moved_and_ended_and_outlives_the_finish,
            recordings::finish_with_a_label_replaces_the_one_before,
            recordings::abandoned_recording_leaves_only_its_object,
            recordings::only_receiving_recordings_are_abandoned,
            recordings::recording_of_another_tenant_is_none,
            recordings::recording_is_found_by_any_of_its_name_tokens,
            listing::pages_are_complete_and_without_duplicates,
            listing::span_includes_its_start_and_not_its_end,
            listing::gone_recordings_are_listed_only_when_asked_for,
            listing::recordings_are_found_by_either_number,
            listing::recordings_are_found_by_call_id_and_number,
            listing::class_and_life_are_of_the_same_wrap,
            listing::states_are_walked_ascending_by_id,
            ending::deleted_recording_keeps_no_secret_and_queues_no_puncture,
            ending::erased_recording_queues_a_puncture_of_every_path,
            ending::deleted_recording_can_be_erased,
            ending::ended_recording_does_not_end_again,
            ending::name_is_free_after_the_end,
            ending::call_ends_with_the_last_of_its_recordings,
            ending::recording_ends_while_it_is_received,
            expiry::first_generation_is_set_once,
            expiry::mark_never_falls,
            expiry::lease_is_held_by_one_and_ends_with_its_holder,
            expiry::announcement_is_replaced_until_it_is_committed,
            expiry::announced_floor_refuses_reads,
            expiry::commit_is_idempotent_and_sets_the_mark,
            expiry::young_row_is_guarded_until_it_is_erased,
            expiry::young_recording_guards_its_call,
            expiry::receipts_are_numbered_without_gaps,
            expiry::run_is_finished_once,
            shredding::run_that_is_not_committed_shreds_nothing,
            shredding::shredding_resumes_after_every_wrap,
            shredding::recording_lives_until_its_last_wrap_dies,
            shredding::call_outlives_its_recording_until_its_last_wrap_dies,
            shredding::recording_left_receiving_is_shredded,
            shredding::erased_and_deleted_rows_stay_what_they_are_and_are_counted,
            shredding::punctures_after_the_announcement_wait_for_the_next_run,
            shredding::offboarded_tenant_is_shredded_and_no_other,
            shredding::name_is_free_after_shredding,
            shredding::run_is_told_by_tenant_class_and_recording,
            house::swept_objects_are_forgotten,
            house::counts_follow_every_change,
            replicas::replicas_stand_on_the_list_while_they_live,
            replicas::dead_replica_is_listed_while_it_holds_something,
            replicas::holder_stays_until_a_recording_is_complete_and_stored,
            replicas::finish_by_another_than_the_holder_changes_nothing,
            replicas::partial_recording_that_nobody_holds_is_entrusted_to_one,
            replicas::states_are_walked_by_holder,
            replicas::replica_is_forgotten_only_when_it_is_dead_and_holds_nothing_alone,
            replicas::clock_of_the_backend_is_near_or_not_there,
            trail::entries_read_back_as_written_and_chained,
            trail::each_tenant_and_the_house_have_a_chain_of_their_own,
            trail::servers_that_append_at_once_make_no_fork_and_no_gap,
            trail::append_whose_caller_leaves_is_whole_or_absent,
            trail::pages_of_a_trail_are_newest_first_and_filtered,
            trail::cut_removes_what_is_old_and_leaves_the_chain_behind_it,
        }
    };
    ($backend:path; $($module:ident::$name:ident,)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let backend = $backend();
            crate::catalog::conformance::$module::$name(&backend).await;
        })*
    };
}
pub(crate) use conformance;
