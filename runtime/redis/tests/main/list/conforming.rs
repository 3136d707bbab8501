//! What of the core's suite holds for a list too, on one server and on a cluster: everything but what a plain list has
//! not (priorities, flows, deduplication, a list of completed jobs, ids that exist only once) and what it does sooner
//! (recovery in one round).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jobcell_core::conformance::Fixture;
use jobcell_redis::ListOptions;
use jobcell_tests::fleet::RedisCluster;

use super::store_at;
use crate::acl::advised_of_list;
use crate::server::Server;

async fn alone() -> Fixture {
    let server = Server::start();
    // With no more rights than the faults about missing ones tell to give: this proves that they are enough.
    let options = ListOptions { record: "job-{id}".to_owned(), ..ListOptions::new("mail") };
    let url = advised_of_list(&server, options.clone()).await;
    Fixture::new(Arc::new(store_at(&url, options).await), "bull", server)
}

async fn clustered() -> Fixture {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    // Starting one takes seconds, in which no other test of this thread could run.
    let cluster = tokio::task::spawn_blocking(RedisCluster::shared).await.unwrap();
    let options = ListOptions::new(format!("{{list{}}}", NEXT.fetch_add(1, Ordering::Relaxed)));
    Fixture::new(Arc::new(store_at(&cluster.url(), options).await), "bull", ())
}

macro_rules! conforming {
    ($($where:ident)*) => {
        $(mod $where {
            use super::$where as fresh;
            cases! {
                add {
                    jobs_wait_in_order_of_arrival
                    a_lifo_job_goes_in_front
                    a_delayed_job_waits_for_its_time
                    a_delay_counts_from_the_producers_timestamp
                    a_batch_keeps_its_order
                    an_empty_batch_adds_nothing
                    a_chosen_id_that_is_a_number_is_rejected
                }
                claim {
                    an_empty_queue_gives_nothing
                    at_most_as_many_as_asked_for
                    a_claimed_job_is_active_and_given_once
                    every_claim_has_the_token_asked_for
                    payload_bytes_are_untouched
                    a_large_payload_comes_whole
                    starts_are_counted
                    due_jobs_are_promoted
                    the_next_due_time_is_told
                    a_rate_limit_bounds_starts_over_all_workers
                }
                finish {
                    completing_stores_the_result
                    failing_stores_the_reason_and_the_traces
                    a_retry_at_once_goes_to_the_end
                    a_lifo_retry_at_once_goes_to_the_front
                    a_retry_with_a_delay_waits
                    a_later_success_keeps_the_count_of_attempts
                    a_wrong_token_is_refused_and_changes_nothing
                    an_expired_lock_is_refused_and_changes_nothing
                    a_job_that_never_existed_is_missing
                    a_waiting_job_cannot_be_finished
                    an_old_attempt_cannot_finish_a_new_one
                    a_batch_is_answered_one_by_one
                    the_same_job_twice_in_a_batch_is_accepted_once
                    what_a_finish_puts_back_can_be_claimed_in_the_same_call
                    a_claim_without_finishes_is_a_claim
                    nothing_to_finish_is_no_error
                    what_was_recorded_is_written_with_the_finish
                    what_was_recorded_is_dropped_with_a_refusal
                }
                give_back {
                    a_release_goes_to_the_front_and_uses_no_attempt
                    delay_until_runs_it_then_and_uses_no_attempt
                    delay_until_a_past_time_runs_it_at_once
                    a_rate_limit_rests_the_whole_queue
                    waiting_for_children_with_none_is_refused_and_keeps_the_lock
                    giving_back_is_fenced_too
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
                    a_locked_job_is_left_alone
                    a_renewed_job_is_left_alone
                    a_finished_job_is_left_alone
                    a_recovered_job_runs_before_the_others
                    a_recovered_job_keeps_its_attempts
                    too_many_recoveries_are_a_deferred_failure
                    a_deferred_failure_can_be_written
                    a_retry_of_the_failed_job_is_free_of_its_deferred_failure
                    recovery_tells_listeners
                    recovery_while_paused_loses_nothing
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
                    logs_are_paged
                    health_says_what_it_is
                }
                pause {
                    pausing_and_resuming_may_be_repeated
                    jobs_added_while_paused_come_after_those_before
                    nothing_put_back_while_paused_is_lost
                    due_jobs_are_promoted_after_a_resume
                    a_pause_before_the_first_job_holds
                }
                admin {
                    a_running_job_is_not_removed
                    a_missing_job_is_not_removed
                    what_belongs_to_a_removed_job_goes_with_it
                    an_id_is_free_again_after_removal
                    a_promoted_job_runs_now
                    promoting_needs_a_delayed_job
                    a_failed_job_is_retried
                    a_retried_job_can_have_all_attempts_again
                    draining_removes_delayed_ones_when_asked
                    draining_an_empty_queue_removes_nothing
                }
                cancel {
                    a_job_that_waits_fails_at_once_and_uses_no_attempt
                    a_job_that_waits_in_a_paused_queue_fails_at_once
                    a_cancelled_job_is_told_as_failed
                    a_cancelled_job_can_be_retried
                    the_attempt_that_runs_is_asked_to_end
                    an_attempt_that_completes_all_the_same_stands
                    an_attempt_that_ends_before_it_heard_is_the_last
                    an_attempt_whose_host_vanishes_is_the_last
                    an_attempt_whose_lock_is_gone_is_the_last
                    a_later_job_with_the_same_id_is_not_meant
                    what_is_not_there_or_has_ended_is_not_cancelled
                }
                receipts {
                    a_retry_that_waits_leaves_its_receipt
                    a_give_back_leaves_none
                    a_refused_end_leaves_none
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
                events {
                    a_listener_waits_for_the_first
                    no_event_ends_the_wait
                    a_refused_finish_is_not_told
                    pauses_are_told
                }
                waiter {
                    a_job_from_before_the_waiter_wakes
                    a_promoted_job_wakes
                    a_retried_job_wakes
                    a_resumed_queue_wakes
                    a_given_back_job_wakes
                    a_due_time_wakes
                    an_earlier_due_time_wakes
                    a_waiter_can_be_dropped_and_made_anew
                }
                concurrency {
                    a_job_is_given_to_one_worker_only
                    of_many_finishes_one_is_accepted
                }
            }
        })*
    };
}

macro_rules! cases {
    ($($group:ident { $($case:ident)* })*) => {
        $(mod $group {
            use super::fresh;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $case() {
                jobcell_core::conformance::run(fresh().await, jobcell_core::conformance::$group::$case).await;
            })*
        })*
    };
}

conforming! { alone clustered }
