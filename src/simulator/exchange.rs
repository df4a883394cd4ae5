//! The exchange: it gives the model time, posts the callbacks that fall due, and carries messages from people to the
//! webhook and the answers back.

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use reqwest::Url;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    create::{Draft, is_web_url},
    errors::ApiError,
    inbound::Inbound,
    message::{Callback, Message},
    model::{Accepted, Model},
    plan::{Posting, Step},
    post::{Answer, Outcome, Parameters, Poster},
    replies,
    senders::Senders,
    update::Change,
};
use crate::twilio::{AccountSid, Address, MessageSid, MessageStatus};

/// A simulated account at work.
pub struct Exchange {
    account_sid: AccountSid,
    model: Mutex<Model>,
    /// Counts changes of the model.
    changes: watch::Sender<u64>,
    poster: Poster,
    webhook_url: Mutex<Option<String>>,
    /// Where the API is, once that is known.
    base_url: OnceLock<String>,
    /// What the account has, if it was given anything.
    senders: Mutex<Option<Senders>>,
    runtime: tokio::runtime::Handle,
    era: Mutex<Era>,
}

/// The time between two new starts: what was begun in it ends with it.
#[derive(Default)]
struct Era {
    over: CancellationToken,
    tasks: TaskTracker,
}

/// Why a message from a person did not reach the webhook.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InboundError {
    /// There is no webhook.
    #[error("there is no webhook: give webhook_url, or start the simulator with one")]
    NoWebhook,
    /// The model is full.
    #[error("there are too many messages on their way")]
    Full,
    /// The webhook gave no answer.
    #[error("the webhook gave no answer: {0}")]
    NoAnswer(&'static str),
}

/// A callback that is due.
struct Due {
    status: MessageStatus,
    parameters: Parameters,
    posting: Posting,
}

impl Exchange {
    /// An exchange whose tasks run on the present runtime.
    pub fn new(account_sid: AccountSid, model: Model, poster: Poster, webhook_url: Option<String>) -> Self {
        Self {
            account_sid,
            model: Mutex::new(model),
            changes: watch::Sender::new(0),
            poster,
            webhook_url: Mutex::new(webhook_url),
            base_url: OnceLock::new(),
            senders: Mutex::new(None),
            runtime: tokio::runtime::Handle::current(),
            era: Mutex::default(),
        }
    }

    /// The account.
    pub fn account_sid(&self) -> &AccountSid {
        &self.account_sid
    }

    /// The model, locked; hold it briefly.
    pub fn model(&self) -> MutexGuard<'_, Model> {
        // The model checks before it changes, so that a panic leaves it as it was.
        self.model.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells when the model changes.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The API is at `url`. What is told first holds.
    pub fn set_base_url(&self, url: String) {
        self.base_url.get_or_init(|| url);
    }

    /// Sends messages from people to `url` from now on.
    pub fn set_webhook_url(&self, url: String) {
        *self.webhook_url.lock().unwrap_or_else(PoisonError::into_inner) = Some(url);
    }

    /// Accepts a message from the API and begins its life. The answer is the message as it was accepted, and whether
    /// the connection is to be closed instead.
    pub fn create(self: &Arc<Self>, draft: Draft) -> Result<(Message, bool), ApiError> {
        let accepted = self.model().create(draft, super::now())?;
        let (message, drop_response) = (accepted.message.clone(), accepted.drop_response);
        self.begin(accepted);
        Ok((message, drop_response))
    }

    /// Changes the message `sid`, which was asked for at `path`, and answers it as it is then.
    pub fn change(self: &Arc<Self>, sid: &str, path: &str, change: Change) -> Result<Message, ApiError> {
        match change {
            Change::Nothing => self.model().message(sid).cloned().ok_or_else(|| ApiError::not_found(path)),
            Change::Redact => {
                let redacted = self.model().redact(sid, path, super::now())?;
                self.changed();
                Ok(redacted)
            }
            Change::Cancel => {
                let canceled = self.model().cancel(sid, path, super::now())?;
                let message = canceled.message.clone();
                self.begin(canceled);
                Ok(message)
            }
        }
    }

    /// Forgets the message `sid`, which was asked for at `path`.
    pub fn delete(&self, sid: &str, path: &str) -> Result<(), ApiError> {
        self.model().delete(sid, path)?;
        self.changed();
        Ok(())
    }

    /// Gives the account other numbers, messaging services and WhatsApp senders.
    pub fn set_senders(&self, senders: Senders) {
        *self.senders.lock().unwrap_or_else(PoisonError::into_inner) = Some(senders);
    }

    /// The account's numbers, messaging services and WhatsApp senders.
    pub fn senders(&self) -> Senders {
        let given = self.senders.lock().unwrap_or_else(PoisonError::into_inner).clone();
        given.unwrap_or_else(|| Senders::of_webhook(self.webhook_url()))
    }

    fn webhook_url(&self) -> Option<String> {
        self.webhook_url.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where a message to `to` goes: where the account's sender of that address says, or one and the same place for all
    /// addresses that it does not know.
    fn webhook_of(&self, to: &Address) -> Option<String> {
        match self.senders().webhook_of(&to.to_twilio()) {
            Some(url) => url.map(str::to_owned),
            None => self.webhook_url(),
        }
    }

    /// Takes in a message from a person, posts it to the webhook, and sends what that answers.
    pub async fn receive(self: &Arc<Self>, inbound: &Inbound) -> Result<Answer, InboundError> {
        let url = inbound.webhook_url.clone().or_else(|| self.webhook_of(&inbound.to));
        let url = url.ok_or(InboundError::NoWebhook)?;
        let (message, token) = {
            let mut model = self.model();
            let received = model.receive(inbound.to_incoming(), super::now());
            (received.map_err(|_| InboundError::Full)?, model.new_idempotency_token())
        };
        self.changed();

        let base_url = self.base_url.get().map(String::as_str).unwrap_or_default();
        let parameters = inbound.webhook_parameters(&self.account_sid, &message, base_url);
        let (attempts, answer) = self.poster.post(&url, &parameters, &token).await;
        let answer = answer.ok_or_else(|| {
            let reason = attempts.last().map_or("not posted", |attempt| attempt.outcome.as_str());
            tracing::warn!(message_sid = %message.sid, reason, "the webhook gave no answer");
            InboundError::NoAnswer(reason)
        })?;
        for reply in replies::read(&answer) {
            let status_callback = reply.status_callback.and_then(|action| resolve(&url, &action));
            let accepted = self.model().reply(
                inbound.from.clone(),
                inbound.to.clone(),
                replies::Reply { status_callback, ..reply },
                super::now(),
            );
            match accepted {
                Ok(accepted) => self.begin(accepted),
                Err(error) => tracing::warn!(code = error.code, "a reply was not accepted"),
            }
        }
        Ok(answer)
    }

    /// Ends everything that is on its way and forgets everything, the given senders too.
    pub async fn restart(&self) {
        self.end_era().await;
        *self.senders.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.model().reset();
        self.changed();
    }

    /// Ends everything that is on its way.
    pub fn end_era(&self) -> impl Future<Output = ()> + use<> {
        let era = std::mem::take(&mut *self.era.lock().unwrap_or_else(PoisonError::into_inner));
        era.over.cancel();
        era.tasks.close();
        async move { era.tasks.wait().await }
    }

    /// Waits until nothing will happen to any message any more.
    pub async fn idle(&self) {
        let mut changes = self.changes();
        while !self.model().is_idle() {
            changes.changed().await.expect("the exchange, which is borrowed, holds the sender");
        }
    }

    /// Begins the life of a message that was accepted.
    fn begin(self: &Arc<Self>, accepted: Accepted) {
        self.changed();
        let life = self.clone().live(accepted, Instant::now());
        let era = self.era.lock().unwrap_or_else(PoisonError::into_inner);
        era.tasks.spawn_on(era.over.clone().run_until_cancelled_owned(life), &self.runtime);
    }

    /// The life of a message. Statuses keep to their time, however slow the callbacks are.
    async fn live(self: Arc<Self>, accepted: Accepted, start: Instant) {
        let Accepted { message, steps, .. } = accepted;
        let (due, post) = mpsc::channel(steps.len().max(1));
        tokio::join!(
            self.advance(&message.sid, steps, start, due),
            self.post_callbacks(&message.sid, message.status_callback.as_deref().unwrap_or_default(), post),
        );
        self.model().finish(&message.sid);
        self.changed();
    }

    async fn advance(&self, sid: &MessageSid, steps: Vec<Step>, start: Instant, due: mpsc::Sender<Due>) {
        for step in steps {
            sleep_until(start + step.after).await;
            let parameters = self.model().advance(sid, &step, super::now());
            self.changed();
            if let (Some(parameters), Some(posting)) = (parameters, step.posting) {
                let callback = Due { status: step.status, parameters, posting };
                // There is room for each step, and the receiver ends only after the sender.
                due.send(callback).await.ok();
            }
        }
    }

    /// Posts the callbacks of one message, one after another.
    async fn post_callbacks(&self, sid: &MessageSid, url: &str, mut due: mpsc::Receiver<Due>) {
        let mut held = Vec::new();
        while let Some(callback) = due.recv().await {
            if callback.posting.held {
                held.push(callback);
                continue;
            }
            self.post_callback(sid, url, callback).await;
            for callback in held.drain(..) {
                self.post_callback(sid, url, callback).await;
            }
        }
    }

    async fn post_callback(&self, sid: &MessageSid, url: &str, due: Due) {
        let note = |idempotency_token, attempts| {
            let callback = Callback { status: due.status.clone(), idempotency_token, attempts };
            self.model().note_callback(sid, callback);
            self.changed();
        };
        if due.posting.tokens.is_empty() {
            note(None, Vec::new());
        }
        for token in due.posting.tokens {
            let (attempts, _) = self.poster.post(url, &due.parameters, &token).await;
            if let Some(last) = attempts.last()
                && !matches!(last.outcome, Outcome::Answered(200..=299))
            {
                let (status, attempts) = (due.status.as_str(), attempts.len());
                tracing::warn!(message_sid = %sid, status, attempts, outcome = %last.outcome,
                    "a status callback was not taken");
            }
            note(Some(token), attempts);
        }
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
    }
}

/// The URL that `reference` means in a document from `base`.
fn resolve(base: &str, reference: &str) -> Option<String> {
    let url = Url::parse(base).ok()?.join(reference).ok()?.to_string();
    is_web_url(&url).then_some(url)
}
