//! Numbers to which nothing is sent on a channel, since their messages have failed for the number's own fault.
//!
//! What is counted is kept with the person's consent, which every send asks for; beside it a document for each number lists those
//! that are suppressed. Where the two disagree, since a crash came in between, consent is right.

use super::Consents;
use crate::{
    app::{DECISIONS_MAX, Scope, audit, contended},
    domain::{
        Consent, Person, UnixMs,
        audit::{Action, Masked, Origin, Subject},
        consent::{ConsentChannel, Failure},
    },
    store::{self, Kind, PAGE_MAX},
    twilio::{Address, BareAddress, Channel, address::mask},
};

/// The channels on which failures are counted, and the one in whose name each is looked at.
const CHANNELS: [(ConsentChannel, Channel); 2] =
    [(ConsentChannel::Sms, Channel::Sms), (ConsentChannel::Whatsapp, Channel::Whatsapp)];

/// A number to which nothing is sent on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Suppression {
    /// The person.
    pub phone: BareAddress,
    /// The channel.
    pub channel: ConsentChannel,
    /// Since when.
    pub since: UnixMs,
    /// The messages that have failed, the latest of them, oldest first.
    pub failures: Vec<Failure>,
}

impl Scope<'_, Consents> {
    /// Counts that `message` to `recipient` has failed with `code`, which is the number's own fault. After as many in a row as is
    /// configured nothing more is sent to the number on this channel. Done again for the same message, it does nothing.
    pub(in crate::app) async fn note_failure(
        &self,
        recipient: &Address,
        code: u32,
        message: &str,
    ) -> Result<(), store::Error> {
        let Some(suppress_after) = self.core.settings.suppress_after else { return Ok(()) };
        let (person, channel) = (Person::of(recipient.bare()), recipient.channel());
        for _ in 0..DECISIONS_MAX {
            let known = self.core.store.consent(self.organization, &person).await?;
            let person = known.version.person().clone();
            let failures = &known.consent.on(channel).failures;
            let steps = self.steps.of(self.organization);
            let is_first = match failures.last_at() {
                Some(last_at) => steps.was_reached_since(&person, channel, last_at).await?,
                None => true,
            };
            let failure = Failure { code, at: self.core.now_ms(), message: message.to_owned() };
            let Some(consent) = known.consent.failed(channel, failure, is_first, suppress_after) else {
                return Ok(());
            };
            let was_suppressed = failures.suppressed_since().is_some();
            let is_suppressed = consent.on(channel).failures.suppressed_since().is_some();
            if is_suppressed {
                self.list_suppression(&person, channel.into()).await?;
            }
            if self.core.store.replace_consent(self.organization, &known.version, &consent).await? {
                if is_suppressed && !was_suppressed {
                    self.core.metrics.number_suppressed();
                    tracing::warn!(
                        organization = %self.organization, to = mask(person.as_str()), %channel, code,
                        mend = "ask the person for another number; DELETE /api/sms/suppressions/{phone} lifts it",
                        "nothing more is sent to a number on this channel, since its messages fail"
                    );
                }
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Forgets the failures of the person at `phone` on `channel`: a message came from them.
    pub(in crate::app) async fn note_sign_of_life(
        &self,
        phone: &BareAddress,
        known: &Consent,
        channel: Channel,
    ) -> Result<(), store::Error> {
        if known.on(channel).failures.is_empty() {
            return Ok(());
        }
        self.forget_failures(phone, channel.into()).await
    }

    /// Sends to the person at `phone` again, on every channel, as `by` asks.
    pub async fn lift_suppression(&self, phone: &BareAddress, by: &Origin) -> Result<(), store::Error> {
        let known = self.consent(phone).await?;
        let is_suppressed =
            CHANNELS.iter().any(|(_, channel)| known.on(*channel).failures.suppressed_since().is_some());
        if !is_suppressed {
            return Ok(());
        }
        let entry = by.entry(Action::SuppressionLift).about(Subject::Person(Masked::of(phone)));
        audit::record(&self.core, self.organization, &entry).await?;
        self.forget_failures(phone, ConsentChannel::All).await
    }

    async fn forget_failures(
        &self,
        phone: &BareAddress,
        channel: ConsentChannel,
    ) -> Result<(), store::Error> {
        for _ in 0..DECISIONS_MAX {
            let known = self.core.store.consent(self.organization, &Person::of(phone)).await?;
            let consent = known.consent.reached(channel);
            if consent == known.consent {
                return Ok(());
            }
            if self.core.store.replace_consent(self.organization, &known.version, &consent).await? {
                return self.unlist_suppressions(known.version.person(), channel).await;
            }
        }
        Err(contended())
    }

    /// A page of those to whom nothing is sent, behind the name `after`, and where the next page begins.
    pub async fn suppressions(
        &self,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Suppression>, Option<String>), store::Error> {
        let limit = limit.min(PAGE_MAX);
        let listed = self.core.store.documents(self.organization, Kind::Suppression, after, limit).await?;
        let next = (listed.len() == limit).then(|| listed.last().map(|(name, _)| name.clone())).flatten();
        let mut suppressions = Vec::with_capacity(listed.len());
        for (name, _) in listed {
            let Some((channel, via, person)) = read_name(&name) else { continue };
            let known = self.core.store.consent(self.organization, &person).await?;
            // Listed first, it may be about to be suppressed: whoever took it out of the list now would do so for good.
            if known.consent.on(via).failures.suppressed_since().is_none() {
                continue;
            }
            let known = self.steps.of(self.organization).lift_if_reached(known, via).await?;
            let failures = &known.consent.on(via).failures;
            match failures.suppressed_since() {
                Some(since) => suppressions.push(Suppression {
                    phone: person.address().clone(),
                    channel,
                    since,
                    failures: failures.latest().to_vec(),
                }),
                None => self.unlist_suppressions(&person, channel).await?,
            }
        }
        Ok((suppressions, next))
    }

    async fn list_suppression(&self, person: &Person, channel: ConsentChannel) -> Result<(), store::Error> {
        let (store, name) = (&self.core.store, name_of(person, channel));
        store
            .change_document(self.organization, Kind::Suppression, &name, None, Some(LISTED), None)
            .await
            .map(drop)
    }

    /// Takes a person out of the list.
    pub(in crate::app) async fn unlist_suppressions(
        &self,
        person: &Person,
        channel: ConsentChannel,
    ) -> Result<(), store::Error> {
        for (of, _) in CHANNELS {
            if channel == ConsentChannel::All || channel == of {
                let (store, name) = (&self.core.store, name_of(person, of));
                store
                    .change_document(self.organization, Kind::Suppression, &name, Some(LISTED), None, None)
                    .await?;
            }
        }
        Ok(())
    }
}

/// What stands in the document of a number that is listed.
const LISTED: &str = "listed";

/// The name of the document that lists a person.
fn name_of(person: &Person, channel: ConsentChannel) -> String {
    format!("{}:{}", person.as_str(), channel.as_str())
}

/// Reads what [`name_of`] wrote.
fn read_name(name: &str) -> Option<(ConsentChannel, Channel, Person)> {
    let (person, channel) = name.rsplit_once(':')?;
    let (channel, via) = CHANNELS.into_iter().find(|(known, _)| known.as_str() == channel)?;
    Some((channel, via, Person::from(person.parse::<BareAddress>().ok()?)))
}
