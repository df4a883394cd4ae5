//! Erases one person's data: everything by which they are named, and what they wrote, in the order in which each part leads
//! to the next. What leads to the rest goes last, so that whoever repeats an erasure that was cut short completes it.
//!
//! An erasure is done in steps, of which each takes a moment: a person may have a hundred thousand messages, and the streams of
//! the organization may have millions of entries, which are looked through for theirs.
//!
//! What the person has opted out of is obeyed all the same: it stays under their [pseudonym](crate::domain::Pseudonym), until they
//! say otherwise.

use std::{collections::HashSet, ops::AddAssign, sync::Arc};

use futures_util::{StreamExt, TryStreamExt};

use super::{
    Core, DECISIONS_MAX, Scope, audit,
    consents::Consents,
    contended,
    forwards::Forwards,
    incoming::intake::Intake,
    outgoing::{advance::Steps, number_code},
    relays::Relays,
    scope::scoped,
};
use crate::{
    domain::{
        Consent, Event, EventId, HistoryId, MessageId, MessageRef, OutboundState, Person,
        audit::{Action, Masked, Origin, Subject},
        consent::ConsentChannel,
    },
    store::{self, EVENTS_PAGE_MAX, Forget, Kind, PAGE_MAX, StoredOutbound, outbox::OUTBOUNDS_MAX},
    twilio::BareAddress,
};

/// Pages of a person's messages that one step takes away.
const MESSAGE_PAGES_MAX: usize = 4;

/// Pages of events that one step looks through.
const EVENT_PAGES_MAX: usize = 20;

/// Messages that are taken away at the same time.
const FORGOTTEN_AT_ONCE: usize = 64;

/// What was erased, by kind and count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Erased {
    /// Messages to the person, with their texts and what Twilio told of each.
    pub messages: usize,
    /// Entries of the streams.
    pub events: usize,
    /// Changes in the history of their consent.
    pub consent_changes: usize,
    /// Replies that were under review, with their words.
    pub reviews: usize,
    /// Users' preferences with their number.
    pub preferences: usize,
    /// Other names that led to them.
    pub names: usize,
}

impl AddAssign for Erased {
    fn add_assign(&mut self, other: Self) {
        self.messages += other.messages;
        self.events += other.events;
        self.consent_changes += other.consent_changes;
        self.reviews += other.reviews;
        self.preferences += other.preferences;
        self.names += other.names;
    }
}

/// What a step of an erasure has come to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ErasureStep {
    /// What it has erased.
    pub erased: Erased,
    /// Where the next step begins; `None` after the last one.
    pub next: Option<EventId>,
    /// Messages to the person that are being handed to Twilio, or of which it is not known whether Twilio has them. They stay
    /// until that is known.
    pub on_their_way: usize,
    /// Records that cannot be read, of which nobody knows whether they are the person's.
    pub unreadable: usize,
    /// Whether this process holds what Twilio told while the store was away: it may be of the person too.
    pub is_spooled: bool,
    /// The channels whose opt-out stays, under the pseudonym; known after the last step.
    pub kept: Vec<ConsentChannel>,
}

/// Erases persons' data.
pub struct Erasures {
    core: Arc<Core>,
    steps: Arc<Steps>,
    consents: Arc<Consents>,
    forwards: Arc<Forwards>,
    relays: Arc<Relays>,
    intake: Arc<Intake>,
}

scoped!(Erasures);

/// Whose data is erased: by the name under which it is kept, and by the others that lead to that.
struct Names {
    person: Person,
    others: Vec<Person>,
}

impl Names {
    fn all(&self) -> impl Iterator<Item = &Person> {
        std::iter::once(&self.person).chain(&self.others)
    }

    fn are_of(&self, address: &BareAddress) -> bool {
        let person = Person::of(address);
        self.all().any(|name| *name == person)
    }

    fn are_named_by(&self, event: &Event) -> bool {
        match event {
            Event::Delivery(entry) => {
                [&entry.to, &entry.from].into_iter().flatten().any(|of| self.are_of(of))
            }
            Event::Inbound(entry) => self.are_of(&entry.from),
            Event::Consent(entry) => self.are_of(&entry.phone),
        }
    }
}

impl Erasures {
    /// The service, over those that it uses.
    pub(super) fn new(
        core: Arc<Core>,
        steps: Arc<Steps>,
        consents: Arc<Consents>,
        forwards: Arc<Forwards>,
        relays: Arc<Relays>,
        intake: Arc<Intake>,
    ) -> Self {
        Self { core, steps, consents, forwards, relays, intake }
    }
}

impl Scope<'_, Erasures> {
    /// Does a step of the erasure of the person at `phone`, which `by` asks for: the first one, or the one that begins where an
    /// earlier one said. The first is written down in the audit before it erases anything.
    pub async fn erase(
        &self,
        phone: &BareAddress,
        from: Option<EventId>,
        by: &Origin,
    ) -> Result<ErasureStep, store::Error> {
        let names = self.names(phone).await?;
        if from.is_none() {
            let entry = by.entry(Action::PersonErase).about(Subject::Person(Masked::of(phone)));
            audit::record(&self.core, self.organization, &entry).await?;
        }
        let mut step = ErasureStep { is_spooled: self.intake.holds_anything(), ..ErasureStep::default() };
        let from = from.unwrap_or(EventId::START);
        if !self.erase_messages(&names, &mut step).await? {
            step.next = Some(from);
            return Ok(step);
        }
        step.next = self.erase_events(&names, from, &mut step).await?;
        if step.next.is_none() {
            self.erase_person(&names, &mut step).await?;
        }
        Ok(step)
    }

    async fn names(&self, phone: &BareAddress) -> Result<Names, store::Error> {
        let known = self.core.store.consent(self.organization, &Person::of(phone)).await?;
        let person = known.version.person().clone();
        let others = self.core.store.other_names(self.organization, &person).await?;
        Ok(Names { person, others })
    }

    /// Takes messages to the person away, after those that wait are called off; whether all of them are.
    async fn erase_messages(&self, names: &Names, step: &mut ErasureStep) -> Result<bool, store::Error> {
        let mut before = HistoryId::END;
        for _ in 0..MESSAGE_PAGES_MAX {
            let store = &self.core.store;
            let page = store.history(self.organization, Some(&names.person), before, OUTBOUNDS_MAX).await?;
            let Some((last, _)) = page.last() else { return Ok(true) };
            before = *last;
            let ids: Vec<MessageId> = page
                .iter()
                .filter_map(|(_, message)| match message {
                    MessageRef::Id(id) => Some(*id),
                    MessageRef::Sid(_) => None,
                })
                .collect();
            let mut rows = store.outbound_rows(self.organization, &ids).await?.into_iter();
            let found: Vec<_> = page
                .into_iter()
                .map(|(place, message)| {
                    let stored = match message {
                        MessageRef::Id(_) => rows.next().unwrap_or(Ok(None)),
                        MessageRef::Sid(_) => Ok(None),
                    };
                    (place, message, stored)
                })
                .collect();
            let mut erased = futures_util::stream::iter(found)
                .map(|(place, message, stored)| async move {
                    match stored {
                        Ok(stored) => self.erase_message(place, &message, stored).await.map(Some),
                        Err(unreadable) => {
                            self.core.tell_unreadable(self.organization, &unreadable);
                            Ok::<_, store::Error>(None)
                        }
                    }
                })
                .buffer_unordered(FORGOTTEN_AT_ONCE);
            while let Some(is_erased) = erased.try_next().await? {
                match is_erased {
                    Some(true) => step.erased.messages += 1,
                    Some(false) => step.on_their_way += 1,
                    None => step.unreadable += 1,
                }
            }
        }
        Ok(false)
    }

    /// Takes `message` away, unless it is on its way to Twilio; whether it is away.
    async fn erase_message(
        &self,
        place: HistoryId,
        message: &MessageRef,
        stored: Option<StoredOutbound>,
    ) -> Result<bool, store::Error> {
        let sid = match (message, &stored) {
            (MessageRef::Sid(sid), _) => Some(sid.clone()),
            (MessageRef::Id(_), None) => None,
            (MessageRef::Id(_), Some(stored)) => match self.steps.of(self.organization).end(stored).await? {
                OutboundState::Accepted { message_sid, .. } => Some(message_sid),
                end if end.is_resolved() => None,
                _ => return Ok(false),
            },
        };
        if let Some(sid) = &sid {
            self.forwards.of(self.organization).forget_statuses(sid).await?;
        }
        if let Some(StoredOutbound { outbound, .. }) = &stored {
            if let (Some(_), Some(sid)) = (&outbound.status_callback, &sid) {
                self.relays.of(self.organization).forget_relays(sid).await?;
            }
            number_code::forget_confirmation(&self.core, self.organization, outbound).await?;
        }
        let messages = [(place, message.clone())];
        self.core.store.forget_messages(self.organization, &messages, Forget::Any).await?;
        Ok(true)
    }

    /// Takes the person's entries out of the streams; where to go on, if these did not come to their end.
    async fn erase_events(
        &self,
        names: &Names,
        from: EventId,
        step: &mut ErasureStep,
    ) -> Result<Option<EventId>, store::Error> {
        let (mut after, store) = (from, &self.core.store);
        for _ in 0..EVENT_PAGES_MAX {
            let page = store.events(self.organization, after, EVENTS_PAGE_MAX).await?;
            let Some((last, _)) = page.last() else { return Ok(None) };
            after = *last;
            let mut theirs = Vec::new();
            for (id, event) in page {
                match event {
                    Ok(event) if names.are_named_by(&event) => {
                        self.forwards.of(self.organization).forget_form(&event).await?;
                        theirs.push(id);
                    }
                    Ok(_) => {}
                    Err(unreadable) => {
                        self.core.tell_unreadable(self.organization, &unreadable);
                        step.unreadable += 1;
                    }
                }
            }
            if !theirs.is_empty() {
                store.forget_events(self.organization, &theirs).await?;
                step.erased.events += theirs.len();
            }
        }
        Ok(Some(after))
    }

    /// Takes away what is kept of the person themselves.
    async fn erase_person(&self, names: &Names, step: &mut ErasureStep) -> Result<(), store::Error> {
        let consents = self.consents.of(self.organization);
        let (preferences, unreadable) = consents.erase_preferences(|phone| names.are_of(phone)).await?;
        step.erased.preferences += preferences;
        step.unreadable += unreadable;
        for name in names.all() {
            let kind = Kind::HelpAnswers;
            self.forget_document(kind, name.as_str()).await?;
            consents.unlist_suppressions(name, ConsentChannel::All).await?;
            for counter in self.counters_of(name) {
                self.core.store.forget_counter(self.organization, &counter).await?;
            }
        }
        let kept = self.erase_consent(names, step).await?;
        let (reviews, unreadable) = consents.erase_reviews(|phone| names.are_of(phone)).await?;
        step.erased.reviews += reviews;
        step.unreadable += unreadable;
        for name in &names.others {
            let store = &self.core.store;
            // What they may have said since, by which this name is sent to no less.
            let known = store.consent(self.organization, &names.person).await?.consent;
            let kept = known.kept_when_erased(self.core.now_ms());
            store.erase_name(self.organization, name, &names.person, kept.as_ref()).await?;
            step.erased.names += 1;
        }
        if let Some(kept) = kept {
            let channels = [(ConsentChannel::Sms, kept.sms), (ConsentChannel::Whatsapp, kept.whatsapp)];
            let is_kept = channels.into_iter().filter(|(_, kept)| *kept != Default::default());
            step.kept = is_kept.map(|(channel, _)| channel).collect();
        }
        Ok(())
    }

    /// Erases the person's consent, and keeps what has still to be obeyed of it; that is returned.
    async fn erase_consent(
        &self,
        names: &Names,
        step: &mut ErasureStep,
    ) -> Result<Option<Consent>, store::Error> {
        let (store, person) = (&self.core.store, &names.person);
        for _ in 0..DECISIONS_MAX {
            let known = store.consent(self.organization, person).await?;
            let kept = known.consent.kept_when_erased(self.core.now_ms());
            let mut changes = 0;
            loop {
                let page = store.consent_changes(self.organization, person, changes, PAGE_MAX).await?;
                if page.is_empty() {
                    break;
                }
                changes += page.len();
            }
            if store.erase_consent(self.organization, &known.version, kept.as_ref()).await? {
                step.erased.consent_changes += changes;
                return Ok(kept);
            }
        }
        Err(contended())
    }

    async fn forget_document(&self, kind: Kind, name: &str) -> Result<(), store::Error> {
        for _ in 0..DECISIONS_MAX {
            let store = &self.core.store;
            let before = store.document(self.organization, kind, name).await?;
            if before.is_none()
                || store.change_document(self.organization, kind, name, before.as_deref(), None, None).await?
            {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// The names of the counters that name `person`, by whichever spelling.
    fn counters_of(&self, person: &Person) -> HashSet<String> {
        let spellings = person.spellings().into_iter().map(|number| number_code::counter_of(&number));
        spellings.chain([super::consents::own_page::counter_of(person)]).collect()
    }
}
