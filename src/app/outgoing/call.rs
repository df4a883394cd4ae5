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
        let create = call.content.call(call.outbound, self.status_callback_url(call.outbound));
        self.twilio.create_message(&call.account.credentials, &create).await
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
        if let Err(error) = result
            && let Some(source) = error.twilio_code().and_then(ConsentSource::of_error)
        {
            let consents = self.consents.of(self.organization);
            consents.opt_out_by_error(&outbound.to, source, &outbound.block(), None).await?;
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
    match (error.outcome(), error) {
        (Outcome::Ambiguous, _) => Answer::Lost,
        (Outcome::NotProcessed, _) => Answer::NotProcessed { refused, retry_after: error.retry_after() },
        // Somebody will mend the credentials, and what waits in the queue goes out then.
        (Outcome::Refused, client::Error::CredentialsRejected(_)) => {
            Answer::NotProcessed { refused, retry_after: error.retry_after() }
        }
        (Outcome::Refused, _) => Answer::Refused(refused),
    }
}

/// The refusal that an error of the client stands for.
fn refusal_of(error: &client::Error) -> Refusal {
    match error {
        client::Error::Unreachable { .. } => Refusal::TwilioUnreachable,
        client::Error::RateLimited(_) => Refusal::RateLimitedByTwilio,
        client::Error::CredentialsRejected(_) => Refusal::TwilioCredentialsRejected,
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
