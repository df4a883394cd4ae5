//! Tells users something, on the channels that they want and that are allowed.
//!
//! What is queued here obeys everything that holds for any message at the moment at which it leaves. With a fallback, a
//! user who is reached over WhatsApp gets an SMS only if the WhatsApp message does not arrive: the SMS is stored at once
//! as the second of a pair, and [`super::fallback`] tells whether it is sent or called off, so that there is never more than one.

use std::time::Duration;

use super::{
    Outgoing,
    content::Content,
    limits::DayCount,
    send::{self, SendError},
};
use crate::{
    app::{Scope, accounts::Account, consents::preferences::Preferences, idempotency::Seed},
    domain::{
        Hold, MessageId, Outbound, Refusal,
        audit::{Action, Facts, Origin},
        consent::{NoConsent, Route},
        outgoing::{Fallback, NotAllowed},
    },
    store::{NewOutbound, Queued, outbox::OUTBOUNDS_MAX},
    twilio::{Address, Channel},
};

/// The most users of one call.
pub const USERS_MAX: usize = 1_000;

/// What to tell, and to whom. `Debug` is left out: it holds a message's text.
#[derive(Clone)]
pub struct Notify {
    /// Each user once, in order.
    pub user_ids: Vec<String>,
    /// What Twilio is given for SMS.
    pub content: Content,
    /// What Twilio is given for WhatsApp.
    pub whatsapp_content: Content,
    /// What it is about.
    pub category: String,
    /// How long a WhatsApp message may take to arrive before an SMS follows.
    pub fallback_after: Option<Duration>,
    /// Of what the ids are made: that of an earlier try of the same request.
    pub seed: Option<Seed>,
    /// Who asks.
    pub by: Origin,
}

/// What became of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notified {
    /// The user.
    pub user_id: String,
    /// What is in the queue: the channel, our id, and whether it leaves only if the other does not arrive.
    pub queued: Vec<(Channel, MessageId, bool)>,
    /// What is not, and why.
    pub skipped: Vec<(Channel, Skipped)>,
}

/// Why a user is not told on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skipped {
    /// Nobody has told us their number.
    NoPhoneNumber,
    /// They have turned the channel off, or not on.
    ChannelDisabled,
    /// The person must not be sent to.
    NoConsent(NoConsent),
    /// Nothing is sent to their number.
    NotAllowed(NotAllowed),
    /// Their number takes no messages.
    Unreachable,
    /// No sender is configured.
    NoSender,
}

impl Scope<'_, Outgoing> {
    /// Puts a message for each user and channel into the queue that they want and may be sent to on. If the queue has no
    /// room for all of them, or the day not so many messages left, nothing is stored.
    pub async fn notify(&self, notify: &Notify) -> Result<Vec<Notified>, SendError> {
        self.core.store.known().check()?;
        if !self.intake.is_clear() {
            return Err(SendError::CatchingUp);
        }
        let account = self.accounts.find(self.organization).ok_or(SendError::NotConfigured)?;
        let (mut notified, mut queued) =
            (Vec::with_capacity(notify.user_ids.len()), Vec::<NewOutbound>::new());
        for user in &notify.user_ids {
            let preferences = self.consents.of(self.organization).preferences(user).await?;
            let (told, new) = self.messages_for(&account, notify, &preferences);
            notified.push(told);
            queued.extend(new);
        }
        let steps = self.steps.of(self.organization);
        if notify.seed.is_some() {
            // They have room and are counted for the day.
            let before = steps.stored_before(&queued).await?;
            queued.retain(|new| !before.contains(&new.outbound.id));
        }
        let size = Queued { messages: queued.len() as u64, bytes: queued.iter().map(|new| new.bytes).sum() };
        let Some(_room) = steps.room_for(size).await? else {
            return Err(SendError::refused(Refusal::QueueFull));
        };
        let (due, by) = (self.core.now_ms(), Some(notify.by.principal()));
        if let DayCount::Beyond { left } = steps.count_for_the_day(due, size.messages, by).await? {
            return Err(SendError::DailyLimit { wanted: size.messages, left });
        }
        // Before the first of them may leave. A call by which nobody is told anything is not written down, and a repetition once
        // more only if it adds something.
        if !queued.is_empty() {
            let facts = Facts { users: Some(notified.len()), queued: Some(queued.len()), ..Facts::default() };
            self.audit.of(self.organization).record(notify.by.entry(Action::Notify).with(facts)).await?;
        }
        for some in queued.chunks(OUTBOUNDS_MAX) {
            steps.enqueue(some).await?;
        }
        self.wanted.notify_one();
        Ok(notified)
    }

    /// What one user is to get, and why not more.
    fn messages_for(
        &self,
        account: &Account,
        notify: &Notify,
        preferences: &Preferences,
    ) -> (Notified, Vec<NewOutbound>) {
        let user_id = preferences.user_id.clone();
        let mut notified = Notified { user_id, queued: Vec::new(), skipped: Vec::new() };
        let mut allowed = Vec::new();
        for (channel, is_enabled) in
            [(Channel::Whatsapp, preferences.whatsapp_enabled), (Channel::Sms, preferences.sms_enabled)]
        {
            match self.outbound_for(account, notify, preferences, channel, is_enabled) {
                Ok(outbound) => allowed.push(outbound),
                Err(reason) => notified.skipped.push((channel, reason)),
            }
        }
        let mut due = [self.core.now_ms(); 2];
        let mut reasons = [Hold::Turn; 2];
        if let (Some(after), [whatsapp, sms]) = (notify.fallback_after, &mut allowed[..]) {
            whatsapp.fallback = Some(Fallback::First { second: sms.id });
            sms.fallback = Some(Fallback::Second { first: whatsapp.id, after });
            due[1] += after;
            reasons[1] = Hold::Fallback;
        }
        let mut new = Vec::with_capacity(allowed.len());
        for (outbound, (due, reason)) in allowed.into_iter().zip(due.into_iter().zip(reasons)) {
            let channel = outbound.to.channel();
            let content = match channel {
                Channel::Whatsapp => &notify.whatsapp_content,
                Channel::Sms | Channel::Rcs => &notify.content,
            };
            notified.queued.push((channel, outbound.id, reason == Hold::Fallback));
            let sealed = content.seal_for(&outbound.id, &self.core.keys);
            let bytes = sealed.len() as u64;
            new.push(self.steps.of(self.organization).queued(outbound, Some(sealed), bytes, due, reason));
        }
        (notified, new)
    }

    fn outbound_for(
        &self,
        account: &Account,
        notify: &Notify,
        preferences: &Preferences,
        channel: Channel,
        is_enabled: bool,
    ) -> Result<Outbound, Skipped> {
        let phone = preferences.phone_number.clone().ok_or(Skipped::NoPhoneNumber)?;
        let sender = send::sender(account, channel, None, None);
        let (from, service) =
            sender.as_ref().map(|(from, service)| (from.as_ref(), service.as_ref())).unwrap_or_default();
        let category = Some(notify.category.as_str());
        let route = Route { channel, from: from.map(Address::bare), service, category };
        if let Some(reason) = preferences.consent.refusal(&route, self.core.settings.required_opt_in) {
            return Err(Skipped::NoConsent(reason));
        }
        if !is_enabled {
            return Err(Skipped::ChannelDisabled);
        }
        let (from, messaging_service_sid) = sender.map_err(|_| Skipped::NoSender)?;
        let to = phone.on(channel);
        if let Some(reason) = self.steps.of(self.organization).destinations(from.as_ref()).not_allowed(&to) {
            return Err(Skipped::NotAllowed(reason));
        }
        // A delivery that has lifted it meanwhile is looked for by those who send to the number itself.
        if self.steps.of(self.organization).suppressed_since(&preferences.consent, channel).is_some() {
            return Err(Skipped::Unreachable);
        }
        let content = match channel {
            Channel::Whatsapp => &notify.whatsapp_content,
            Channel::Sms | Channel::Rcs => &notify.content,
        };
        let user = &preferences.user_id;
        Ok(Outbound {
            id: match notify.seed {
                Some(seed) => seed.message_id(self.core.store.as_ref(), &to, user),
                None => self.new_id(&to),
            },
            from,
            messaging_service_sid,
            body_length: content.body_length(),
            segments: content.segments(),
            media: content.media_url.len(),
            category: Some(notify.category.clone()),
            user_id: Some(user.clone()),
            batch: None,
            status_callback: None,
            fallback: None,
            actor: Some(notify.by.principal().clone()),
            created_at: self.core.now_ms(),
            to,
        })
    }
}
