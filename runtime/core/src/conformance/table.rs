//! The table of all cases for stores, by module, and the macro that makes tests of it.

/// Makes the module `conformance` with one test for each case; see [`conformance`](crate::conformance). Takes the name of an
/// `async fn() -> Fixture` of the calling module.
#[macro_export]
macro_rules! store_conformance {
    ($make:ident) => {
        mod conformance {
            use super::$make;
            $crate::store_conformance!(@table tests [$make]);
        }
    };
    (@tests [$make:ident] $($group:ident { $($case:ident)* })*) => {
        $(mod $group {
            use super::$make;
            $(#[::tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                $crate::conformance::run($make().await, $crate::conformance::$group::$case).await;
            })*
        })*
    };
    (@names [] $($group:ident { $($case:ident)* })*) => {
        &[$((stringify!($group), &[$(stringify!($case)),*])),*]
    };
    (@table $then:ident [$($arg:tt)*]) => {
        $crate::store_conformance! { @$then [$($arg)*]
            add {
                jobs_wait_in_order_of_arrival
                a_lifo_job_goes_in_front
                a_delayed_job_waits_for_its_time
                a_delay_counts_from_the_producers_timestamp
                delayed_jobs_come_by_due_time_and_ties_by_arrival
                prioritized_jobs_come_after_plain_ones_by_priority_and_ties_by_arrival
                a_delayed_job_with_a_priority_is_prioritized_when_due
                ids_are_counted_and_different
                a_chosen_id_is_kept
                a_chosen_id_that_exists_is_left_as_it_is
                a_duplicate_of_a_finished_job_is_left_as_it_is
                a_batch_keeps_its_order
                an_empty_batch_adds_nothing
                a_chosen_id_that_is_a_number_is_rejected
                a_priority_out_of_range_is_rejected
                an_unknown_parent_is_rejected_and_jobs_before_it_stay
                every_option_is_stored
                queues_do_not_mix
            }
            claim {
                an_empty_queue_gives_nothing
                at_most_as_many_as_asked_for
                fewer_when_fewer_are_due
                a_claimed_job_is_active_and_given_once
                every_claim_has_the_token_asked_for
                the_job_comes_whole
                payload_bytes_are_untouched
                a_large_payload_comes_whole
                starts_are_counted
                due_jobs_are_promoted
                many_due_jobs_are_promoted
                the_next_due_time_is_told
                a_rate_limit_bounds_starts_over_all_workers
            }
            finish {
                completing_stores_the_result
                failing_stores_the_reason_and_the_traces
                a_retry_at_once_goes_to_the_end
                a_lifo_retry_at_once_goes_to_the_front
                a_retry_of_a_prioritized_job_goes_behind_its_priority
                a_retry_with_a_delay_waits
                a_later_success_keeps_the_count_of_attempts
                a_wrong_token_is_refused_and_changes_nothing
                an_expired_lock_is_refused_and_changes_nothing
                a_repeated_finish_is_refused
                a_repeated_finish_of_a_removed_job_says_so
                a_job_that_never_existed_is_missing
                a_waiting_job_cannot_be_finished
                an_old_attempt_cannot_finish_a_new_one
                a_batch_is_answered_one_by_one
                the_same_job_twice_in_a_batch_is_accepted_once
                finishing_claims_in_the_same_call
                what_a_finish_puts_back_can_be_claimed_in_the_same_call
                a_claim_without_finishes_is_a_claim
                nothing_to_finish_is_no_error
                what_was_recorded_is_written_with_the_finish
                what_was_recorded_is_dropped_with_a_refusal
                a_large_result_comes_whole
            }
            give_back {
                a_release_goes_to_the_front_and_uses_no_attempt
                a_release_of_a_prioritized_job_goes_to_the_front_of_its_priority
                delay_until_runs_it_then_and_uses_no_attempt
                delay_until_a_past_time_runs_it_at_once
                a_rate_limit_rests_the_whole_queue
                waiting_for_children_with_none_is_refused_and_keeps_the_lock
                giving_back_is_fenced_too
            }
            keep {
                none_removes_at_once
                none_removes_failed_ones_too
                all_keeps_every_one
                a_count_keeps_the_newest
                an_age_removes_the_old
                an_age_and_a_count_both_hold
                failed_and_completed_are_kept_apart
                ends_of_one_batch_keep_by_their_own_rules
                a_removed_job_still_tells_its_end
                what_belongs_to_a_removed_job_goes_with_it
            }
            locks {
                a_renewed_lock_holds
                a_lock_runs_out_by_itself
                a_lost_lock_is_reported
                a_foreign_token_renews_nothing
                a_finished_job_has_no_lock_to_renew
                a_batch_of_renewals_reports_only_the_lost
                nothing_to_renew_is_no_error
            }
            stall {
                a_job_without_lock_is_recovered_in_the_second_round
                a_locked_job_is_left_alone
                a_renewed_job_is_left_alone
                a_finished_job_is_left_alone
                rounds_are_no_more_frequent_than_the_interval
                a_recovered_job_runs_before_the_others
                a_recovered_job_keeps_its_attempts
                too_many_recoveries_are_a_deferred_failure
                a_deferred_failure_can_be_written
                a_retry_of_the_failed_job_is_free_of_its_deferred_failure
                recovery_tells_listeners
                recovery_while_paused_loses_nothing
            }
            schedulers {
                a_distance_begins_now
                an_offset_is_kept
                a_start_is_waited_for
                a_cron_rule_runs_at_the_times_it_names
                a_time_zone_is_minded
                a_cron_rule_can_run_at_once
                what_makes_no_sense_is_rejected_and_changes_nothing
                jobs_have_the_template
                a_payload_changed_while_it_ran_is_not_handed_on
                the_life_of_a_job_with_a_priority
                the_next_job_is_there_when_one_is_given_out
                a_claim_tells_when_the_next_job_is_due
                a_finish_that_claims_makes_the_next_job_too
                many_schedulers_go_on_in_one_claim
                a_later_claim_of_the_same_job_makes_no_further_job
                many_claims_at_once_make_each_job_once
                slots_that_went_by_are_left_out
                a_recovered_job_whose_worker_vanished_goes_on
                a_limit_ends_it
                an_end_ends_it
                a_cron_rule_makes_nothing_for_after_its_end
                setting_it_again_keeps_its_slots
                a_changed_rule_replaces_the_pending_job
                a_change_leaves_a_running_job_alone
                a_removed_scheduler_takes_its_pending_job_along
                a_job_that_is_due_outlives_its_scheduler
                a_scheduler_removed_while_its_job_runs_makes_no_more
                its_latest_job_goes_only_with_it
                another_job_in_the_way_is_avoided_or_told
                schedulers_are_listed_by_what_comes_next
                iterations_are_told_like_any_job
                a_job_made_at_claim_wakes_others
            }
            running {
                progress_is_replaced
                progress_of_a_missing_job_is_not_found
                logs_are_appended_in_order
                only_the_last_log_lines_are_kept
                logs_of_a_missing_job_are_not_found
                data_is_replaced_for_the_next_attempt
                data_of_a_missing_job_is_not_found
                none_of_these_needs_the_lock
            }
            look {
                a_missing_job_is_none
                every_state_is_told
                what_is_seen_to_have_ended_is_whole
                lists_come_in_the_order_of_running
                finished_jobs_come_newest_first
                lists_are_paged
                lists_go_on_behind_a_job
                due_jobs_are_counted
                counts_have_every_state
                logs_are_paged
                queues_are_listed_by_name
                health_says_what_it_is
                priorities_are_counted
                workers_are_seen_while_they_wait
            }
            series {
                nothing_is_counted_before_the_first_end
                ends_are_counted_by_the_minute
                minutes_without_an_end_count_nothing
                only_so_many_minutes_are_kept
                completed_and_failed_are_counted_apart
                a_series_is_paged
                the_minute_that_goes_on_is_told_apart
                there_is_no_series_of_other_states
            }
            pause {
                a_paused_queue_gives_nothing
                pausing_and_resuming_may_be_repeated
                jobs_added_while_paused_come_after_those_before
                running_jobs_can_finish_while_paused
                nothing_put_back_while_paused_is_lost
                due_jobs_are_promoted_after_a_resume
                another_queue_is_not_paused
                a_pause_before_the_first_job_holds
            }
            limits {
                a_queue_has_no_limits_until_they_are_set
                limits_are_told_as_they_are_set_and_lifted
                a_limit_of_nothing_is_rejected
                limits_are_of_one_queue
                a_concurrency_bounds_all_workers_together
                an_end_makes_room_for_what_it_claims
                a_lowered_concurrency_lets_running_jobs_end
                a_raised_concurrency_wakes
                room_that_nobody_took_wakes
                a_recovered_job_makes_room
                a_rate_bounds_starts_over_all_workers
                ends_do_not_make_room_in_a_rate
                the_queues_starts_and_the_workers_window_hold
                a_raised_rate_takes_effect_at_once
                a_shorter_window_ends_the_one_that_has_begun
                a_lifted_rate_holds_nobody
                a_job_that_only_waits_to_be_failed_takes_no_start
                a_rate_and_a_concurrency_both_hold
                a_rest_holds_without_any_limit
                a_rest_ends_by_itself
                a_rest_outlasts_a_change_of_the_rate
                ending_a_rest_ends_the_window_of_a_rate
                due_jobs_wait_their_turn_while_a_queue_rests
                a_claim_of_many_takes_jobs_that_are_to_be_failed_beside_those_it_may_start
            }
            admin {
                a_job_is_removed_from_every_state
                a_running_job_is_not_removed
                a_missing_job_is_not_removed
                what_belongs_to_a_removed_job_goes_with_it
                an_id_is_free_again_after_removal
                a_promoted_job_runs_now
                a_promoted_job_keeps_its_priority
                promoting_needs_a_delayed_job
                a_failed_job_is_retried
                a_completed_job_is_retried
                a_retried_job_can_have_all_attempts_again
                a_retried_job_keeps_its_priority
                retrying_needs_a_finished_job
                a_retried_lifo_job_goes_in_front
                a_delay_is_changed
                a_sooner_due_time_is_heard
                changing_a_delay_needs_a_delayed_job
                a_priority_is_changed_where_a_job_waits
                a_changed_priority_may_go_in_front
                a_changed_priority_holds_when_a_job_waits_again
                a_priority_is_changed_in_a_paused_queue
                a_priority_that_does_not_exist_is_refused
                draining_removes_what_waits
                draining_removes_delayed_ones_when_asked
                draining_an_empty_queue_removes_nothing
            }
            cancel {
                a_job_that_waits_fails_at_once_and_uses_no_attempt
                a_job_that_waits_with_a_priority_fails_at_once
                a_job_that_waits_in_a_paused_queue_fails_at_once
                a_parent_that_waits_for_its_children_fails_at_once
                a_cancelled_job_is_told_as_failed
                a_cancelled_job_that_is_not_to_be_kept_goes
                a_cancelled_job_can_be_retried
                a_parent_hears_of_a_cancelled_child_by_its_policy
                a_cancelled_owner_frees_its_deduplication_id
                the_attempt_that_runs_is_asked_to_end
                another_queue_is_not_meant
                an_attempt_that_completes_all_the_same_stands
                an_attempt_that_ends_before_it_heard_is_the_last
                a_parent_that_would_wait_for_its_children_is_ended_first
                an_attempt_whose_host_vanishes_is_the_last
                an_attempt_whose_lock_is_gone_is_the_last
                a_further_request_forgets_none_whose_host_vanished
                a_later_job_with_the_same_id_is_not_meant
                what_is_not_there_or_has_ended_is_not_cancelled
                the_pending_job_of_a_scheduler_stays
            }
            receipts {
                every_attempt_that_is_used_leaves_its_receipt
                a_retry_that_waits_leaves_its_receipt
                only_the_newest_are_kept
                a_give_back_leaves_none
                a_refused_end_leaves_none
                a_job_that_goes_takes_its_receipts_along
                attempts_that_begin_anew_have_new_receipts
                ends_of_one_batch_have_their_own
                crashes_are_seen_by_the_next_attempt
                crashes_are_forgotten_when_asked
                a_final_failure_forgets_crashes_so_that_a_retry_begins_anew
            }
            versions {
                a_retry_knows_which_version_ran_before
                what_uses_no_attempt_leaves_the_version
                a_failed_job_that_is_retried_has_no_version
                a_completed_job_has_no_version
                a_failure_that_is_given_back_does_not_count
            }
            bulk {
                delayed_jobs_are_promoted_those_due_first_first
                many_are_promoted
                a_promotion_of_many_is_told_and_wakes
                promoted_many_wait_without_a_priority
                promoted_while_paused_they_wait_for_the_end_of_it
                failed_jobs_are_retried_oldest_first
                only_what_ended_in_time_is_retried
                completed_jobs_are_retried
                many_are_retried
                retried_many_wait_without_a_priority
                only_finished_jobs_can_be_retried
                parents_wait_for_retried_children_again
                retried_while_paused_they_are_not_lost
            }
            cleaning {
                finished_jobs_go_by_their_end_oldest_first
                what_waits_goes_by_when_it_was_made
                what_was_started_goes_by_its_last_start
                an_active_job_goes_only_without_its_lock
                a_cleaning_is_told_once
                many_are_cleaned_and_those_between_stay
                a_paused_queue_is_cleaned
                a_cleaned_job_frees_its_deduplication_id
                a_parent_goes_with_its_last_cleaned_child
                a_parent_in_another_queue_is_let_go
                jobs_that_wait_for_children_are_not_cleaned
                a_queue_is_only_obliterated_while_paused
                running_jobs_hold_a_queue_unless_forced
                nothing_is_left_of_an_obliterated_queue
                a_large_queue_is_obliterated
                a_listener_of_an_obliterated_queue_hears_the_new_one
                parents_elsewhere_of_an_obliterated_queue_are_let_go
                events_are_trimmed_to_the_newest
            }
            events {
                a_life_is_told_in_order
                a_retry_is_not_a_failure
                a_final_failure_is_told_with_its_reason
                attempts_left_are_not_exhausted
                delays_are_told_with_their_due_time
                promotions_and_returns_say_where_from
                progress_duplicates_and_removals_are_told
                pauses_are_told
                only_later_events_come
                a_listener_waits_for_the_first
                no_event_ends_the_wait
                a_finish_is_told_before_the_next_start
                a_refused_finish_is_not_told
            }
            waiter {
                an_added_job_wakes
                a_job_from_before_the_waiter_wakes
                a_passed_on_hint_wakes
                a_promoted_job_wakes
                a_retried_job_wakes
                a_resumed_queue_wakes
                a_recovered_job_wakes
                a_given_back_job_wakes
                a_due_time_wakes
                an_earlier_due_time_wakes
                nothing_times_out
                a_waiter_can_be_dropped_and_made_anew
            }
            children {
                a_parent_waits_until_its_children_are_done
                a_child_names_its_parent
                a_released_parent_runs_next
                a_released_parent_keeps_its_priority
                results_of_children_can_be_read
                a_parent_cannot_complete_before_its_children
                a_parent_in_another_queue_is_released
                a_failed_child_holds_its_parent
                a_failed_child_fails_its_parent_when_asked
                a_parent_cannot_complete_after_a_child_that_must_not_fail
                a_failed_child_lets_its_parent_go_on_when_asked
                an_ignored_failure_can_be_read
                a_removed_dependency_is_not_seen
                a_retried_attempt_of_a_child_changes_nothing
                removing_the_last_child_releases_the_parent
                a_child_that_is_not_kept_still_counts
                a_duplicate_child_is_waited_for_once
            }
            flows {
                a_tree_runs_from_its_leaves_up_across_queues
                a_tree_of_one_is_a_job
                chosen_ids_are_kept_and_others_are_all_different
                a_tree_is_told
                leaves_run_level_by_level
                options_of_every_node_hold
                a_released_parent_waits_for_its_delay
                a_released_parent_goes_to_its_priority
                a_topmost_job_may_have_a_parent
                an_unknown_parent_refuses_the_whole_tree
                a_child_of_another_parent_refuses_the_whole_tree
                one_job_in_two_places_refuses_the_whole_tree
                jobs_that_would_wait_for_each_other_are_refused
                a_waiting_job_becomes_a_child
                an_adopted_child_has_the_policy_of_its_new_place
                a_done_job_becomes_a_child_with_its_result
                a_parent_whose_children_are_all_done_runs_at_once
                a_waiting_parent_gets_further_children
                a_deduplicated_leaf_is_not_waited_for
                contradictory_policies_are_refused
                a_large_tree_comes_whole
            }
            flow_failures {
                a_failure_goes_up_the_tree
                a_failure_reaches_a_parent_that_is_delayed
                a_failure_reaches_a_parent_that_waits_to_run
                a_failure_of_a_finished_parents_child_is_no_news
                a_parent_that_went_on_can_wait_for_the_others
                a_parent_that_went_on_can_drop_the_others
                a_retried_child_is_waited_for_again
                a_completed_child_that_is_retried_is_waited_for_again
                a_child_that_is_not_kept_still_counts_when_it_fails
                a_child_whose_parent_is_gone_ends_like_any
                children_are_added_below_children_at_run_time
                a_replaced_child_is_not_waited_for
                a_kept_child_whose_parent_is_gone_runs_by_itself
            }
            flow_removal {
                a_tree_is_removed_whole
                a_tree_with_a_running_job_is_not_removed
                removing_a_part_releases_what_is_above
                removing_a_job_alone_leaves_its_children
                unprocessed_children_are_removed
                removing_all_unprocessed_children_releases_their_parent
                a_child_leaves_its_parent
                a_done_child_does_not_leave_its_parent
                children_are_listed_by_what_became_of_them
            }
            deduplication {
                a_duplicate_is_not_added
                a_duplicate_in_the_same_batch_is_not_added
                ids_and_queues_are_apart
                an_empty_id_is_rejected
                of_many_at_once_one_is_added
                a_completed_owner_frees_its_id
                an_owner_keeps_its_id_until_it_fails_for_good
                a_recovered_owner_keeps_its_id
                a_removed_owner_frees_its_id
                a_drained_owner_frees_its_id
                who_lost_the_id_does_not_free_it
                a_chosen_id_that_exists_takes_no_deduplication_id
                a_time_to_live_outlasts_its_owner
                a_time_to_live_ends_before_its_owner
                a_time_to_live_ends_after_its_owner
                a_time_to_live_of_nothing_is_none
                an_extending_duplicate_starts_the_time_anew
                other_duplicates_leave_the_time
                a_delayed_owner_is_replaced
                a_replacement_is_told
                an_owner_that_is_not_delayed_is_not_replaced
                a_replacement_keeps_the_time_unless_it_extends
                a_replacement_without_a_time_holds_until_its_end
                the_last_duplicate_of_a_running_owner_runs_after_it
                a_duplicate_of_a_waiting_owner_is_not_kept
                a_kept_job_waits_for_the_owners_last_attempt
                a_kept_job_has_its_options
                a_kept_lifo_job_goes_in_front
                a_kept_job_can_be_claimed_with_the_finish
                a_kept_job_whose_id_is_taken_is_not_made
                a_kept_job_takes_the_time_from_the_id
                a_removed_owner_takes_the_kept_job_along
                a_parent_waits_for_the_kept_job_too
                a_replacement_drops_what_was_kept_behind_the_owner
                a_delayed_owner_is_rescheduled
                a_rescheduling_is_told
                without_a_delay_a_rescheduled_owner_is_due
                only_a_delayed_owner_is_rescheduled
                a_rescheduling_may_extend_the_time
                the_owner_of_an_id_is_told
                a_released_id_is_free
                a_kept_job_is_made_though_the_id_was_released
                a_held_back_job_is_told
                a_kept_job_is_told_before_its_owners_end
            }
            concurrency {
                a_job_is_given_to_one_worker_only
                of_many_finishes_one_is_accepted
                of_many_equal_ids_one_is_added
                adding_and_working_at_once_loses_nothing
                finishing_in_batches_loses_nothing
            }
            model {
                random_histories_agree_with_the_model
                long_random_history_agrees_with_the_model
            }
        }
    };
}

/// The cases by module: the table of [`store_conformance!`](crate::store_conformance).
pub const CASES: &[(&str, &[&str])] = crate::store_conformance!(@table names []);

#[cfg(test)]
mod tests {
    use super::CASES;

    const SOURCES: &[(&str, &str)] = &[
        ("add", include_str!("add.rs")),
        ("claim", include_str!("claim.rs")),
        ("finish", include_str!("finish.rs")),
        ("give_back", include_str!("give_back.rs")),
        ("keep", include_str!("keep.rs")),
        ("locks", include_str!("locks.rs")),
        ("stall", include_str!("stall.rs")),
        ("running", include_str!("running.rs")),
        ("look", include_str!("look.rs")),
        ("series", include_str!("series.rs")),
        ("pause", include_str!("pause.rs")),
        ("limits", include_str!("limits.rs")),
        ("admin", include_str!("admin.rs")),
        ("cancel", include_str!("cancel.rs")),
        ("receipts", include_str!("receipts.rs")),
        ("versions", include_str!("versions.rs")),
        ("bulk", include_str!("bulk.rs")),
        ("cleaning", include_str!("cleaning.rs")),
        ("events", include_str!("events.rs")),
        ("waiter", include_str!("waiter.rs")),
        ("children", include_str!("children.rs")),
        ("flows", include_str!("flows.rs")),
        ("flow_failures", include_str!("flow_failures.rs")),
        ("flow_removal", include_str!("flow_removal.rs")),
        ("deduplication", include_str!("deduplication.rs")),
        ("schedulers", include_str!("schedulers.rs")),
        ("concurrency", include_str!("concurrency.rs")),
        ("model", include_str!("model.rs")),
    ];

    #[test]
    fn every_case_written_is_in_the_table() {
        for (group, source) in SOURCES {
            let written: Vec<&str> = source
                .lines()
                .filter_map(|line| line.strip_prefix("pub async fn ")?.split('(').next())
                .collect();
            let listed = CASES.iter().find(|(name, _)| name == group).map_or(&[][..], |(_, cases)| cases);
            assert_eq!(written, listed, "module {group}: the cases and the table differ in members or order");
        }
        assert_eq!(CASES.len(), SOURCES.len(), "a module of cases is not checked here");
    }
}
