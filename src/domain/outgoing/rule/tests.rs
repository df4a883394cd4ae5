//! What must never happen, over all states and facts; and on random lives of a message beside a model of Twilio.

use proptest::prelude::*;

use super::*;
use crate::{
    domain::{MessageId, outgoing::SealedUrl},
    twilio::{Address, Channel},
};

const NOW: UnixMs = UnixMs::new(1_800_000_000_000);

/// More steps than any life of a message takes that is not held back by others for ever: each try takes at most eight.
const STEPS_MAX: usize = 8 * (times::TRIES_MAX as usize + 1);

/// How long an answer may be lost.
const LOST_ANSWER_AFTER: Duration = Duration::from_secs(40);

fn moment(now: UnixMs, is_awaited: bool) -> Moment {
    Moment { now, jitter: 0.7, is_awaited, lost_answer_after: LOST_ANSWER_AFTER }
}

fn message(status_callback: Option<&str>, fallback: Option<Fallback>) -> Outbound {
    Outbound {
        id: MessageId::new(0, 1),
        to: Address::new(Channel::Sms, "+14155550100").unwrap(),
        from: None,
        messaging_service_sid: None,
        body_length: 1,
        segments: 1,
        media: 0,
        category: None,
        user_id: None,
        batch: None,
        status_callback: status_callback.map(|url| SealedUrl::new(url.to_owned())),
        fallback,
        actor: None,
        created_at: NOW - Duration::from_secs(1),
    }
}

fn second() -> Fallback {
    Fallback::Second { first: MessageId::new(0, 2), after: Duration::from_secs(60) }
}

fn messages() -> Vec<Outbound> {
    let callback = Some("https://example.com/status");
    vec![
        message(None, None),
        message(callback, None),
        message(None, Some(second())),
        message(callback, Some(second())),
    ]
}

fn sid() -> MessageSid {
    MessageSid::parse("SMaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa").unwrap()
}

fn refused() -> Refused {
    Refused { code: Refusal::TwilioRefused, reason: "no".to_owned(), twilio_code: Some(21_211) }
}

fn states() -> Vec<Option<OutboundState>> {
    let mut states = vec![
        None,
        Some(OutboundState::Canceled { at: NOW }),
        Some(OutboundState::Refused {
            at: NOW,
            code: Refusal::TwilioRefused,
            reason: String::new(),
            twilio_code: None,
        }),
        Some(proven(sid(), NOW)),
    ];
    let holds = [
        Hold::Turn,
        Hold::Scheduled,
        Hold::QuietHours,
        Hold::Cooldown,
        Hold::Review,
        Hold::SuspiciousTraffic,
        Hold::Retry,
        Hold::Fallback,
        Hold::Account,
    ];
    for tries in [0, 1, times::TRIES_MAX - 1, times::TRIES_MAX] {
        for reason in holds {
            states.push(Some(OutboundState::Waiting { until: NOW, reason, tries, suspicion: None }));
        }
        for suspicion in [Suspicion::Since(NOW - Duration::from_secs(3_600)), Suspicion::Released].map(Some) {
            for reason in [Hold::SuspiciousTraffic, Hold::Turn, Hold::QuietHours] {
                states.push(Some(OutboundState::Waiting { until: NOW, reason, tries, suspicion }));
            }
        }
        for since in
            [NOW, NOW - Duration::from_secs(15), NOW - Duration::from_secs(25), NOW - Duration::from_secs(60)]
        {
            states.push(Some(OutboundState::Sending { since, tries }));
            for searches in 0..3 {
                states.push(Some(OutboundState::Unknown { since, tries, searches }));
            }
        }
    }
    states
}

fn all_circumstances() -> Vec<Circumstances> {
    let mut all = Vec::new();
    let firsts = [
        None,
        Some(First::Pending),
        Some(First::Accepted(NOW - Duration::from_secs(1))),
        Some(First::Accepted(NOW - Duration::from_secs(120))),
        Some(First::Arrived),
        Some(First::Failed),
        Some(First::Canceled),
    ];
    let reasons =
        [None, Some(NoConsent::OptedOut), Some(NoConsent::BlockedByTwilio), Some(NoConsent::NotOptedIn)];
    let reviews =
        [None, Some(NOW - Duration::from_secs(60)), Some(NOW), Some(NOW + Duration::from_secs(86_400))];
    for (no_consent, under_review_until) in
        reasons.into_iter().flat_map(|reason| reviews.map(|review| (reason, review)))
    {
        for quiet_until in [None, Some(NOW + Duration::from_secs(3_600))] {
            for cooling_until in
                [None, Some(NOW + Duration::from_secs(1)), Some(NOW + Duration::from_secs(2 * 86_400))]
            {
                for batch_is_canceled in [false, true] {
                    for first in firsts {
                        let cooldown = Duration::from_secs(60);
                        all.push(Circumstances {
                            no_consent,
                            not_allowed: None,
                            suppressed_since: None,
                            traffic: Traffic::Ordinary,
                            under_review_until,
                            quiet_until,
                            cooldown,
                            cooling_until,
                            batch_is_canceled,
                            first,
                        });
                    }
                }
            }
        }
    }
    let numbers = [
        (Some(NotAllowed::Country), Traffic::Ordinary),
        (Some(NotAllowed::NumberType), Traffic::Suspicious),
        (None, Traffic::Suspicious),
        (None, Traffic::Refused),
    ];
    for (not_allowed, traffic) in numbers {
        for no_consent in [None, Some(NoConsent::OptedOut)] {
            for under_review_until in [None, Some(NOW)] {
                for first in firsts {
                    let known = Circumstances { no_consent, under_review_until, first, ..Default::default() };
                    all.push(Circumstances { not_allowed, traffic, ..known.clone() });
                    all.push(Circumstances { suppressed_since: Some(NOW), traffic, ..known });
                }
            }
        }
    }
    all
}

fn facts() -> Vec<Fact> {
    let mut facts = vec![
        Fact::Queued { due: NOW + Duration::from_millis(5), reason: Hold::Turn },
        Fact::BeyondDailyLimit,
        Fact::Answered(Answer::Accepted(sid())),
        Fact::Answered(Answer::Lost),
        Fact::Answered(Answer::NotProcessed { refused: refused(), retry_after: None }),
        Fact::Answered(Answer::NotProcessed {
            refused: refused(),
            retry_after: Some(Duration::from_secs(7)),
        }),
        Fact::Answered(Answer::Refused(refused())),
        Fact::Answered(Answer::AccountAtFault(refused())),
        Fact::Searched(Search::Found(sid())),
        Fact::Searched(Search::Nothing),
        Fact::Searched(Search::Failed(Duration::from_secs(10))),
        Fact::CalledOff,
        Fact::OptedOut,
        Fact::ReviewClosed,
        Fact::TrafficDecided(Verdict::Release),
        Fact::TrafficDecided(Verdict::Refuse),
        Fact::Unusable,
        Fact::BatchMissing,
        Fact::FirstFailed,
    ];
    for circumstances in all_circumstances() {
        for send_at in [None, Some(NOW - Duration::from_millis(1)), Some(NOW + Duration::from_secs(86_400))] {
            facts.push(Fact::Asked { send_at, circumstances: circumstances.clone() });
        }
        facts.push(Fact::Due(circumstances.clone()));
        facts.push(Fact::CalledAgain(circumstances));
    }
    facts
}

fn circumstances_of(fact: &Fact) -> Option<&Circumstances> {
    match fact {
        Fact::Asked { circumstances, .. } | Fact::Due(circumstances) | Fact::CalledAgain(circumstances) => {
            Some(circumstances)
        }
        _ => None,
    }
}

/// Calls `check` with every message, state, fact and moment, and the move that they make.
fn every_move(mut check: impl FnMut(&Outbound, Option<&OutboundState>, &Fact, &Moment, &Move)) {
    let (messages, states, facts) = (messages(), states(), facts());
    let mut moves = 0;
    for message in &messages {
        for state in &states {
            for fact in &facts {
                for is_awaited in [false, true] {
                    let moment = moment(NOW, is_awaited);
                    if let Some(made) = decide(message, state.as_ref(), fact.clone(), &moment) {
                        moves += 1;
                        check(message, state.as_ref(), fact, &moment, &made);
                    }
                }
            }
        }
    }
    assert!(moves > 10_000, "the tables hardly move anything: {moves}");
}

fn is_call(state: &OutboundState) -> bool {
    matches!(state, OutboundState::Sending { .. })
}

fn tries(state: Option<&OutboundState>) -> u32 {
    match state {
        Some(
            OutboundState::Waiting { tries, .. }
            | OutboundState::Sending { tries, .. }
            | OutboundState::Unknown { tries, .. },
        ) => *tries,
        _ => 0,
    }
}

#[test]
fn nothing_leaves_for_a_person_whose_consent_refuses() {
    every_move(|_, from, fact, _, made| {
        if is_call(&made.to) && !matches!(fact, Fact::Unusable | Fact::BatchMissing) {
            let circumstances = circumstances_of(fact).expect("a call without having asked for consent");
            assert_eq!(circumstances.no_consent, None, "{from:?} {fact:?}");
        }
    });
}

#[test]
fn nothing_leaves_while_a_reply_is_under_review_even_past_its_time() {
    every_move(|_, from, fact, _, made| {
        let Some(circumstances) = circumstances_of(fact) else { return };
        let (Some(until), None) = (circumstances.under_review_until, circumstances.no_consent) else {
            return;
        };
        assert!(!is_call(&made.to), "{from:?} {fact:?}");
        if let OutboundState::Waiting { reason: Hold::Review, .. } = made.to {
            assert_eq!(made.due, Some(until.max(NOW + times::REVIEW_OVERDUE_DELAY)), "{from:?} {fact:?}");
        }
    });
}

#[test]
fn nothing_leaves_to_a_number_that_nothing_is_sent_to() {
    every_move(|message, from, fact, _, made| {
        let Some(circumstances) = circumstances_of(fact) else { return };
        let Some(reason) = circumstances.not_allowed else { return };
        assert!(!is_call(&made.to), "{from:?} {fact:?}");
        if circumstances.no_consent.is_none() && message.fallback.is_none() {
            let expected = Refusal::from(reason);
            assert!(
                matches!(made.to, OutboundState::Refused { code, .. } if code == expected),
                "{from:?} {fact:?}"
            );
        }
    });
}

#[test]
fn nothing_leaves_to_a_number_that_takes_no_messages() {
    every_move(|message, from, fact, _, made| {
        let Some(circumstances) = circumstances_of(fact) else { return };
        if circumstances.suppressed_since.is_none() {
            return;
        }
        assert!(!is_call(&made.to), "{from:?} {fact:?}");
        if circumstances.no_consent.is_none() && message.fallback.is_none() {
            let is_refused =
                matches!(made.to, OutboundState::Refused { code: Refusal::RecipientUnreachable, .. });
            assert!(is_refused, "{from:?} {fact:?}");
        }
    });
}

#[test]
fn what_is_the_accounts_fault_spends_no_message_that_nobody_waits_for() {
    every_move(|_, from, fact, moment, made| {
        if let Fact::Answered(Answer::AccountAtFault(_)) = fact {
            let waits = matches!(made.to, OutboundState::Waiting { reason: Hold::Account, .. });
            assert_eq!(waits, !moment.is_awaited, "{from:?}");
            assert!(!waits || tries(Some(&made.to)) < times::TRIES_MAX, "{from:?}");
        }
    });
}

#[test]
fn one_of_a_burst_is_held_judged_again_and_refused_after_a_day() {
    every_move(|_, from, fact, _, made| {
        if let Some(circumstances) = circumstances_of(fact) {
            // A request that calls again has been counted when it was asked.
            let is_counted = !matches!(fact, Fact::CalledAgain(_));
            let may_leave = match circumstances.traffic {
                Traffic::Ordinary => true,
                Traffic::Suspicious => !is_counted,
                Traffic::Refused => false,
            };
            assert!(may_leave || !is_call(&made.to), "{from:?} {fact:?}");
        }
    });
    let circumstances = Circumstances { traffic: Traffic::Suspicious, ..Circumstances::default() };
    let hour = times::SUSPICIOUS_DELAY;
    let held = |since, until| OutboundState::Waiting {
        until,
        reason: Hold::SuspiciousTraffic,
        tries: 0,
        suspicion: Some(Suspicion::Since(since)),
    };
    let at = |now| moment(now, false);
    let asked = Fact::Asked { send_at: None, circumstances: circumstances.clone() };
    let new = decide(&message(None, None), None, asked, &at(NOW)).unwrap();
    assert_eq!((&new.to, new.due), (&held(NOW, NOW + hour), Some(NOW + hour)));
    // However long ago it was asked for: the day begins with the first judgement.
    let scheduled = Outbound { created_at: NOW - 30 * times::SUSPICIOUS_HELD_MAX, ..message(None, None) };
    let judged = |state: &OutboundState, now| {
        decide(&scheduled, Some(state), Fact::Due(circumstances.clone()), &at(now)).unwrap().to
    };
    let wait = |reason| OutboundState::Waiting { until: NOW, reason, tries: 0, suspicion: None };
    // A version that did not note when it began has held it for a while already.
    for reason in [Hold::Scheduled, Hold::Turn, Hold::Fallback, Hold::SuspiciousTraffic] {
        let (mut state, mut now) = (wait(reason), NOW);
        while now < NOW + times::SUSPICIOUS_HELD_MAX {
            state = judged(&state, now);
            assert_eq!(state, held(NOW, now + hour));
            now += hour;
        }
        let end = judged(&state, now);
        assert!(matches!(end, OutboundState::Refused { code: Refusal::SuspiciousTraffic, .. }), "{end:?}");
    }
}

#[test]
fn the_guard_holds_only_what_nothing_else_holds() {
    every_move(|_, from, fact, _, made| {
        let Some(circumstances) = circumstances_of(fact) else { return };
        let begins = made.to.is_held_as_suspicious() && from != Some(&made.to);
        if begins {
            assert_eq!(circumstances.traffic, Traffic::Suspicious, "{from:?} {fact:?}");
            let free = Circumstances { traffic: Traffic::Ordinary, ..circumstances.clone() };
            let fact = match fact {
                Fact::Asked { send_at, .. } => Fact::Asked { send_at: *send_at, circumstances: free },
                _ => Fact::Due(free),
            };
            let moment = moment(NOW, false);
            let first_failed = Outbound { fallback: None, ..messages()[0].clone() };
            let otherwise = decide(&first_failed, from, fact.clone(), &moment).unwrap();
            assert!(is_call(&otherwise.to), "{from:?} {fact:?}");
        }
    });
}

#[test]
fn what_an_administrator_lets_go_is_not_held_again_and_nothing_else_is_moved() {
    every_move(|_, from, fact, _, made| {
        let suspicion = |state: Option<&OutboundState>| match state {
            Some(OutboundState::Waiting { suspicion, .. }) => *suspicion,
            _ => None,
        };
        match fact {
            Fact::TrafficDecided(verdict) => {
                assert!(from.is_some_and(OutboundState::is_held_as_suspicious), "{from:?}");
                match verdict {
                    Verdict::Release => {
                        assert_eq!((made.due, tries(Some(&made.to))), (Some(NOW), tries(from)), "{from:?}");
                        assert!(!made.to.is_to_be_counted(), "{from:?}");
                    }
                    Verdict::Refuse => assert!(
                        matches!(made.to, OutboundState::Refused { code: Refusal::SuspiciousTraffic, .. }),
                        "{from:?}"
                    ),
                }
            }
            // Nor is it forgotten by another wait: neither that it was let go nor since when it is held.
            _ => {
                let (before, after) = (suspicion(from), suspicion(Some(&made.to)));
                let is_wait = matches!(made.to, OutboundState::Waiting { .. });
                if let (Some(before), true) = (before, is_wait)
                    && !(before == Suspicion::Released && made.to.is_held_as_suspicious())
                {
                    assert_eq!(after, Some(before), "{from:?} {fact:?}");
                }
            }
        }
    });
    // Whatever else holds it back meanwhile, such as the night.
    let counted = |state: Option<OutboundState>| state.is_some_and(|state| state.is_to_be_counted());
    for state in states() {
        let is_counted = match &state {
            Some(OutboundState::Waiting { tries: 0, suspicion, .. }) => {
                *suspicion != Some(Suspicion::Released)
            }
            _ => false,
        };
        assert_eq!(counted(state.clone()), is_counted, "{state:?}");
    }
}

#[test]
fn an_opt_out_is_obeyed_before_a_review() {
    every_move(|message, from, fact, _, made| {
        let Some(circumstances) = circumstances_of(fact) else { return };
        let is_other = circumstances.batch_is_canceled || message.fallback.is_some();
        if circumstances.no_consent.is_some() && !is_other {
            assert!(matches!(made.to, OutboundState::Refused { .. }), "{from:?} {fact:?}");
        }
    });
}

#[test]
fn the_end_of_a_review_moves_what_was_held_for_it_and_nothing_else() {
    every_move(|_, from, fact, _, made| {
        if fact == &Fact::ReviewClosed {
            let held = matches!(from, Some(OutboundState::Waiting { reason: Hold::Review, .. }));
            assert!(held, "{from:?}");
            assert_eq!((tries(Some(&made.to)), made.due), (tries(from), Some(NOW)));
        }
    });
}

#[test]
fn a_call_is_compared_with_consent_and_follows_from_a_wait_or_a_call_that_was_not_processed() {
    every_move(|_, from, fact, _, made| {
        let begins = is_call(&made.to) && from != Some(&made.to);
        if begins {
            assert!(made.gate.is_some(), "{from:?} {fact:?}");
            let expected = match from {
                None => matches!(fact, Fact::Asked { .. }),
                Some(OutboundState::Waiting { .. }) => matches!(fact, Fact::Due(_)),
                Some(OutboundState::Sending { .. }) => matches!(fact, Fact::CalledAgain(_)),
                Some(_) => false,
            };
            assert!(expected, "{from:?} {fact:?}");
            assert_eq!(tries(Some(&made.to)), tries(from) + 1);
        } else {
            let is_spared = fact == &Fact::Answered(Answer::AccountAtFault(refused()));
            assert!(
                tries(Some(&made.to)) == tries(from) || made.to.is_resolved() || is_spared,
                "{from:?} {fact:?}"
            );
        }
        let is_promise = from.is_none() && matches!(fact, Fact::Asked { .. }) && !made.to.is_resolved();
        // Nobody lets go what is held for a review that was decided before it is stored.
        let is_for_review = circumstances_of(fact).is_some()
            && matches!(made.to, OutboundState::Waiting { reason: Hold::Review, .. });
        assert_eq!(made.gate.is_some(), begins || is_promise || is_for_review, "{from:?} {fact:?}");
    });
}

#[test]
fn a_message_whose_answer_was_lost_waits_again_only_after_the_searches() {
    every_move(|_, from, fact, moment, made| {
        let (Some(from), OutboundState::Waiting { .. }) = (from, &made.to) else { return };
        // A request that would call again, and finds a reply under review, leaves the message to the queue.
        let is_held = matches!(fact, Fact::CalledAgain(Circumstances { under_review_until: Some(_), .. }));
        let is_accounts = matches!(fact, Fact::Answered(Answer::AccountAtFault(_)));
        if !matches!(from, OutboundState::Waiting { .. }) && !is_held && !is_accounts {
            assert!(tries(Some(from)) < times::TRIES_MAX || from == &made.to, "{from:?} {fact:?}");
        }
        match from {
            OutboundState::Sending { .. } => {
                let is_not_processed = matches!(fact, Fact::Answered(Answer::NotProcessed { .. }));
                assert!(is_not_processed || is_held || is_accounts, "{from:?} {fact:?}");
            }
            OutboundState::Unknown { since, searches, .. } => {
                assert_eq!(fact, &Fact::Searched(Search::Nothing), "{from:?}");
                assert!(searches + 1 >= times::SEARCHES_MIN, "{from:?}");
                assert!(moment.now.since(*since) >= LOST_ANSWER_AFTER, "{from:?}");
            }
            _ => {}
        }
    });
}

#[test]
fn a_search_that_finds_nothing_counts_only_late_enough() {
    let (since, message) = (NOW, message(None, None));
    let mut state = OutboundState::Unknown { since, tries: 1, searches: 0 };
    let (mut at, mut looked_at) = (since + Duration::from_secs(1), Vec::new());
    while let OutboundState::Unknown { searches, .. } = state {
        let made =
            decide(&message, Some(&state), Fact::Searched(Search::Nothing), &moment(at, false)).unwrap();
        looked_at.push((at.since(since).as_secs(), searches));
        (state, at) = (made.to, made.due.unwrap());
    }
    assert!(matches!(state, OutboundState::Waiting { reason: Hold::Retry, .. }), "{state:?}");
    assert_eq!(looked_at, [(1, 0), (11, 0), (20, 0), (30, 1), (40, 1)]);
}

#[test]
fn a_search_settles_nothing_while_the_call_may_be_under_way() {
    every_move(|_, from, fact, moment, _| {
        if let (Some(OutboundState::Sending { since, .. }), Fact::Searched(_)) = (from, fact) {
            assert!(times::is_call_over(*since, moment.now), "{from:?} {fact:?}");
        }
    });
}

#[test]
fn nothing_moves_a_message_out_of_its_end() {
    every_move(|_, from, fact, _, _| {
        assert!(from.is_none_or(|from| !from.is_resolved()), "{from:?} {fact:?}");
    });
}

#[test]
fn somebody_looks_again_at_every_message_that_has_not_come_to_its_end() {
    every_move(|_, from, fact, moment, made| {
        assert_eq!(made.due.is_none(), made.to.is_resolved(), "{from:?} {fact:?}");
        assert!(made.due.is_none_or(|due| due >= moment.now), "{from:?} {fact:?}");
    });
}

#[test]
fn every_end_of_ours_is_told_once_by_the_answer_or_by_the_callers_own_url() {
    every_move(|message, from, fact, moment, made| {
        let is_ours = matches!(made.to, OutboundState::Canceled { .. } | OutboundState::Refused { .. });
        let expected = is_ours && message.status_callback.is_some() && !moment.is_awaited;
        assert_eq!(made.tell, expected, "{from:?} {fact:?}");
    });
}

#[test]
fn a_proof_replaces_every_state_but_another_proof() {
    let proof = proven(sid(), NOW);
    for state in states().into_iter().flatten() {
        let is_proven = matches!(state, OutboundState::Accepted { .. });
        assert_eq!(proof.rank() > state.rank(), !is_proven, "{state:?}");
    }
}

#[test]
fn a_second_message_leaves_only_if_the_first_has_not_arrived_in_its_time() {
    every_move(|message, from, fact, _, made| {
        if let (Some(Fallback::Second { .. }), Fact::Due(circumstances)) = (message.fallback, fact)
            && is_call(&made.to)
        {
            let late = Some(First::Accepted(NOW - Duration::from_secs(120)));
            let allowed = [None, Some(First::Failed), late];
            assert!(allowed.contains(&circumstances.first), "{from:?} {fact:?}");
        }
    });
}

#[test]
fn a_message_that_waits_for_a_canceled_batch_is_canceled_unless_it_waits_for_its_first() {
    every_move(|message, from, fact, _, made| {
        if let Fact::Due(circumstances) = fact
            && circumstances.batch_is_canceled
            && message.fallback.is_none()
        {
            assert!(matches!(made.to, OutboundState::Canceled { .. }), "{from:?} {fact:?}");
        }
    });
}

#[test]
fn a_batch_that_never_comes_ends_its_messages() {
    let moment = moment(NOW, false);
    let state = OutboundState::Waiting { until: NOW, reason: Hold::Turn, tries: 0, suspicion: None };
    let of_age = |age: Duration| {
        let created_at = NOW - age;
        let message = Outbound { created_at, ..message(None, None) };
        decide(&message, Some(&state), Fact::BatchMissing, &moment).unwrap()
    };
    assert_eq!(of_age(Duration::ZERO).due, Some(NOW + Duration::from_millis(250)));
    assert_eq!(of_age(Duration::from_secs(4)).due, Some(NOW + Duration::from_secs(2)));
    assert_eq!(of_age(Duration::from_secs(86_400)).due, Some(NOW + Duration::from_secs(600)));
    let ended = of_age(times::BATCH_MISSING_MAX).to;
    assert!(matches!(ended, OutboundState::Refused { code: Refusal::NotAccepted, .. }), "{ended:?}");
}

/// What happens next in the life of a message.
#[derive(Debug, Clone, Copy)]
enum Happening {
    /// The call is processed, and the answer arrives.
    Processed,
    /// The call is processed, and the answer is lost.
    ProcessedAndLost,
    /// The call is not processed, and Twilio says so.
    NotProcessed,
    /// Nobody knows whether the call was processed: it was not.
    LostOnTheWay,
    /// The process ends while it calls; Twilio has processed the call or not.
    Crash {
        processed: bool,
    },
    /// Twilio refuses.
    Refused,
    /// A callback arrives, if Twilio has the message.
    Callback,
    /// A search fails.
    SearchFails,
    /// A search is made.
    Searches,
    /// The person opts out or in.
    Stop,
    Start,
    /// The person replies what may be an opt-out, or somebody decides that it was none.
    DoubtfulReply,
    Dismissed,
    /// The day's limit is reached.
    BeyondDailyLimit,
    /// Nobody has an account, or a key.
    Unusable,
    /// Somebody calls the message off.
    CalledOff,
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    prop_oneof![
        1 => Just(Processed),
        2 => Just(ProcessedAndLost),
        3 => Just(NotProcessed),
        2 => Just(LostOnTheWay),
        1 => any::<bool>().prop_map(|processed| Crash { processed }),
        1 => Just(Refused),
        1 => Just(Callback),
        1 => Just(SearchFails),
        4 => Just(Searches),
        1 => Just(Stop),
        1 => Just(Start),
        1 => Just(DoubtfulReply),
        1 => Just(Dismissed),
        1 => Just(BeyondDailyLimit),
        1 => Just(Unusable),
        1 => Just(CalledOff),
    ]
}

/// A message, Twilio and a person, as they really are.
struct Life {
    message: Outbound,
    state: OutboundState,
    /// When somebody looks at the message next.
    due: UnixMs,
    now: UnixMs,
    /// Twilio has the message.
    at_twilio: bool,
    opted_out: bool,
    under_review: bool,
    /// A process is calling Twilio.
    calling: bool,
    calls: u32,
    told: u32,
}

impl Life {
    fn new(message: Outbound) -> Self {
        let state = OutboundState::Waiting { until: NOW, reason: Hold::Turn, tries: 0, suspicion: None };
        Self {
            message,
            state,
            due: NOW,
            now: NOW,
            at_twilio: false,
            opted_out: false,
            under_review: false,
            calling: false,
            calls: 0,
            told: 0,
        }
    }

    fn apply(&mut self, fact: Fact) {
        let moment = moment(self.now, false);
        let Some(made) = decide(&self.message, Some(&self.state), fact, &moment) else { return };
        if is_call(&made.to) && made.gate.is_some() {
            assert!(!self.opted_out, "a call for a person who has opted out");
            assert!(!self.under_review, "a call for a person whose reply is under review");
            assert!(!self.at_twilio, "a second message at Twilio");
            self.calls += 1;
            self.calling = true;
        }
        self.told += u32::from(made.tell);
        self.due = made.due.unwrap_or(self.now);
        self.state = made.to;
    }

    /// Lets `happening` happen, and whoever takes messages up do what is to be done.
    fn live(&mut self, happening: Happening) {
        self.now += Duration::from_secs(1);
        match happening {
            Happening::Stop => (self.opted_out, self.under_review) = (true, false),
            Happening::Start => (self.opted_out, self.under_review) = (false, false),
            Happening::DoubtfulReply => self.under_review = !self.opted_out,
            Happening::Dismissed => {
                self.under_review = false;
                self.apply(Fact::ReviewClosed);
            }
            Happening::CalledOff => self.apply(Fact::CalledOff),
            Happening::Callback if self.at_twilio => {
                let proof = proven(sid(), self.now);
                if proof.rank() > self.state.rank() {
                    self.state = proof;
                }
            }
            Happening::Callback => {}
            Happening::Unusable if !self.calling => self.apply(Fact::Unusable),
            happening if self.calling => self.call_ends(happening),
            happening => self.taken_up(happening),
        }
    }

    fn call_ends(&mut self, happening: Happening) {
        let not_processed = || Answer::NotProcessed { refused: refused(), retry_after: None };
        self.calling = false;
        match happening {
            Happening::ProcessedAndLost => {
                self.at_twilio = true;
                self.apply(Fact::Answered(Answer::Lost));
            }
            Happening::LostOnTheWay => self.apply(Fact::Answered(Answer::Lost)),
            Happening::NotProcessed => self.apply(Fact::Answered(not_processed())),
            Happening::Refused => self.apply(Fact::Answered(Answer::Refused(refused()))),
            // It is counted before the call begins.
            Happening::BeyondDailyLimit => self.apply(Fact::BeyondDailyLimit),
            Happening::Crash { processed } => self.at_twilio = processed,
            _ => {
                self.at_twilio = true;
                self.apply(Fact::Answered(Answer::Accepted(sid())));
            }
        }
    }

    /// Somebody takes the message up once its time has come.
    fn taken_up(&mut self, happening: Happening) {
        match self.state {
            OutboundState::Waiting { until, .. } => {
                self.now = self.now.max(until);
                let no_consent = self.opted_out.then_some(NoConsent::OptedOut);
                let under_review_until = self.under_review.then_some(self.now);
                let known = Circumstances { no_consent, under_review_until, ..Circumstances::default() };
                self.apply(Fact::Due(known));
            }
            OutboundState::Sending { since, .. } | OutboundState::Unknown { since, .. } => {
                self.now = self.now.max(since + times::LOST_AFTER).max(self.due);
                let search = match (happening, self.at_twilio) {
                    (Happening::SearchFails, _) => Search::Failed(Duration::from_secs(1)),
                    (_, true) => Search::Found(sid()),
                    (_, false) => Search::Nothing,
                };
                self.apply(Fact::Searched(search));
            }
            _ => {}
        }
    }
}

proptest! {
    #[test]
    fn whatever_happens_one_person_gets_one_message_and_every_life_ends(
        happenings in prop::collection::vec(happening(), 1..200),
        has_callback: bool,
    ) {
        let callback = has_callback.then_some("https://example.com/status");
        let mut life = Life::new(message(callback, None));
        for happening in happenings {
            life.live(happening);
            if life.state.is_resolved() && !life.calling {
                break;
            }
        }
        // From now on nothing stands in the way but Twilio, which never processes a call.
        life.live(Happening::Dismissed);
        let mut steps = 0;
        while !life.state.is_resolved() {
            life.live(Happening::NotProcessed);
            steps += 1;
            prop_assert!(steps <= STEPS_MAX, "no end after {steps} steps: {:?}", life.state);
        }
        prop_assert!(life.calls <= times::TRIES_MAX);
        let is_ours = !matches!(life.state, OutboundState::Accepted { .. });
        prop_assert_eq!(life.told, u32::from(is_ours && has_callback), "{:?}", life.state);
        if life.at_twilio {
            // A call that was refused is not at Twilio; whatever is there has been proved, or will be by its callback.
            life.live(Happening::Callback);
            prop_assert!(matches!(life.state, OutboundState::Accepted { .. }), "{:?}", life.state);
        }
    }
}
