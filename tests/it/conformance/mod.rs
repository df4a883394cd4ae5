//! What every store promises, as one list that is run against each.

mod audit;
mod embedded;
mod erasure;
mod model;
mod outbox;
mod outbox_model;
mod persons;
mod recognition;
mod redis;
mod retention;
mod suite;

/// Runs the whole suite as one test per promise; `$open` makes a fresh, empty store and what keeps it alive.
macro_rules! conformance {
    ($open:expr) => {
        crate::conformance::conformance!(@each $open,
            a_status_moves_a_message_upwards_only
            a_repetition_changes_nothing
            the_same_status_with_another_error_is_recorded
            an_unknown_status_is_kept_and_moves_nothing
            our_id_is_learned_once_and_stays
            unknown_parameters_are_kept
            what_is_strange_is_stored_as_it_is
            events_come_in_order_and_page_without_gaps
            organizations_are_apart
            an_inbound_message_is_stored_once_with_its_first_answer
            a_decision_on_old_consent_writes_nothing
            a_gate_asks_for_consent
            a_cooldown_is_kept_per_person
            all_spellings_of_a_person_are_one
            a_user_id_and_a_number_become_one_person
            what_was_kept_under_a_spelling_moves_to_the_person
            an_erased_opt_out_is_obeyed_until_the_person_says_otherwise
            an_erased_person_is_obeyed_by_whichever_name
            an_erasure_lets_nothing_leave_at_any_moment
            a_message_and_its_events_are_taken_away_and_no_others
            what_became_of_a_send_only_gets_surer
            a_resolved_message_loses_its_content
            of_equal_steps_at_once_one_is_taken
            a_message_that_waits_is_claimed_by_one_at_a_time
            a_message_that_is_put_off_is_due_then_and_not_before
            flows_that_are_due_are_told_page_by_page_and_no_others
            a_sender_s_time_is_given_away_once
            a_message_is_entered_in_the_history_once
            every_change_of_consent_is_listed
            consent_is_replaced_without_a_word_by_who_knows_it
            everything_is_counted
            a_document_is_changed_by_who_knows_it
            several_documents_change_together_or_not_at_all
            documents_that_have_ended_hide_none_behind_them
            counters_count_up_to_their_end
            an_amount_is_counted_whole_or_not_at_all
            how_much_is_queued_is_known
            a_message_is_to_be_asked_for_until_it_is_at_its_end
            a_task_is_claimed_by_one_at_a_time
            a_task_is_planned_once_and_anew_only_while_it_is_to_be_done
            tasks_stand_in_lines_of_their_own
            waiting_ends_with_an_event_or_in_time
            of_equal_callbacks_at_once_one_moves_the_message
            everything_is_there_after_opening_again
            who_did_what_is_told_in_its_order_and_page_by_page
            a_message_and_who_asked_for_it_are_stored_together_or_not_at_all
            a_change_and_its_entry_are_stored_together_or_not_at_all
            what_a_later_version_has_written_hides_no_entry
            nothing_that_is_done_at_once_is_lost_or_told_twice
            what_is_old_is_taken_away_and_nothing_younger
            everything_of_a_person_s_messages_is_forgotten
            many_old_entries_go_in_steps
            changes_of_consent_are_counted_and_seen
            nothing_leaves_on_a_store_that_is_not_the_known_one
            a_store_that_is_accepted_is_used_by_all_who_knew_the_former_one
            random_histories_of_statuses_agree_with_the_model
            random_histories_of_consent_agree_with_the_model
            random_histories_of_the_outbox_agree_with_the_model
        );
    };
    (@each $open:expr, $($promise:ident)+) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $promise() {
                crate::conformance::suite::$promise(&$open.await).await;
            }
        )+
    };
}
use conformance;
