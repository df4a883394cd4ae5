//! What the simulator knows and decides: messages, opt-outs, faults. It does no input or output, and has neither a
//! clock nor chance of its own: time is handed in, and chance comes from a seed.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use jiff::Timestamp;
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    blocks::{Blocks, Keyword},
    create::Draft,
    errors::ApiError,
    faults::Faults,
    message::{Callback, Direction, Message, Price},
    plan::{self, Step},
    post::Parameters,
    replies::Reply,
};
use crate::twilio::{
    AccountSid, Address, Channel, MediaSid, MessageSid, MessageStatus, MessagingServiceSid, segments,
};

/// The most messages that are kept. Beyond it the oldest that are through make room; if none is, new ones are
/// refused as Twilio refuses what is too much at once.
pub const MESSAGES_MAX: usize = 200_000;

/// The state of the simulated account.
pub struct Model {
    account_sid: AccountSid,
    channel_install_sid: String,
    messages_max: usize,
    /// By the order in which they were accepted or received.
    messages: BTreeMap<u64, Message>,
    by_sid: HashMap<MessageSid, u64>,
    /// Those that nothing will happen to any more.
    finished: BTreeSet<u64>,
    next: u64,
    blocks: Blocks,
    faults: Faults,
    /// Names things. It is never wound back, so that no SID is given twice, not even after a new start.
    names: StdRng,
    /// Decides about faults.
    draws: StdRng,
    /// What draws start from, unless the faults name another.
    seed: Option<u64>,
}

/// A message that was accepted, and what will happen to it.
pub struct Accepted {
    /// The message as it was when it was accepted.
    pub message: Message,
    /// Its life from then on.
    pub steps: Vec<Step>,
    /// Whether the connection is to be closed instead of an answer.
    pub drop_response: bool,
}

/// A message from a person.
pub struct Incoming {
    /// The person.
    pub from: Address,
    /// The sender that it is a message to.
    pub to: Address,
    /// The text.
    pub body: String,
    /// Media files.
    pub num_media: usize,
    /// What Twilio's Advanced Opt-Out took it for.
    pub opt_out_type: Option<String>,
    /// The service that the receiving sender is in, if that is not known from earlier messages.
    pub messaging_service_sid: Option<MessagingServiceSid>,
}

impl Model {
    /// An account without messages. With a `seed` it gives the same SIDs again in another run.
    pub fn new(account_sid: AccountSid, seed: Option<u64>) -> Self {
        let mut names = seeded(seed);
        Self {
            account_sid,
            channel_install_sid: new_sid("XE", &mut names),
            messages_max: MESSAGES_MAX,
            messages: BTreeMap::new(),
            by_sid: HashMap::new(),
            finished: BTreeSet::new(),
            next: 0,
            blocks: Blocks::default(),
            faults: Faults::default(),
            draws: seeded(seed),
            seed,
            names,
        }
    }

    /// Forgets messages, opt-outs and faults.
    pub fn reset(&mut self) {
        self.messages.clear();
        self.by_sid.clear();
        self.finished.clear();
        self.blocks = Blocks::default();
        self.set_faults(Faults::default());
    }

    /// Replaces all faults; the draws start from their seed, or from that of the account.
    pub fn set_faults(&mut self, faults: Faults) {
        self.draws = seeded(faults.seed.or(self.seed));
        self.faults = faults;
    }

    /// The faults that are set.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// Draws whether a request fails before it has any effect.
    pub fn draw_refusal(&mut self) -> Result<(), ApiError> {
        if self.draws.random_bool(self.faults.rate_limit) {
            Err(ApiError::too_many_requests())
        } else if self.draws.random_bool(self.faults.server_error) {
            Err(ApiError::internal())
        } else {
            Ok(())
        }
    }

    /// Draws whether a message is refused for what is not the message's fault.
    fn draw_refusal_of_message(&mut self, from: Option<&Address>) -> Result<(), ApiError> {
        // What cannot happen is not drawn, so that the other draws of a seed stay as they are.
        if self.faults.suspended > 0.0 && self.draws.random_bool(self.faults.suspended) {
            return Err(ApiError::suspended());
        }
        match from {
            Some(from) if self.faults.queue_full > 0.0 && self.draws.random_bool(self.faults.queue_full) => {
                Err(ApiError::queue_full(from))
            }
            _ => Ok(()),
        }
    }

    /// Draws whether a message that is there is not found.
    pub fn draw_not_found(&mut self) -> bool {
        self.faults.fetch_not_found > 0.0 && self.draws.random_bool(self.faults.fetch_not_found)
    }

    /// A name for a request: `RQ` and 32 hexadecimal digits.
    pub fn new_request_id(&mut self) -> String {
        new_sid("RQ", &mut self.names)
    }

    /// A token for a webhook that is no status callback.
    pub fn new_idempotency_token(&mut self) -> String {
        plan::token(&mut self.names)
    }

    /// Accepts a message from the API, unless its recipient has opted out.
    pub fn create(&mut self, draft: Draft, now: Timestamp) -> Result<Accepted, ApiError> {
        let Draft { to, from, messaging_service_sid, body, num_media, status_callback, send_at } = draft;
        if self.blocks.is_blocked(&to, from.as_ref(), messaging_service_sid.as_ref()) {
            return Err(ApiError::bad_request(21610, "Attempt to send to unsubscribed recipient"));
        }
        self.draw_refusal_of_message(from.as_ref())?;
        if let (Some(from), Some(service)) = (&from, &messaging_service_sid) {
            self.blocks.join(from, service);
        }
        let status = match (send_at, &messaging_service_sid) {
            (Some(_), _) => MessageStatus::Scheduled,
            (None, Some(_)) => MessageStatus::Accepted,
            (None, None) => MessageStatus::Queued,
        };
        let message = Message {
            sid: self.new_message_sid(num_media),
            direction: Direction::OutboundApi,
            num_segments: if status == MessageStatus::Queued { segments_of(&to, &body) } else { 0 },
            to,
            from,
            messaging_service_sid,
            body,
            num_media,
            deleted_media: Vec::new(),
            status,
            error_code: None,
            date_created: now,
            date_updated: now,
            date_sent: None,
            price: None,
            status_callback,
            callbacks: Vec::new(),
        };
        let drop_response = self.draws.random_bool(self.faults.accept_then_drop_response);
        let mut accepted = Accepted { drop_response, ..self.accept(message)? };
        if let Some(send_at) = send_at {
            let wait = send_at.duration_since(now).unsigned_abs();
            accepted.steps.iter_mut().for_each(|step| step.after += wait);
        }
        Ok(accepted)
    }

    /// Cancels a message that is scheduled. What is left of its life is the callback that tells so.
    pub fn cancel(&mut self, sid: &str, path: &str, now: Timestamp) -> Result<Accepted, ApiError> {
        let message = self.message_mut(sid, path)?;
        if message.status != MessageStatus::Scheduled {
            let reason = "Message is not in a cancelable state";
            return Err(ApiError { http_status: 409, code: 30409, message: reason.to_owned() });
        }
        message.status = MessageStatus::Canceled;
        message.date_updated = now;
        let message = message.clone();
        let steps = plan::canceled(&self.faults, &mut self.draws);
        Ok(Accepted { message, steps, drop_response: false })
    }

    /// Takes the text of a message away that has come to its end.
    pub fn redact(&mut self, sid: &str, path: &str, now: Timestamp) -> Result<Message, ApiError> {
        self.require_finished(sid, path)?;
        let message = self.message_mut(sid, path)?;
        message.body = String::new();
        message.date_updated = now;
        Ok(message.clone())
    }

    /// Forgets a message that has come to its end.
    pub fn delete(&mut self, sid: &str, path: &str) -> Result<(), ApiError> {
        let sequence = self.require_finished(sid, path)?;
        self.finished.remove(&sequence);
        if let Some(message) = self.messages.remove(&sequence) {
            self.by_sid.remove(&message.sid);
        }
        Ok(())
    }

    /// Forgets a media file of a message.
    pub fn delete_media(&mut self, sid: &str, file: &MediaSid) {
        if let Ok(message) = self.message_mut(sid, "") {
            message.deleted_media.push(file.clone());
        }
    }

    fn message_mut(&mut self, sid: &str, path: &str) -> Result<&mut Message, ApiError> {
        let sequence = self.sequence_of(sid).ok_or_else(|| ApiError::not_found(path))?;
        self.messages.get_mut(&sequence).ok_or_else(|| ApiError::not_found(path))
    }

    fn require_finished(&self, sid: &str, path: &str) -> Result<u64, ApiError> {
        let sequence = self.sequence_of(sid).ok_or_else(|| ApiError::not_found(path))?;
        if self.finished.contains(&sequence) {
            return Ok(sequence);
        }
        let reason = "The message has not come to its end yet";
        Err(ApiError { http_status: 409, code: 20009, message: reason.to_owned() })
    }

    /// Takes in a message from a person, with what it does to the list of opt-outs.
    pub fn receive(&mut self, incoming: Incoming, now: Timestamp) -> Result<Message, ApiError> {
        let Incoming { from, to, body, num_media, opt_out_type, messaging_service_sid } = incoming;
        if let Some(service) = &messaging_service_sid {
            self.blocks.join(&to, service);
        }
        if let Some(keyword) = Keyword::of(&to, &body, opt_out_type.as_deref()) {
            self.blocks.note(&from, &to, keyword);
        }
        let message = Message {
            sid: self.new_message_sid(num_media),
            direction: Direction::Inbound,
            num_segments: segments_of(&to, &body),
            messaging_service_sid: self.blocks.service_of(&to).cloned(),
            from: Some(from),
            to,
            body,
            num_media,
            deleted_media: Vec::new(),
            status: MessageStatus::Received,
            error_code: None,
            date_created: now,
            date_updated: now,
            date_sent: Some(now),
            price: None,
            status_callback: None,
            callbacks: Vec::new(),
        };
        let sequence = self.insert(message.clone())?;
        self.finished.insert(sequence);
        Ok(message)
    }

    /// Accepts the answer to an incoming message as a message of its own. It fails at once if the person has just
    /// opted out, since nobody is there whom the API could tell.
    pub fn reply(
        &mut self,
        to: Address,
        from: Address,
        reply: Reply,
        now: Timestamp,
    ) -> Result<Accepted, ApiError> {
        let Reply { body, num_media, status_callback } = reply;
        let blocked = self.blocks.is_blocked(&to, Some(&from), None);
        let message = Message {
            sid: self.new_message_sid(num_media),
            direction: Direction::OutboundReply,
            num_segments: segments_of(&to, &body),
            messaging_service_sid: self.blocks.service_of(&from).cloned(),
            to,
            from: Some(from),
            body,
            num_media,
            deleted_media: Vec::new(),
            status: MessageStatus::Queued,
            error_code: None,
            date_created: now,
            date_updated: now,
            date_sent: None,
            price: None,
            status_callback,
            callbacks: Vec::new(),
        };
        let mut accepted = self.accept(message)?;
        if blocked {
            accepted.steps = plan::refused(21610, &self.faults, &mut self.draws);
        }
        Ok(accepted)
    }

    /// Takes a message one step further. The answer is the callback that is due, if it wants callbacks.
    pub fn advance(&mut self, sid: &MessageSid, step: &Step, now: Timestamp) -> Option<Parameters> {
        let message = self.messages.get_mut(self.by_sid.get(sid)?)?;
        if message.status == MessageStatus::Canceled && step.status != MessageStatus::Canceled {
            return None;
        }
        if let (None, Some(service)) = (&message.from, &message.messaging_service_sid) {
            message.from = Some(self.blocks.choose_sender(service, message.to.channel()));
        }
        message.num_segments = segments_of(&message.to, &message.body);
        message.status = step.status.clone();
        message.error_code = step.error_code;
        message.date_updated = now;
        if step.status == MessageStatus::Sent {
            message.date_sent = Some(now);
        }
        if message.price.is_none() && is_charged(&step.status) {
            message.price = Some(Price::of(message, now + self.faults.price_lag));
        }
        message.status_callback.as_ref()?;
        Some(message.callback_parameters(&self.account_sid, &self.channel_install_sid))
    }

    /// Notes what came of a callback.
    pub fn note_callback(&mut self, sid: &MessageSid, callback: Callback) {
        if let Some(message) = self.by_sid.get(sid).and_then(|sequence| self.messages.get_mut(sequence)) {
            message.callbacks.push(callback);
        }
    }

    /// Notes that nothing will happen to a message any more.
    pub fn finish(&mut self, sid: &MessageSid) {
        if let Some(sequence) = self.by_sid.get(sid) {
            self.finished.insert(*sequence);
        }
    }

    /// Whether nothing will happen to any message any more.
    pub fn is_idle(&self) -> bool {
        self.finished.len() == self.messages.len()
    }

    /// The message `sid`.
    pub fn message(&self, sid: &str) -> Option<&Message> {
        let sid = MessageSid::parse(sid).ok()?;
        self.messages.get(self.by_sid.get(&sid)?)
    }

    /// All messages with their place in the order in which they were accepted or received.
    pub fn messages(&self) -> impl DoubleEndedIterator<Item = (u64, &Message)> {
        self.messages.iter().map(|(sequence, message)| (*sequence, message))
    }

    /// The place of the message `sid` in that order.
    pub fn sequence_of(&self, sid: &str) -> Option<u64> {
        self.by_sid.get(&MessageSid::parse(sid).ok()?).copied()
    }

    fn accept(&mut self, message: Message) -> Result<Accepted, ApiError> {
        self.insert(message.clone())?;
        let steps = plan::plan(&message.status, &message.to, &self.faults, &mut self.draws);
        Ok(Accepted { message, steps, drop_response: false })
    }

    fn insert(&mut self, message: Message) -> Result<u64, ApiError> {
        if self.messages.len() >= self.messages_max {
            let oldest = self.finished.pop_first().ok_or_else(ApiError::too_many_requests)?;
            if let Some(message) = self.messages.remove(&oldest) {
                self.by_sid.remove(&message.sid);
            }
        }
        let sequence = self.next;
        self.next += 1;
        self.by_sid.insert(message.sid.clone(), sequence);
        self.messages.insert(sequence, message);
        Ok(sequence)
    }

    fn new_message_sid(&mut self, num_media: usize) -> MessageSid {
        let prefix = if num_media > 0 { "MM" } else { "SM" };
        MessageSid::parse(&new_sid(prefix, &mut self.names)).expect("it has the shape of a message SID")
    }
}

/// Whether a message with this status has left, and costs something.
fn is_charged(status: &MessageStatus) -> bool {
    matches!(status, MessageStatus::Delivered | MessageStatus::Undelivered)
}

fn seeded(seed: Option<u64>) -> StdRng {
    seed.map_or_else(rand::make_rng, StdRng::seed_from_u64)
}

fn new_sid(prefix: &str, rng: &mut StdRng) -> String {
    format!("{prefix}{}", hex::encode(rng.random::<[u8; 16]>()))
}

/// What Twilio counts: only SMS has segments.
fn segments_of(to: &Address, body: &str) -> usize {
    if to.channel() == Channel::Sms { segments::count(body).segments } else { 1 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twilio::Form;

    fn model() -> Model {
        Model::new(AccountSid::parse(&format!("AC{}", "a".repeat(32))).unwrap(), Some(1))
    }

    fn now() -> Timestamp {
        "2026-03-09T10:00:00Z".parse().unwrap()
    }

    fn draft(to: &str, sender: &str) -> Draft {
        let form = [("To", to), ("Body", "Hi"), ("StatusCallback", "http://a.example/")];
        let name = if sender.starts_with("MG") { "MessagingServiceSid" } else { "From" };
        Draft::read(&Form::from_iter(form.into_iter().chain([(name, sender)])), false, now())
            .unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn create(model: &mut Model, to: &str, sender: &str) -> Result<Accepted, ApiError> {
        model.create(draft(to, sender), now())
    }

    fn text(model: &mut Model, from: &str, to: &str, body: &str) -> Message {
        let incoming = Incoming {
            from: Address::parse(from).unwrap(),
            to: Address::parse(to).unwrap(),
            body: body.into(),
            num_media: 0,
            opt_out_type: None,
            messaging_service_sid: None,
        };
        model.receive(incoming, now()).unwrap()
    }

    fn live(model: &mut Model, accepted: &Accepted) {
        for step in &accepted.steps {
            model.advance(&accepted.message.sid, step, now());
        }
        model.finish(&accepted.message.sid);
    }

    const SERVICE: &str = "MGcccccccccccccccccccccccccccccccc";

    #[test]
    fn a_message_with_a_sender_begins_queued() {
        let mut model = model();
        let accepted = create(&mut model, "+14155550100", "+15005550006").unwrap();
        assert_eq!(accepted.message.status, MessageStatus::Queued);
        assert_eq!(accepted.message.num_segments, 1);
        assert!(accepted.message.sid.as_str().starts_with("SM"));
        assert!(!model.is_idle());
        live(&mut model, &accepted);
        assert!(model.is_idle());
        let message = model.message(accepted.message.sid.as_str()).unwrap();
        assert_eq!(message.status, MessageStatus::Delivered);
        assert_eq!(message.date_sent, Some(now()));
    }

    #[test]
    fn a_services_message_begins_accepted_and_is_given_a_sender() {
        let mut model = model();
        let accepted = create(&mut model, "+14155550100", SERVICE).unwrap();
        assert_eq!(accepted.message.status, MessageStatus::Accepted);
        assert_eq!((&accepted.message.from, accepted.message.num_segments), (&None, 0));
        let callback = model.advance(&accepted.message.sid, &accepted.steps[0], now()).unwrap();
        assert!(callback.contains(&("MessageStatus".into(), "queued".into())));
        let message = model.message(accepted.message.sid.as_str()).unwrap();
        assert!(message.from.is_some());
        assert_eq!(message.num_segments, 1);
    }

    #[test]
    fn a_scheduled_message_waits_and_can_be_canceled_until_then() {
        let mut model = model();
        let at = now() + std::time::Duration::from_secs(600);
        let scheduled = |model: &mut Model| {
            model.create(Draft { send_at: Some(at), ..draft("+14155550100", SERVICE) }, now()).unwrap()
        };
        let sent = scheduled(&mut model);
        assert_eq!(sent.message.status, MessageStatus::Scheduled);
        assert_eq!(sent.steps[0].status, MessageStatus::Queued);
        assert!(sent.steps[0].after > std::time::Duration::from_secs(600));
        let canceled = scheduled(&mut model);
        let sid = canceled.message.sid.as_str();
        let end = model.cancel(sid, "", now()).unwrap();
        let callback = model.advance(&canceled.message.sid, &end.steps[0], now()).unwrap();
        assert!(callback.contains(&("MessageStatus".into(), "canceled".into())));
        live(&mut model, &canceled);
        assert_eq!(model.message(sid).unwrap().status, MessageStatus::Canceled);
        assert_eq!(model.cancel(sid, "", now()).err().map(|error| error.code), Some(30409));
        live(&mut model, &sent);
        let sid = sent.message.sid.as_str();
        assert_eq!(model.cancel(sid, "", now()).err().map(|error| error.code), Some(30409));
        assert_eq!(model.message(sid).unwrap().status, MessageStatus::Delivered);
    }

    #[test]
    fn only_a_message_at_its_end_is_redacted_or_deleted() {
        let mut model = model();
        let accepted = create(&mut model, "+14155550100", "+15005550006").unwrap();
        let sid = accepted.message.sid.as_str();
        assert_eq!(model.redact(sid, "", now()).err().map(|error| error.code), Some(20009));
        assert_eq!(model.delete(sid, "").err().map(|error| error.code), Some(20009));
        live(&mut model, &accepted);
        assert_eq!(model.redact(sid, "", now()).unwrap().body, "");
        model.delete(sid, "").unwrap();
        assert_eq!(model.delete(sid, "").err().map(|error| error.code), Some(20404));
        assert!(model.is_idle() && model.message(sid).is_none());
    }

    #[test]
    fn stop_refuses_what_follows_until_start() {
        let mut model = model();
        let (person, sender) = ("+14155550100", "+15005550006");
        let refused = |model: &mut Model| create(model, person, sender).err().map(|error| error.code);
        assert_eq!(refused(&mut model), None);
        assert_eq!(text(&mut model, person, sender, "Stop").direction, Direction::Inbound);
        assert_eq!(refused(&mut model), Some(21610));
        text(&mut model, person, sender, "JOIN");
        assert_eq!(refused(&mut model), Some(21610));
        text(&mut model, person, sender, "start");
        assert_eq!(refused(&mut model), None);
    }

    #[test]
    fn stop_to_the_sender_a_service_chose_refuses_the_service() {
        let mut model = model();
        let accepted = create(&mut model, "+14155550100", SERVICE).unwrap();
        live(&mut model, &accepted);
        let sender = model.message(accepted.message.sid.as_str()).unwrap().from.clone().unwrap();
        let incoming = text(&mut model, "+14155550100", sender.bare(), "STOP");
        assert_eq!(incoming.messaging_service_sid.unwrap().as_str(), SERVICE);
        assert_eq!(create(&mut model, "+14155550100", SERVICE).err().unwrap().code, 21610);
    }

    #[test]
    fn a_reply_to_someone_who_just_opted_out_fails() {
        let mut model = model();
        let (person, sender) = ("+14155550100", "+15005550006");
        text(&mut model, person, sender, "STOP");
        let (to, from) = (Address::parse(person).unwrap(), Address::parse(sender).unwrap());
        let accepted =
            model.reply(to, from, Reply { body: "Bye".into(), ..Reply::default() }, now()).unwrap();
        live(&mut model, &accepted);
        let message = model.message(accepted.message.sid.as_str()).unwrap();
        assert_eq!((&message.status, message.error_code), (&MessageStatus::Failed, Some(21610)));
        assert_eq!(message.direction, Direction::OutboundReply);
    }

    #[test]
    fn the_oldest_that_are_through_make_room() {
        let mut model = model();
        model.messages_max = 2;
        let first = create(&mut model, "+14155550100", "+15005550006").unwrap();
        let second = create(&mut model, "+14155550101", "+15005550006").unwrap();
        let error = create(&mut model, "+14155550102", "+15005550006").err().unwrap();
        assert_eq!((error.http_status, error.code), (429, 20429));
        live(&mut model, &second);
        create(&mut model, "+14155550102", "+15005550006").unwrap();
        assert!(model.message(first.message.sid.as_str()).is_some());
        assert!(model.message(second.message.sid.as_str()).is_none());
        assert_eq!(model.messages().count(), 2);
    }

    #[test]
    fn a_new_start_forgets_all_but_the_sids_given() {
        let mut model = model();
        let before = create(&mut model, "+14155550100", "+15005550006").unwrap().message.sid;
        text(&mut model, "+14155550100", "+15005550006", "STOP");
        model.set_faults(Faults { rate_limit: 1.0, ..Faults::default() });
        assert_eq!(model.draw_refusal().unwrap_err().code, 20429);
        model.reset();
        assert_eq!(model.draw_refusal(), Ok(()));
        assert_eq!(model.messages().count(), 0);
        let after = create(&mut model, "+14155550100", "+15005550006").unwrap().message.sid;
        assert_ne!(before, after);
    }

    #[test]
    fn the_same_seed_gives_the_same_sids_and_the_same_draws() {
        let run = || {
            let mut model = model();
            model.set_faults(Faults { lose_callback: 0.5, seed: Some(9), ..Faults::default() });
            let accepted = create(&mut model, "+14155550100", SERVICE).unwrap();
            (accepted.message.sid, accepted.steps)
        };
        assert_eq!(run(), run());
    }
}
