//! Holds bursts of first messages to neighbouring numbers, and tells of them.
//!
//! A message is judged when nothing else holds it back any more, so that what is scheduled, or waits for the morning, counts
//! when it would leave and not before. What is held is judged again after a while, and counts again then: so no more of it
//! leaves in that time than would be ordinary, and what has been held for a day is refused. An administrator can decide
//! sooner: see [`super::held_traffic`].
//!
//! However a message was asked for, it is judged in the same way. A batch to neighbouring strangers is what a stolen key
//! is used for, and the SMS that follows a WhatsApp message is as dear as any. A batch to customers is not held: of most
//! of them something is known, a consent or an earlier SMS, and the others are spread over all numbers of a country. That
//! a person was sent a WhatsApp message makes nobody known, since that costs no fraudster anything.
//!
//! Emergencies are never held: better an expensive one than one that comes too late. Who sent them is in the audit.
//!
//! What an administrator refuses is refused wherever it goes: at home too, and with the guard off. So it is looked at before
//! each call, also of what was released or has been tried: neither counts again, and both obey a refusal.

use super::Steps;
use crate::{
    app::Scope,
    domain::{
        HistoryId, MessageId, MessageRef, Outbound, OutboundState, Person,
        pumping::{Block, Burst, PumpingGuard, Traffic, Verdict},
    },
    store::{self, KnownConsent},
    twilio::Channel,
};

/// Digits of a block that the log shows, with the `+`: the country and the carrier, and no person's number.
const SHOWN_CHARACTERS: usize = 7;

/// The last messages to a person among which an SMS is sought that Twilio has had. Of somebody with more that were held or
/// refused since, nothing is known: that holds too much rather than too little.
const LAST_MESSAGES_MAX: usize = 10;

impl Scope<'_, Steps> {
    /// Judges `outbound`, which would leave otherwise, new or from the state `from`, and counts it if it is the first message
    /// to a person of whom nothing is known: `known` is what is known of their consent.
    pub(super) async fn judge(
        &self,
        outbound: &Outbound,
        from: Option<&OutboundState>,
        known: &KnownConsent,
    ) -> Result<Traffic, store::Error> {
        if !is_judged(outbound) {
            return Ok(Traffic::Ordinary);
        }
        let (number, now) = (outbound.to.bare().as_str(), self.core.now_ms());
        let is_counted = from.is_none_or(OutboundState::is_to_be_counted);
        let burst = self.burst(outbound).filter(|_| is_counted);
        // What the guard leaves alone costs nothing unless it is refused.
        let is_refused = async || {
            let decisions = self.recent_traffic_decisions().await?;
            Ok::<_, store::Error>(decisions.on(number, now) == Some(Verdict::Refuse))
        };
        if burst.is_none() && !is_refused().await? {
            return Ok(Traffic::Ordinary);
        }
        if self.is_known(known).await? {
            return Ok(Traffic::Ordinary);
        }
        let decisions = self.traffic_decisions().await?;
        match (decisions.on(number, now), burst) {
            (Some(Verdict::Refuse), _) => Ok(Traffic::Refused),
            (Some(Verdict::Release), _) | (None, None) => Ok(Traffic::Ordinary),
            (None, Some(burst)) => match self.count_burst(outbound, burst).await? {
                Some(block) => {
                    self.note_held(outbound, block).await?;
                    Ok(Traffic::Suspicious)
                }
                None => Ok(Traffic::Ordinary),
            },
        }
    }

    /// What is a burst to the number of `outbound`, if the guard looks at such numbers.
    fn burst(&self, outbound: &Outbound) -> Option<Burst> {
        match self.core.settings.limits.pumping {
            PumpingGuard::Off => None,
            PumpingGuard::Everywhere(burst) => Some(burst),
            PumpingGuard::Abroad(burst) => {
                let destinations = self.destinations(outbound.from.as_ref());
                (!destinations.is_at_home(&outbound.to)).then_some(burst)
            }
        }
    }

    /// Whether anything is known of a person: a consent, or an earlier SMS.
    pub(super) async fn is_known(&self, known: &KnownConsent) -> Result<bool, store::Error> {
        Ok(!known.consent.says_nothing() || self.is_acquainted(known.version.person()).await?)
    }

    /// Whether Twilio has had an SMS to `person` lately. One that was held or refused makes nobody known: else it would be
    /// enough to ask twice.
    async fn is_acquainted(&self, person: &Person) -> Result<bool, store::Error> {
        let store = &self.core.store;
        let last = store.history(self.organization, Some(person), HistoryId::END, LAST_MESSAGES_MAX).await?;
        let mut ids: Vec<MessageId> = Vec::with_capacity(last.len());
        for (_, message) in last {
            match message {
                MessageRef::Sid(_) => return Ok(true),
                MessageRef::Id(id) => ids.push(id),
            }
        }
        let known = store.outbound_rows(self.organization, &ids).await?;
        let known = known.into_iter().filter_map(|row| self.core.readable(self.organization, row));
        Ok(known.flatten().any(|stored| {
            stored.outbound.to.channel() != Channel::Whatsapp
                && matches!(stored.state, OutboundState::Accepted { .. })
        }))
    }

    /// Counts `outbound`; the nearest block of its number in which there are too many, if there is one. What is held for that
    /// is not counted in the wider ones: else a burst to a thousand numbers would hold what others of the country get.
    async fn count_burst<'a>(
        &self,
        outbound: &'a Outbound,
        burst: Burst,
    ) -> Result<Option<&'a str>, store::Error> {
        let window = self.core.now_ms().get() / (burst.window.as_millis() as u64);
        for block in burst.blocks(outbound.to.bare().as_str()) {
            let name = format!("first messages to {} in {window}", block.prefix);
            let (max, keep) = (block.messages_max, burst.window);
            if self.core.store.count(self.organization, &name, max, keep).await?.is_none() {
                self.tell_of_burst(block, burst, window).await?;
                self.core.metrics.suspicious_message();
                return Ok(Some(block.prefix));
            }
        }
        Ok(None)
    }

    /// Tells of a burst in the log: once in its time.
    async fn tell_of_burst(&self, block: Block<'_>, burst: Burst, window: u64) -> Result<(), store::Error> {
        let name = format!("burst to {} in {window}", block.prefix);
        if self.core.store.count(self.organization, &name, 1, burst.window).await?.is_some() {
            let shown = &block.prefix[..block.prefix.len().min(SHOWN_CHARACTERS)];
            tracing::warn!(
                event = "suspicious_traffic",
                organization = %self.organization,
                prefix = format!("{shown}…"),
                count = block.messages_max,
                window_s = burst.window.as_secs(),
                "a burst of first messages to neighbouring numbers is held: look whether strangers ask for them, and \
                 release or refuse them (GET /api/sms/suspicious-traffic, or textledger traffic)"
            );
        }
        Ok(())
    }
}

/// Whether messages such as `outbound` are judged at all.
fn is_judged(outbound: &Outbound) -> bool {
    let is_number = outbound.to.bare().as_str().starts_with('+');
    outbound.to.channel() != Channel::Whatsapp && !outbound.is_emergency() && is_number
}
