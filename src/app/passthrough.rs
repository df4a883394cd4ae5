//! Calls that go through to Twilio as they are. What Twilio answers is handed on unchanged, and what it tells of our messages
//! on the way is recorded.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt;
use serde_json::Value;

use super::{Core, Scope, accounts::Accounts, incoming::Incoming, outgoing::send::SendError, scope::scoped};
use crate::{
    domain::UnixMs,
    twilio::{
        Credentials,
        client::{
            Client, Passed,
            forward::{Forwarded, ForwardedAnswer},
        },
        raw::Raw,
        resource::{self, Message},
    },
};

/// Messages of one answer that are recorded at the same time.
const RECORDED_AT_ONCE: usize = 16;

/// The age up to which a message that an answer tells of is recorded: an application that pages through all it has ever
/// sent does not want it in our history, nor old replies read again.
const RECORDED_AGE_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// Makes calls to Twilio for the application.
pub struct Passthrough {
    core: Arc<Core>,
    accounts: Arc<Accounts>,
    twilio: Client,
    incoming: Arc<Incoming>,
}

scoped!(Passthrough);

impl Passthrough {
    /// The service, over those that it uses.
    pub(super) fn new(
        core: Arc<Core>,
        accounts: Arc<Accounts>,
        twilio: Client,
        incoming: Arc<Incoming>,
    ) -> Self {
        Self { core, accounts, twilio, incoming }
    }
}

impl Scope<'_, Passthrough> {
    /// Makes a call of the application's. Gives back the HTTP status and the JSON of Twilio's answer.
    pub async fn pass(&self, call: &Passed<'_>) -> Result<(u16, Raw), SendError> {
        let account = self.accounts.find(self.organization).ok_or(SendError::NotConfigured)?;
        let (status, raw) = self.twilio.pass(&account.credentials, call).await.map_err(SendError::Twilio)?;
        self.learn(&raw.0).await;
        Ok((status, raw))
    }

    /// Makes a call of any kind, with `own` credentials of the caller's, or else with those of the organization's account.
    pub async fn forward(
        &self,
        own: Option<&Credentials>,
        call: Forwarded<'_>,
    ) -> Result<ForwardedAnswer, SendError> {
        let account = self.accounts.find(self.organization).ok_or(SendError::NotConfigured)?;
        let credentials = own.unwrap_or(&account.credentials);
        self.twilio.forward(credentials, call).await.map_err(SendError::Twilio)
    }

    /// The organization's account as Twilio tells of it, without what is secret.
    pub async fn account(&self) -> Result<Raw, SendError> {
        let account = self.accounts.find(self.organization).ok_or(SendError::NotConfigured)?;
        self.twilio.account_json(&account.credentials).await.map_err(SendError::Twilio)
    }

    /// Records what an answer tells of messages. The answer is given whether it can be or not: what is missed here comes
    /// by callback, or when the reconciler asks.
    async fn learn(&self, answer: &Value) {
        // What has been spooled may be what is told here, and is applied first.
        if !self.incoming.is_clear() {
            return;
        }
        let messages = match answer.get("messages").and_then(Value::as_array) {
            Some(messages) => messages.iter().filter_map(Message::from_json).collect(),
            None => Vec::from_iter(Message::from_json(answer)),
        };
        let oldest = self.core.now_ms() - RECORDED_AGE_MAX;
        let recorded = messages.iter().filter(|message| is_since(message, oldest));
        let recorded = futures_util::stream::iter(recorded.map(|message| async move {
            (message, self.incoming.of(self.organization).record_polled(message).await)
        }));
        let mut recorded = recorded.buffer_unordered(RECORDED_AT_ONCE);
        while let Some((message, result)) = recorded.next().await {
            if let Err(error) = result {
                tracing::warn!(organization = %self.organization, message_sid = %message.sid, %error, "what Twilio answered could not be recorded");
            }
        }
    }
}

fn is_since(message: &resource::Message, oldest: UnixMs) -> bool {
    let is_recent = |created| UnixMs::from_timestamp(created).is_some_and(|created| created >= oldest);
    message.date_created.is_none_or(is_recent)
}
