//! Opt-outs that an error of Twilio's tells of.

use super::Consents;
use crate::{
    app::{DECISIONS_MAX, Scope, contended},
    domain::{
        Person,
        consent::{Block, ConsentSource},
    },
    store::{self, ConsentUpdate},
    twilio::{Address, MessageSid},
};

impl Scope<'_, Consents> {
    /// Records the opt-out that an error of Twilio's stands for, and the block if it is about one.
    pub(in crate::app) async fn opt_out_by_error(
        &self,
        recipient: &Address,
        source: ConsentSource,
        block: &Block,
        sid: Option<&MessageSid>,
    ) -> Result<(), store::Error> {
        let person = Person::of(recipient.bare());
        for _ in 0..DECISIONS_MAX {
            let known = self.core.store.consent(self.organization, &person).await?;
            let change = known.consent.opted_out_by_error(
                recipient.bare(),
                recipient.channel(),
                source,
                block.clone(),
                sid,
                self.core.now_ms(),
            );
            let Some((consent, entry)) = change else { return Ok(()) };
            let closed = known.consent.reviews_closed_by(&consent);
            let update = ConsentUpdate {
                expected: known.version,
                consent,
                entry,
                evidence: None,
                actor: None,
                audit_entry: None,
            };
            if self.core.store.change_consent(self.organization, update).await? {
                self.forget_closed(&closed).await;
                return Ok(());
            }
        }
        Err(contended())
    }
}
