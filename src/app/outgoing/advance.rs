//! Takes a message on its way out one step further: the only place that stores such a step.
//!
//! The order is always the same, and each part of it is needed: load what the rule asks for, ask the rule, plan what has
//! to be told to the caller's own URL, make the step, and only then call Twilio. A crash between two parts leaves a
//! message that is taken up again: told of an end that did not come is corrected when it is told, and a message that is
//! stored as `sending` is looked for at Twilio before it is sent again.
//!
//! Twilio is called with a [`Cleared`] in hand, which only a stored move to `sending` gives out.

use std::{collections::HashSet, sync::Arc};

use rand::RngExt;

use super::{batch::ContentCache, limits::DayCount, room::Promises, traffic_decisions::LastRead};

use crate::{
    app::{
        Core, DECISIONS_MAX, Scope, accounts::Accounts, api_keys::ApiKeys, audit, contended, relays::Relays,
    },
    domain::{
        Consent, Hold, MessageId, Outbound, OutboundState, Refusal, UnixMs,
        audit::Entry,
        outgoing::{
            Fact, Move,
            rule::{self, Circumstances, Moment},
        },
        pumping::Traffic,
    },
    store::{
        self, ConsentVersion, Gate, KnownConsent, NewOutbound, Passed, Queued, Step, StoredOutbound,
        outbox::OUTBOUNDS_MAX,
    },
};

/// Makes the steps of messages on their way out.
pub struct Steps {
    pub(super) core: Arc<Core>,
    pub(super) accounts: Arc<Accounts>,
    pub(super) api_keys: Arc<ApiKeys>,
    relays: Arc<Relays>,
    pub(super) contents: ContentCache,
    pub(super) promises: Promises,
    pub(super) decisions: LastRead,
}

impl Steps {
    /// The service, over those that it uses.
    pub(in crate::app) fn new(
        core: Arc<Core>,
        accounts: Arc<Accounts>,
        api_keys: Arc<ApiKeys>,
        relays: Arc<Relays>,
    ) -> Self {
        let (contents, promises, decisions) =
            (ContentCache::default(), Promises::default(), LastRead::default());
        Self { core, accounts, api_keys, relays, contents, promises, decisions }
    }
}

/// Why a message is taken up.
#[derive(Debug, Clone)]
pub(super) enum Occasion {
    /// Its time has come.
    Due,
    /// Its request calls Twilio again: the last call was not processed.
    CalledAgain,
    /// Something has become known that needs nothing else to decide on.
    Known(Fact),
    /// Somebody calls it off, of which the audit has this entry.
    CalledOff(Box<Entry>),
}

/// A message that may be handed to Twilio now: it is stored as `sending`. Only [`Steps`] make one.
#[derive(Debug)]
pub(super) struct Cleared {
    state: OutboundState,
}

impl Cleared {
    /// The state in which the message is stored.
    pub(super) fn state(&self) -> &OutboundState {
        &self.state
    }
}

/// What became of a message that was taken up.
#[derive(Debug)]
pub(super) enum Advanced {
    /// It may be handed to Twilio, now.
    Cleared(Cleared),
    /// It is in another state, or looked at again later.
    Moved(OutboundState),
    /// It is not to be sent, on what was known.
    Refused {
        /// Why.
        code: Refusal,
        /// On what it was decided.
        circumstances: Circumstances,
    },
    /// There was nothing to do, or somebody else has moved it meanwhile.
    Unmoved,
}

/// What became of a new message.
#[derive(Debug)]
pub(super) enum Created {
    /// It may be handed to Twilio, now.
    Cleared(Cleared),
    /// It waits.
    Waiting(UnixMs, Hold),
    /// It is not sent, on what was known.
    Refused {
        /// Why.
        code: Refusal,
        /// On what it was decided.
        circumstances: Circumstances,
    },
    /// An earlier try of the same request has stored it.
    Before,
}

impl Scope<'_, Steps> {
    /// The moment of a decision.
    fn moment(&self, is_awaited: bool) -> Moment {
        Moment {
            now: self.core.now_ms(),
            jitter: rand::rng().random_range(0.5..1.0),
            is_awaited,
            lost_answer_after: self.core.settings.lost_answer_after,
        }
    }

    /// Takes `outbound`, which is stored in the state `from`, one step further. `is_awaited` says that a request waits for
    /// the outcome, and tells its caller.
    pub(super) async fn advance(
        &self,
        outbound: &Outbound,
        from: &OutboundState,
        occasion: Occasion,
        is_awaited: bool,
    ) -> Result<Advanced, store::Error> {
        let (mut cooling_until, mut judged) = (None, None);
        for _ in 0..DECISIONS_MAX {
            let moment = self.moment(is_awaited);
            let traffic = judged.unwrap_or_default();
            let mut circumstances = Circumstances { cooling_until, traffic, ..Circumstances::default() };
            let mut known = None;
            if matches!(occasion, Occasion::Due | Occasion::CalledAgain) {
                if matches!(occasion, Occasion::Due) {
                    circumstances.first = self.first_of_pair(outbound).await?;
                    circumstances.batch_is_canceled = self.is_batch_canceled(outbound).await?;
                }
                let person = self.consent_to_send(outbound).await?;
                circumstances = self.may_leave(outbound, &person.consent, moment.now, circumstances);
                known = Some(person);
            }
            let fact = match &occasion {
                Occasion::Due => Fact::Due(circumstances.clone()),
                Occasion::CalledAgain => Fact::CalledAgain(circumstances.clone()),
                Occasion::Known(fact) => fact.clone(),
                Occasion::CalledOff(_) => Fact::CalledOff,
            };
            let entry = match &occasion {
                Occasion::CalledOff(entry) => Some(entry.as_ref()),
                Occasion::Due | Occasion::CalledAgain | Occasion::Known(_) => None,
            };
            let Some(step) = rule::decide(outbound, Some(from), fact, &moment) else {
                return Ok(Advanced::Unmoved);
            };
            if let (true, None, Some(known)) = (leaves(&step), judged, &known) {
                let traffic = self.judge(outbound, Some(from), known).await?;
                judged = Some(traffic);
                if traffic != Traffic::Ordinary {
                    continue;
                }
            }
            let version = known.map(|known| known.version);
            match self.step(outbound, from, &step, version, moment.now, entry).await? {
                Passed::Yes => {
                    entry.into_iter().for_each(|entry| audit::log(self.organization, entry));
                    self.obey_latest_decision(outbound, &step.to).await;
                    return Ok(match step.to {
                        OutboundState::Sending { .. } => Advanced::Cleared(Cleared { state: step.to }),
                        OutboundState::Refused { code, .. } => Advanced::Refused { code, circumstances },
                        to => Advanced::Moved(to),
                    });
                }
                Passed::StateChanged => {
                    // What a callback has proved meanwhile stays, and then nobody has to look at the message again.
                    self.core.store.dequeue(self.organization, &outbound.flow(), &outbound.id).await?;
                    return Ok(Advanced::Unmoved);
                }
                Passed::CoolingDown { until } => cooling_until = Some(until),
                Passed::ConsentChanged => {}
            }
        }
        Err(contended())
    }

    /// Stores a new message, and in the same step who asked for it: about to be handed to Twilio, or to wait until it may be.
    /// One that is refused at once is not stored. One that is stored is counted among those of the day on which it is due,
    /// and goes no further beyond that day's limit.
    pub(super) async fn create(
        &self,
        outbound: &Outbound,
        content: &str,
        send_at: Option<UnixMs>,
        entry: &Entry,
    ) -> Result<Created, store::Error> {
        let (mut cooling_until, mut judged) = (None, None);
        for _ in 0..DECISIONS_MAX {
            let moment = self.moment(true);
            let known = self.consent_to_send(outbound).await?;
            let traffic = judged.unwrap_or_default();
            let circumstances = Circumstances { cooling_until, traffic, ..Circumstances::default() };
            let circumstances = self.may_leave(outbound, &known.consent, moment.now, circumstances);
            let fact = Fact::Asked { send_at, circumstances: circumstances.clone() };
            let Some(step) = rule::decide(outbound, None, fact, &moment) else {
                return Err(contended());
            };
            if judged.is_none() && leaves(&step) {
                let traffic = self.judge(outbound, None, &known).await?;
                judged = Some(traffic);
                if traffic != Traffic::Ordinary {
                    continue;
                }
            }
            let Move { to, due, gate, .. } = step;
            if let OutboundState::Refused { code, .. } = to {
                return Ok(Created::Refused { code, circumstances });
            }
            let (Some(gate), Some(due)) = (gate, due) else { return Err(contended()) };
            let gate = Gate { consent: known.version, cooldown: gate.cooldown, now: moment.now };
            let bytes = content.len() as u64;
            let _room = match to {
                OutboundState::Waiting { .. } => {
                    let Some(room) = self.room_for(Queued { messages: 1, bytes }).await? else {
                        if to.is_held_as_suspicious() {
                            self.forget_held(outbound).await;
                        }
                        return Ok(Created::Refused { code: Refusal::QueueFull, circumstances });
                    };
                    Some(room)
                }
                _ => None,
            };
            let content = Some(content.to_owned());
            let new = NewOutbound {
                outbound: outbound.clone(),
                state: to,
                content,
                bytes,
                due,
                entry: Some(entry.clone()),
            };
            match self.core.store.create_outbound(self.organization, &new, Some(&gate)).await? {
                Passed::Yes => return self.created(new, circumstances).await,
                // An id is drawn from so many that it is nobody else's: it is this message that is there, by a command
                // that the store's client has repeated, or by another try of the same request.
                Passed::StateChanged => {
                    match self.core.store.outbound(self.organization, &outbound.id).await? {
                        Some(stored) if stored.outbound == *outbound && stored.state == new.state => {
                            return self.created(new, circumstances).await;
                        }
                        Some(_) => return Ok(Created::Before),
                        None => return Err(contended()),
                    }
                }
                Passed::CoolingDown { until } => cooling_until = Some(until),
                Passed::ConsentChanged => {}
            }
        }
        Err(contended())
    }

    /// A new message as it is put into the queue, due at `due`, where it takes `bytes`. Consent is asked for when it
    /// leaves.
    pub(super) fn queued(
        &self,
        outbound: Outbound,
        content: Option<String>,
        bytes: u64,
        due: UnixMs,
        reason: Hold,
    ) -> NewOutbound {
        let fact = Fact::Queued { due, reason };
        let step = rule::decide(&outbound, None, fact, &self.moment(false));
        let state = step.expect("a new message can be queued").to;
        NewOutbound { outbound, state, content, bytes, due, entry: None }
    }

    /// Puts new messages into the queue. Each is stored whole or not at all; one that is there already stays as it is.
    pub(super) async fn enqueue(&self, new: &[NewOutbound]) -> Result<(), store::Error> {
        self.core.store.enqueue(self.organization, new).await
    }

    /// Which of `new` an earlier try of the same request has stored.
    pub(super) async fn stored_before(
        &self,
        new: &[NewOutbound],
    ) -> Result<HashSet<MessageId>, store::Error> {
        let mut before = HashSet::new();
        for some in new.chunks(OUTBOUNDS_MAX) {
            let ids: Vec<MessageId> = some.iter().map(|new| new.outbound.id).collect();
            let known = self.core.store.outbounds(self.organization, &ids).await?;
            before.extend(known.into_iter().flatten().map(|stored| stored.outbound.id));
        }
        Ok(before)
    }

    /// Takes a message out of the queue that has come to its end.
    pub(super) async fn dequeue(&self, stored: &StoredOutbound) -> Result<(), store::Error> {
        self.core.store.dequeue(self.organization, &stored.outbound.flow(), &stored.outbound.id).await
    }

    /// What became of a new message that is stored, after it is counted.
    async fn created(&self, new: NewOutbound, circumstances: Circumstances) -> Result<Created, store::Error> {
        let NewOutbound { outbound, state, entry, .. } = new;
        if let Some(entry) = &entry {
            audit::log(self.organization, entry);
        }
        let due = match &state {
            OutboundState::Waiting { until, .. } => *until,
            _ => self.core.now_ms(),
        };
        // The message is stored and will leave: an error told its caller to send it again.
        let is_beyond = self.is_beyond_the_day(&outbound, &state, due).await.unwrap_or_else(|error| {
            tracing::warn!(organization = %self.organization, id = %outbound.id, %error, "a message could not be counted for its day, and leaves");
            false
        });
        if is_beyond {
            return Ok(Created::Refused { code: Refusal::DailyLimitReached, circumstances });
        }
        self.obey_latest_decision(&outbound, &state).await;
        Ok(match state {
            OutboundState::Waiting { until, reason, .. } => Created::Waiting(until, reason),
            OutboundState::Sending { .. } => Created::Cleared(Cleared { state }),
            _ => Created::Before,
        })
    }

    /// Counts `outbound`, which is stored in `state`, among those of the day on which it is `due`. Whether it is beyond that
    /// day's limit, and therefore refused.
    async fn is_beyond_the_day(
        &self,
        outbound: &Outbound,
        state: &OutboundState,
        due: UnixMs,
    ) -> Result<bool, store::Error> {
        let DayCount::Beyond { .. } = self.count_for_the_day(due, 1, outbound.actor.as_ref()).await? else {
            return Ok(false);
        };
        let moment = self.moment(true);
        if let Some(step) = rule::decide(outbound, Some(state), Fact::BeyondDailyLimit, &moment) {
            self.step(outbound, state, &step, None, moment.now, None).await?;
        }
        Ok(true)
    }

    /// Moves `outbound`, which has just been stored in `state`, if it is held as one of a burst and was decided on while it was
    /// judged: it was not held yet when whoever decided looked for what is. If that fails it is judged again with all that is
    /// held.
    async fn obey_latest_decision(&self, outbound: &Outbound, state: &OutboundState) {
        if !state.is_held_as_suspicious() {
            return;
        }
        let obeyed = async {
            let moment = self.moment(false);
            let decisions = self.traffic_decisions().await?;
            let verdict = decisions.on(outbound.to.bare().as_str(), moment.now);
            let fact = verdict.map(Fact::TrafficDecided);
            let step = fact.and_then(|fact| rule::decide(outbound, Some(state), fact, &moment));
            match step {
                Some(step) => self.step(outbound, state, &step, None, moment.now, None).await.map(drop),
                None => Ok(()),
            }
        };
        if let Err(error) = obeyed.await {
            tracing::warn!(organization = %self.organization, id = %outbound.id, %error, "a decision on a message that is held is obeyed later");
        }
    }

    /// Makes the step, after what it has to tell is planned, and adds `entry` to the audit with it.
    async fn step(
        &self,
        outbound: &Outbound,
        from: &OutboundState,
        step: &Move,
        version: Option<ConsentVersion>,
        now: UnixMs,
        entry: Option<&Entry>,
    ) -> Result<Passed, store::Error> {
        if step.tell {
            self.relays.of(self.organization).plan_relay_of_own_end(outbound).await?;
        }
        let gate = match (step.gate, version) {
            (Some(gate), Some(consent)) => Some(Gate { consent, cooldown: gate.cooldown, now }),
            (None, _) => None,
            // Nothing leaves on a consent that nobody has asked for.
            (Some(_), None) => return Ok(Passed::ConsentChanged),
        };
        let step =
            Step { from: from.clone(), to: step.to.clone(), due: step.due, gate, entry: entry.cloned() };
        let passed = self.core.store.step_outbound(self.organization, outbound, &step).await?;
        if passed == Passed::Yes && from.is_held_as_suspicious() && !step.to.is_held_as_suspicious() {
            self.forget_held(outbound).await;
        }
        Ok(passed)
    }

    /// The circumstances of `outbound`, with what consent and limits say.
    fn may_leave(
        &self,
        outbound: &Outbound,
        consent: &Consent,
        now: UnixMs,
        known: Circumstances,
    ) -> Circumstances {
        let limits = &self.core.settings.limits;
        let route = outbound.route();
        Circumstances {
            no_consent: consent.refusal(&route, self.core.settings.required_opt_in),
            not_allowed: self.destinations(outbound.from.as_ref()).not_allowed(&outbound.to),
            suppressed_since: self.suppressed_since(consent, outbound.to.channel()),
            under_review_until: consent.under_review_until(&route),
            quiet_until: limits.quiet_until(outbound, now),
            cooldown: limits.cooldown(outbound),
            ..known
        }
    }

    /// What is known of the recipient's consent, once what suppresses the number is lifted if it has been reached since.
    async fn consent_to_send(&self, outbound: &Outbound) -> Result<KnownConsent, store::Error> {
        let (recipient, channel) = (outbound.recipient(), outbound.to.channel());
        let known = self.core.store.consent(self.organization, &recipient).await?;
        if self.suppressed_since(&known.consent, channel).is_none() {
            return Ok(known);
        }
        self.lift_if_reached(known, channel).await
    }

    async fn is_batch_canceled(&self, outbound: &Outbound) -> Result<bool, store::Error> {
        match &outbound.batch {
            Some(batch) => self.is_canceled(batch).await,
            None => Ok(false),
        }
    }
}

/// Whether `step` is one by which a message leaves.
fn leaves(step: &Move) -> bool {
    matches!(step.to, OutboundState::Sending { .. })
}
