//! Holds bursts of first messages to neighbouring numbers, and tells of them.
//!
//! What is held is judged again after a while, and counts again then: so no more of it leaves in that time than would be
//! ordinary, and what is left after a day is refused. An administrator who knows the traffic to be good raises the limit.
//!
//! Messages of a batch and notices go to people whom the application knows: strangers cannot ask for them.

use super::Steps;
use crate::{
    app::Scope,
    domain::{
        Consent, HistoryId, MessageId, MessageRef, Outbound, OutboundState, Person,
        pumping::{Block, Burst, PumpingGuard},
    },
    store::{self, KnownConsent},
    twilio::Channel,
};

/// Digits of a block that the log shows, with the `+`: the country and the carrier, and no person's number.
const SHOWN_CHARACTERS: usize = 7;

/// The last messages to and from a person among which one is sought that Twilio has had. Of somebody with more that were
/// held or refused since, nothing is known: that holds too much rather than too little.
const LAST_MESSAGES_MAX: usize = 10;

impl Scope<'_, Steps> {
    /// Whether `outbound`, which was just asked for, is one of a burst. It is counted, if it is the first message to a
    /// person of whom nothing is known: `known` is what is known of their consent.
    pub(super) async fn is_suspicious(
        &self,
        outbound: &Outbound,
        known: &KnownConsent,
    ) -> Result<bool, store::Error> {
        let Some(burst) = self.guarded(outbound) else { return Ok(false) };
        if known.consent != Consent::default() || self.is_acquainted(known.version.person()).await? {
            return Ok(false);
        }
        self.is_in_burst(outbound, burst).await
    }

    /// Whether `outbound`, which was held as one of a burst, is one of a burst still. It is counted again.
    pub(super) async fn is_still_suspicious(&self, outbound: &Outbound) -> Result<bool, store::Error> {
        match self.guarded(outbound) {
            Some(burst) => self.is_in_burst(outbound, burst).await,
            None => Ok(false),
        }
    }

    /// What would be a burst, if messages such as `outbound` are guarded.
    fn guarded(&self, outbound: &Outbound) -> Option<Burst> {
        let is_single = outbound.batch.is_none() && !outbound.is_emergency();
        let is_number = outbound.to.bare().as_str().starts_with('+');
        if outbound.to.channel() == Channel::Whatsapp || !is_single || !is_number {
            return None;
        }
        match self.core.settings.limits.pumping {
            PumpingGuard::Off => None,
            PumpingGuard::Everywhere(burst) => Some(burst),
            PumpingGuard::Abroad(burst) => {
                let destinations = self.destinations(outbound.from.as_ref());
                (!destinations.is_at_home(&outbound.to)).then_some(burst)
            }
        }
    }

    /// Whether Twilio has had a message to `person` or from them. One that was held or refused makes nobody known: else it
    /// would be enough to ask twice.
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
        let known = store.outbounds(self.organization, &ids).await?;
        Ok(known.iter().flatten().any(|stored| matches!(stored.state, OutboundState::Accepted { .. })))
    }

    async fn is_in_burst(&self, outbound: &Outbound, burst: Burst) -> Result<bool, store::Error> {
        let mut is_in_burst = false;
        let window = self.core.now_ms().get() / (burst.window.as_millis() as u64);
        for block in burst.blocks(outbound.to.bare().as_str()) {
            let name = format!("first messages to {} in {window}", block.prefix);
            let (max, keep) = (block.messages_max, burst.window);
            if self.core.store.count(self.organization, &name, max, keep).await?.is_none() {
                is_in_burst = true;
                self.tell_of_burst(block, burst, window).await?;
            }
        }
        if is_in_burst {
            self.core.metrics.suspicious_message();
        }
        Ok(is_in_burst)
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
                 raise TEXTLEDGER_PUMPING_GUARD if it is good"
            );
        }
        Ok(())
    }
}
