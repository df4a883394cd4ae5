//! The call that hands a message to Twilio, and what its outcome means.

use std::time::Duration;

use super::{
    Outgoing,
    advance::{Advanced, Cleared, Occasion},
    content::Content,
};
use crate::{
    app::{Scope, accounts::Account},
    domain::{
        Outbound, Refusal, Source,
        consent::ConsentSource,
        outgoing::{
            Fact,
            rule::{Answer, Refused},
            times,
        },
    },
    store,
    twilio::{
        client::{self, Outcome},
        error_code::Consequence,
        limits::VALIDITY_PERIOD_S,
        resource,
    },
};

// The ladder of times stands on what the client grants a call.
const _: () = assert!(client::REQUEST_TIMEOUT.as_millis() == times::CALL_TIME_MAX.as_millis());

/// A message that is handed to Twilio.
pub(super) struct Call<'a> {
    /// Through whom.
    pub(super) account: &'a Account,
    /// What was asked for.
    pub(super) outbound: &'a Outbound,
    /// What Twilio is given.
    pub(super) content: &'a Content,
}

impl Scope<'_, Outgoing> {
    /// Hands a message that is cleared to Twilio, once.
    pub(super) async fn call_twilio(
        &self,
        call: &Call<'_>,
        _cleared: &Cleared,
    ) -> Result<resource::Message, client::Error> {
        let (outbound, now) = (call.outbound, self.core.now_ms());
        let mut create = call.content.call(outbound, self.status_callback_url(outbound));
        // What Twilio keeps waiting until the recipient's quiet hours begin is not to be delivered in them.
        if let Some(left) = self.core.settings.limits.time_until_quiet(outbound, now) {
            let left = u32::try_from(left.as_secs()).unwrap_or(u32::MAX).max(*VALIDITY_PERIOD_S.start());
            let given = create.validity_period_s.unwrap_or(*VALIDITY_PERIOD_S.end());
            create.validity_period_s = Some(given.min(left));
        }
        self.twilio.create_message(&call.account.credentials, &create).await
    }

    /// What a refusal of `outbound` means beyond the message itself.
    async fn draw_consequences(
        &self,
        outbound: &Outbound,
        error: &client::Error,
    ) -> Result<(), store::Error> {
        let consents = self.consents.of(self.organization);
        let code = error.twilio_code().unwrap_or_default();
        match error.consequence() {
            Some(Consequence::OptOut) => {
                if let Some(source) = ConsentSource::of_error(code) {
                    consents.opt_out_by_error(&outbound.to, source, &outbound.block(), None).await?;
                }
            }
            Some(Consequence::SuspectNumber) => {
                consents.note_failure(&outbound.to, code, outbound.id.as_str()).await?;
            }
            Some(Consequence::PauseSender) => {
                self.pauses.of(self.organization).pause_sender(outbound.sender().as_ref(), code).await?;
            }
            Some(Consequence::StopAccount) => {
                self.pauses.of(self.organization).stop_account(&error.to_string(), code).await?;
            }
            Some(Consequence::TryAgain | Consequence::RefuseMessage | Consequence::Nothing) | None => {}
        }
        Ok(())
    }

    /// The URL by which a callback finds its message, and what goes with it.
    fn status_callback_url(&self, outbound: &Outbound) -> String {
        let overrides = &self.core.settings.callback_overrides;
        let fragment = if overrides.is_empty() { String::new() } else { format!("#{overrides}") };
        let batch = outbound.batch.as_ref().map(|batch| format!("&batch={batch}")).unwrap_or_default();
        let relay = if outbound.status_callback.is_some() { "&relay=1" } else { "" };
        let (public_url, id) = (&self.core.settings.public_url, outbound.id);
        format!("{public_url}/webhooks/twilio/status?id={id}{batch}{relay}{fragment}")
    }

    /// Stores how the call of a cleared message ended, when it is not made again at once. `is_awaited` says that a request
    /// waits for it.
    pub(super) async fn settle(
        &self,
        call: &Call<'_>,
        cleared: &Cleared,
        result: &Result<resource::Message, client::Error>,
        is_awaited: bool,
    ) -> Result<Advanced, store::Error> {
        let outbound = call.outbound;
        if let Ok(message) = result {
            let statuses = self.statuses.of(self.organization);
            statuses.record_status(statuses.change_of_copy(message, Some(outbound), Source::Api)).await?;
        }
        let occasion = Occasion::Known(Fact::Answered(answer(result)));
        let advanced =
            self.steps.of(self.organization).advance(outbound, cleared.state(), occasion, is_awaited).await?;
        match result {
            Ok(_) => self.pauses.of(self.organization).account_works().await?,
            Err(error) => self.draw_consequences(outbound, error).await?,
        }
        Ok(advanced)
    }
}

/// What the outcome of a call means for the message.
fn answer(result: &Result<resource::Message, client::Error>) -> Answer {
    let error = match result {
        Ok(message) => return Answer::Accepted(message.sid.clone()),
        Err(error) => error,
    };
    let refused =
        Refused { code: refusal_of(error), reason: error.to_string(), twilio_code: error.twilio_code() };
    match (error.outcome(), error.consequence()) {
        (Outcome::Ambiguous, _) => Answer::Lost,
        (Outcome::NotProcessed, _) => Answer::NotProcessed { refused, retry_after: error.retry_after() },
        (Outcome::Refused, Some(Consequence::StopAccount)) => Answer::AccountAtFault(refused),
        (Outcome::Refused, _) => Answer::Refused(refused),
    }
}

/// The refusal that an error of the client stands for.
fn refusal_of(error: &client::Error) -> Refusal {
    match error {
        client::Error::Unreachable { .. } => Refusal::TwilioUnreachable,
        client::Error::RateLimited(_) => Refusal::RateLimitedByTwilio,
        client::Error::CredentialsRejected(_) => Refusal::TwilioCredentialsRejected,
        client::Error::Refused(_) if error.outcome() == Outcome::NotProcessed => Refusal::RateLimitedByTwilio,
        client::Error::Refused(_)
        | client::Error::Failed(_)
        | client::Error::TimedOut
        | client::Error::Interrupted { .. }
        | client::Error::Unreadable { .. } => Refusal::TwilioRefused,
    }
}

/// How long to leave Twilio alone, if a search or call failed with `error`.
pub(super) fn pause_after(error: &client::Error) -> Duration {
    match error {
        client::Error::CredentialsRejected(_) => times::UNUSABLE_DELAY,
        error => error.retry_after().unwrap_or(times::SEARCH_DELAY),
    }
}
