//! Numbers that have another owner, who has agreed to nothing that the one before did.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Consents,
    record::{Author, Outcome, Record},
};
use crate::{
    app::Scope,
    domain::{
        Actor, UnixMs,
        consent::{ChannelConsent, ConsentChannel, ConsentSource, ConsentState},
    },
    store,
    twilio::BareAddress,
};

/// How far Twilio's clock and ours may be apart.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// By which name the history knows Twilio.
const TWILIO: &str = "twilio";

/// What Twilio told of a number that has another owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reassignment {
    /// The number.
    pub phone: BareAddress,
    /// When Twilio opted it out.
    pub at: UnixMs,
    /// Twilio's id of the event that told it.
    pub event_id: Option<String>,
}

impl Scope<'_, Consents> {
    /// Records the opt-out of a number that has another owner, unless that one has opted in since; whether it did.
    pub(in crate::app) async fn opt_out_reassigned(
        &self,
        reassignment: &Reassignment,
    ) -> Result<bool, store::Error> {
        let Reassignment { phone, at, event_id } = reassignment;
        let record = Record {
            phone: phone.clone(),
            channel: ConsentChannel::Sms,
            state: ConsentState::OptedOut,
            source: ConsentSource::ReassignedNumber,
            evidence: event_id.as_ref().map(|id| format!("Twilio's event {id}")),
            at: Some(*at),
        };
        let author = Author { actor: Actor::Twilio, name: Some(TWILIO) };
        let outcome = self.apply_record(&record, author, None, |known| !is_of_new_owner(known, *at)).await?;
        Ok(matches!(outcome, Outcome::Changed(_)))
    }
}

/// Whether what is `known` was said from the phone itself after the number was found to have another owner.
fn is_of_new_owner(known: &ChannelConsent, at: UnixMs) -> bool {
    known.source.is_some_and(ConsentSource::is_the_persons)
        && known.at.is_some_and(|said_at| said_at > at + CLOCK_SKEW_MAX)
}
