//! What every store promises, as one list that is run against each.

mod embedded;
mod model;
mod redis;
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
            a_send_is_stored_only_on_the_consent_it_was_decided_on
            what_became_of_a_send_only_gets_surer
            a_message_is_to_be_asked_for_until_it_is_at_its_end
            a_task_is_claimed_by_one_at_a_time
            a_task_is_planned_once_and_anew_only_while_it_is_to_be_done
            waiting_ends_with_an_event_or_in_time
            of_equal_callbacks_at_once_one_moves_the_message
            everything_is_there_after_opening_again
            random_histories_of_statuses_agree_with_the_model
            random_histories_of_consent_agree_with_the_model
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
