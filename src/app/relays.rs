//! Tells callers' own URLs what becomes of their messages, as Twilio would have told them.
//!
//! Twilio is given our StatusCallback URL; whoever asked for a message with a URL of their own is told by us. What is to
//! be told is stored before the status is, and so before Twilio is answered: a crash in between tells a status that Twilio
//! tells us again, never the other way round. It stays stored until the receiver has it, has refused it, or has been away
//! for a day, and is claimed by one instance at a time. A status may be told twice, and statuses may be told out of order,
//! both as by Twilio.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::Notify;

use super::{
    Core, Scope,
    accounts::{Account, Accounts},
    callback_url,
    scope::scoped,
};
use crate::{
    domain::{
        MessageId, Outbound, OutboundState, StatusChange, Task, TaskLine, UnixMs,
        placeholder_sid::placeholder_sid,
    },
    metrics::RelayResult,
    public_host,
    store::{self, Kind},
    twilio::{
        Form, MessageSid, MessageStatus, StatusCallback,
        poster::Poster,
        resource,
        signature::{Algorithm, SigningKey},
    },
};

/// How long a receiver may be away.
const GIVE_UP_AFTER: Duration = Duration::from_secs(24 * 60 * 60);

/// How long what is to be told is kept: longer than receivers and this service together are away.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// How long it is known that a status has been told: longer than Twilio repeats one, which by Event Streams is hours.
const TOLD_KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest pause before another try. Each is about as long as all before it together, so that they double.
const RETRY_DELAY_MIN: Duration = Duration::from_secs(1);

/// The longest such pause.
const RETRY_DELAY_MAX: Duration = Duration::from_secs(60 * 60);

/// How long a claim holds: longer than a try takes.
const CLAIM_TIME: Duration = Duration::from_secs(60);

/// Delay before a status that we decided ourselves is relayed, so that the state change it reports is stored first.
const OWN_END_DELAY: Duration = Duration::from_secs(2);

/// How long is waited for the step that it tells of; what has not happened by then does not.
const OWN_END_WAIT_MAX: Duration = Duration::from_secs(60);

/// Hexadecimal digits of a relay's name: 128 bits.
const NAME_DIGITS: usize = 32;

/// Parameters that hold a message's SID.
const SID_PARAMETERS: [&str; 2] = ["MessageSid", "SmsSid"];

/// The parameters of a callback, in their order.
pub type Parameters = Vec<(String, String)>;

/// What is to be told, as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Relay {
    /// A status that Twilio has told.
    Status {
        id: MessageId,
        sid: MessageSid,
        /// Its parameters, sealed: there may be a text among them.
        form: String,
        since: UnixMs,
    },
    /// That a message came to its end in our queue.
    OwnEnd { id: MessageId, since: UnixMs },
    /// It is done.
    Told,
}

/// What is to be posted, and where.
struct Post {
    url: SecretString,
    form: Parameters,
}

/// Tells callers' own URLs what becomes of their messages.
pub struct Relays {
    core: Arc<Core>,
    accounts: Arc<Accounts>,
    poster: Poster,
    /// Notified when there is something to be relayed.
    wanted: Notify,
}

scoped!(Relays);

impl Relays {
    /// The service, over those that it uses.
    pub(super) fn new(core: Arc<Core>, accounts: Arc<Accounts>, poster: Poster) -> Self {
        Self { core, accounts, poster, wanted: Notify::new() }
    }

    /// Seals the parameters of a callback that is to be relayed.
    pub(super) fn seal_relay(&self, sid: &MessageSid, form: &Parameters) -> String {
        let text = serde_json::to_vec(form).expect("texts are JSON");
        self.core.keys.seal(&context(sid), &text)
    }

    /// The parameters, sealed, by which a caller of ours is told what Twilio answered when it was asked for `message`;
    /// `None` if nobody wants to be told.
    pub(super) fn relay_of_answer(&self, outbound: &Outbound, message: &resource::Message) -> Option<String> {
        outbound.status_callback.as_ref()?;
        let callback = StatusCallback {
            account_sid: message.account_sid.clone()?,
            message_sid: message.sid.clone(),
            status: message.status.clone()?,
            error_code: message.error_code.filter(|&code| code != 0),
            error_message: None,
            channel_status_code: None,
            channel_status_message: None,
            to: message.to.clone().or_else(|| Some(outbound.to.clone())),
            from: message.from.clone().or_else(|| outbound.from.clone()),
            channel: outbound.to.channel(),
            messaging_service_sid: message.messaging_service_sid.clone(),
            raw_dlr_done_date: None,
            other: Vec::new(),
        };
        Some(self.seal_relay(&message.sid, &callback.to_parameters()))
    }
}

impl Scope<'_, Relays> {
    /// Plans to tell of `change`, if somebody wants to be told: before it is recorded.
    pub(super) async fn plan_relay(&self, change: &StatusChange) -> Result<(), store::Error> {
        let (Some(id), Some(form)) = (change.id, change.relay.clone()) else { return Ok(()) };
        let error_code = change.error_code.unwrap_or(0);
        let name = name_of(&[change.sid.as_str(), change.status.as_str(), &error_code.to_string()]);
        let relay = Relay::Status { id, sid: change.sid.clone(), form, since: self.core.now_ms() };
        self.plan_telling(name, &relay, self.core.now_ms()).await
    }

    /// Plans to tell the caller's own URL that `outbound` comes to an end in our queue: before it does. Whether it did is
    /// looked at when it is told.
    pub(super) async fn plan_relay_of_own_end(&self, outbound: &Outbound) -> Result<(), store::Error> {
        let (id, since) = (outbound.id, self.core.now_ms());
        let at = since + OWN_END_DELAY;
        // Named by the moment too: one that was not reached is told nothing of.
        let name = name_of(&[id.as_str(), "own end", &since.to_string()]);
        self.plan_telling(name, &Relay::OwnEnd { id, since }, at).await
    }

    /// Forgets what is to be told of the message that is `sid` to Twilio, and what has been told.
    pub(super) async fn forget_relays(&self, sid: &MessageSid) -> Result<(), store::Error> {
        let store = &self.core.store;
        let known = store.deliveries(self.organization, std::slice::from_ref(sid)).await?.pop().flatten();
        for seen in known.into_iter().flat_map(|delivery| delivery.seen) {
            let error_code = seen.error_code.unwrap_or(0);
            let name = name_of(&[sid.as_str(), seen.status.as_str(), &error_code.to_string()]);
            let kind = Kind::Relay;
            if let Some(text) = store.document(self.organization, kind, &name).await? {
                store.change_document(self.organization, kind, &name, Some(&text), None, None).await?;
            }
            store.reschedule(self.organization, &Task::Relay { name }, None).await?;
        }
        Ok(())
    }

    async fn plan_telling(&self, name: String, relay: &Relay, at: UnixMs) -> Result<(), store::Error> {
        let (kind, text) = (Kind::Relay, store::encode(relay));
        let is_new = self
            .core
            .store
            .change_document(self.organization, kind, &name, None, Some(&text), Some(KEPT))
            .await?;
        if !is_new {
            let known = self.core.store.document(self.organization, kind, &name).await?;
            let Some(known) = known else { return Ok(()) };
            if let Some(Relay::Told) = self.read_or_tell(&name, &known)? {
                return Ok(());
            }
            // An earlier try may have ended between the two steps.
        }
        self.core.store.schedule(self.organization, &Task::Relay { name }, at).await?;
        self.wanted.notify_one();
        Ok(())
    }
}

impl Relays {
    /// Returns when something has been stored by this process that is to be told.
    pub async fn wanted(&self) {
        self.wanted.notified().await;
    }
}

impl Scope<'_, Relays> {
    /// Takes up to `limit` of the organization's relays that are due, and tells whether there may be more. Nobody else gets
    /// them for a while.
    pub async fn claim_relays(&self, limit: usize) -> Result<(Vec<Task>, bool), store::Error> {
        let now = self.core.now_ms();
        let until = now + CLAIM_TIME;
        let claimed = self.core.store.claim(self.organization, TaskLine::Callers, now, until, limit).await?;
        let is_full = claimed.len() == limit;
        let tasks = claimed.into_iter().filter_map(|(task, _)| self.core.readable(self.organization, task));
        Ok((tasks.collect(), is_full))
    }

    /// Does a claimed relay, or plans it for another time.
    pub async fn relay(&self, task: &Task) -> Result<(), store::Error> {
        let Task::Relay { name } = task else { return Ok(()) };
        let text = self.core.store.document(self.organization, Kind::Relay, name).await?;
        let Some(text) = text else {
            return self.core.store.reschedule(self.organization, task, None).await;
        };
        let Some(relay) = self.read_or_tell(name, &text)? else {
            // Since when it has been tried cannot be read either: it ends when it is kept no longer.
            self.core.metrics.relay(RelayResult::Again);
            let again = self.core.now_ms() + RETRY_DELAY_MAX;
            return self.core.store.reschedule(self.organization, task, Some(again)).await;
        };
        let (id, since) = match &relay {
            Relay::Status { id, since, .. } | Relay::OwnEnd { id, since } => (*id, *since),
            Relay::Told => return self.core.store.reschedule(self.organization, task, None).await,
        };
        let stored = self.core.store.outbound(self.organization, &id).await;
        let stored = self.core.if_readable(self.organization, || format!("message {id}"), stored)?.flatten();
        let (Some(account), Some(stored)) = (self.accounts.find(self.organization), stored) else {
            return self.relay_again(task, &text, &id, since).await;
        };
        let post = match &relay {
            Relay::Status { sid, form, .. } => self.post_of_status(&stored.outbound, sid, form).await,
            Relay::OwnEnd { .. } => {
                let waited = self.core.now_ms().since(since);
                if !stored.state.is_resolved() && waited < OWN_END_WAIT_MAX {
                    return self.relay_again(task, &text, &id, since).await;
                }
                self.post_of_own_end(&account, &stored.outbound, &stored.state)
            }
            Relay::Told => Ok(None),
        };
        let post = match post {
            // The key that it was sealed with may come back; if not, it is given up like a receiver that stays away.
            Err(error @ store::Error::Unreadable(_)) => {
                tracing::warn!(organization = %self.organization, %id, %error, "a status callback cannot be opened, and is tried again");
                return self.relay_again(task, &text, &id, since).await;
            }
            post => post?,
        };
        let Some(post) = post else { return self.relay_done(task, &text).await };
        if let Err(refusal) =
            public_host::check_relay_url(post.url.expose_secret(), self.core.settings.relay_private)
        {
            tracing::warn!(organization = %self.organization, %id, %refusal, "a status callback is not relayed: its URL");
            self.core.metrics.relay(RelayResult::Refused);
            return self.relay_done(task, &text).await;
        }
        let key = SigningKey::new(Algorithm::HmacSha1, &account.credentials.auth_token);
        let form = Form::from_iter(post.form.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let posted = self.poster.post(&key, post.url.expose_secret(), &form, name).await;
        if posted.is_taken() {
            self.core.metrics.relay(RelayResult::Told);
            tracing::debug!(organization = %self.organization, %id, "a status callback was relayed");
            self.relay_done(task, &text).await
        } else if posted.may_change() {
            tracing::debug!(organization = %self.organization, %id, %posted, "a status callback is relayed again later");
            self.relay_again(task, &text, &id, since).await
        } else {
            self.core.metrics.relay(RelayResult::Refused);
            tracing::warn!(organization = %self.organization, %id, %posted, "a status callback was relayed and not taken");
            self.relay_done(task, &text).await
        }
    }

    /// The callback of a status, under the name by which the caller knows the message; `None` if nobody wants to be
    /// told.
    async fn post_of_status(
        &self,
        outbound: &Outbound,
        sid: &MessageSid,
        sealed: &str,
    ) -> Result<Option<Post>, store::Error> {
        let Some(url) = self.url_of(outbound)? else { return Ok(None) };
        let unreadable = |error: String| store::Error::Unreadable(format!("a relay: {error}"));
        let opened =
            self.core.keys.open(&context(sid), sealed).map_err(|error| unreadable(error.to_string()))?;
        let mut form: Parameters = serde_json::from_slice(opened.expose_secret())
            .map_err(|error| unreadable(format!("column {}", error.column())))?;
        self.rename_message(&outbound.id, sid, &mut form).await?;
        Ok(Some(Post { url, form }))
    }

    /// Puts the name by which the application knows the message that is `id` to us in the place of `sid`.
    pub(super) async fn rename_message(
        &self,
        id: &MessageId,
        sid: &MessageSid,
        form: &mut Parameters,
    ) -> Result<(), store::Error> {
        let known_as = self.name_known_to_caller(id, sid).await?;
        for (name, value) in form {
            if SID_PARAMETERS.contains(&name.as_str()) && value == sid.as_str() {
                *value = known_as.to_string();
            }
        }
        Ok(())
    }

    /// The callback of a message that came to its end in our queue; `None` if it did not.
    fn post_of_own_end(
        &self,
        account: &Account,
        outbound: &Outbound,
        state: &OutboundState,
    ) -> Result<Option<Post>, store::Error> {
        let Some(url) = self.url_of(outbound)? else { return Ok(None) };
        let (status, error_code) = match state {
            OutboundState::Canceled { .. } => (MessageStatus::Canceled, None),
            OutboundState::Refused { code, twilio_code, .. } => {
                (MessageStatus::Failed, twilio_code.or_else(|| code.twilio_code()))
            }
            _ => return Ok(None),
        };
        let callback = StatusCallback {
            account_sid: account.credentials.account_sid.clone(),
            message_sid: placeholder_sid(&outbound.id),
            status,
            error_code,
            error_message: None,
            channel_status_code: None,
            channel_status_message: None,
            to: Some(outbound.to.clone()),
            from: outbound.from.clone(),
            channel: outbound.to.channel(),
            messaging_service_sid: outbound.messaging_service_sid.clone(),
            raw_dlr_done_date: None,
            other: Vec::new(),
        };
        Ok(Some(Post { url, form: callback.to_parameters() }))
    }

    /// Where the caller of `outbound` wants to be told, if anywhere.
    fn url_of(&self, outbound: &Outbound) -> Result<Option<SecretString>, store::Error> {
        let sealed = outbound.status_callback.as_ref();
        sealed.map(|url| callback_url::open(url, &outbound.id, &self.core.keys)).transpose()
    }

    /// The name by which the caller knows the message that is `id` to us and `sid` to Twilio.
    async fn name_known_to_caller(
        &self,
        id: &MessageId,
        sid: &MessageSid,
    ) -> Result<MessageSid, store::Error> {
        let told = self.core.store.document(self.organization, Kind::Relay, id.as_str()).await?;
        Ok(if told.is_some() { placeholder_sid(id) } else { sid.clone() })
    }

    /// Reads what is stored of the relay `name`; nothing if it cannot be read, of which the operator is told.
    fn read_or_tell(&self, name: &str, text: &str) -> Result<Option<Relay>, store::Error> {
        self.core.if_readable(self.organization, || format!("relay {name}"), read(text))
    }

    async fn relay_done(&self, task: &Task, before: &str) -> Result<(), store::Error> {
        if let Task::Relay { name } = task {
            let after = store::encode(&Relay::Told);
            let (before, after) = (Some(before), Some(after.as_str()));
            self.core
                .store
                .change_document(self.organization, Kind::Relay, name, before, after, Some(TOLD_KEPT))
                .await?;
        }
        self.core.store.reschedule(self.organization, task, None).await
    }

    async fn relay_again(
        &self,
        task: &Task,
        text: &str,
        id: &MessageId,
        since: UnixMs,
    ) -> Result<(), store::Error> {
        let now = self.core.now_ms();
        let tried_for = now.since(since);
        if tried_for >= GIVE_UP_AFTER {
            self.core.metrics.relay(RelayResult::GivenUp);
            tracing::error!(organization = %self.organization, %id, "a status callback could not be relayed for a day, and is given up");
            return self.relay_done(task, text).await;
        }
        let again = now + retry_delay(tried_for);
        self.core.store.reschedule(self.organization, task, Some(again)).await?;
        self.core.metrics.relay(RelayResult::Again);
        Ok(())
    }
}

/// How long to wait before another try of something that has been tried for so long.
fn retry_delay(tried_for: Duration) -> Duration {
    let delay = tried_for.clamp(RETRY_DELAY_MIN, RETRY_DELAY_MAX);
    delay.mul_f64(rand::rng().random_range(0.5..1.0))
}

/// The name of what is told of `parts`: the same for the same, so that it is told once.
fn name_of(parts: &[&str]) -> String {
    let mut name = hex::encode(Sha256::digest(parts.join(" ")));
    name.truncate(NAME_DIGITS);
    name
}

/// What the parameters of a message's callback are sealed for.
fn context(sid: &MessageSid) -> String {
    format!("relay/{sid}")
}

/// Reads what is stored of a relay.
fn read(text: &str) -> Result<Relay, store::Error> {
    store::decode("a relay", text)
}
