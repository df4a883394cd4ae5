//! A person wrote to us.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Incoming;
use crate::{
    app::{DECISIONS_MAX, Scope, Settings, contended, relays::Parameters},
    domain::{
        Consent, Person, UnixMs,
        consent::{Answer, ConsentEntry, ConsentSource, ConsentState, Decision, KeywordHandlers, Reply},
        event::InboundEntry,
    },
    metrics::ReviewResult,
    store::{self, ConsentUpdate, InboundRecorded},
    twilio::{
        MessagingServiceSid,
        reply::{Meaning, Reading},
        webhook::{IncomingMessage, OptOutType},
    },
};

/// How far clocks may be apart. A reply that is heard of late and a change of consent that are no further apart are
/// taken in the order in which they are heard of.
const CLOCK_SKEW_MAX: Duration = Duration::from_secs(5);

/// A message received, without its text: what the stream tells of it, and what it says about consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// What the stream tells.
    pub entry: InboundEntry,
    /// What its text was read as.
    pub reading: Reading,
    /// What Twilio's Advanced Opt-Out made of it.
    pub opt_out_type: Option<OptOutType>,
    /// The messaging service that the sender it was sent to is in.
    #[serde(default)]
    pub service: Option<MessagingServiceSid>,
    /// The writer by the WhatsApp user id and by the number, if the message tells both.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub names: Option<(Person, Person)>,
    /// Its words, sealed, if it has to be reviewed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub words: Option<String>,
    /// The parameters with which Twilio told of it, sealed; `None` if the application is not told of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<String>,
    /// We hear of it later than it was sent, so that consent may have changed since by the person's own word.
    pub late: bool,
}

impl Receipt {
    /// The same, heard of late.
    pub fn heard_late(self) -> Self {
        Self { late: true, ..self }
    }

    fn reply(&self, handlers: &KeywordHandlers, decide_by: UnixMs) -> Reply<'_> {
        let (channel, sender, service) = (self.entry.channel, &self.entry.to, self.service.as_ref());
        Reply {
            sender,
            service,
            handling: handlers.of(channel, sender, service),
            phone: &self.entry.from,
            channel,
            reading: &self.reading,
            opt_out_type: self.opt_out_type,
            sid: &self.entry.sid,
            at: self.entry.at,
            decide_by,
        }
    }

    /// Whether it was heard of so late that `consent` tells what holds. An opt-in yields to every later change; whatever
    /// else the person wrote only to their own later word, since nobody else's record takes it back.
    fn is_outdated_by(&self, consent: &Consent) -> bool {
        let known = consent.on(self.entry.channel);
        let is_opt_in = match (&self.opt_out_type, &self.reading.meaning) {
            (Some(opt_out_type), _) => *opt_out_type == OptOutType::Start,
            (None, Meaning::Keyword(keyword)) => keyword.opts_in(),
            (None, Meaning::Phrase | Meaning::Review | Meaning::Ordinary) => false,
        };
        let counts = is_opt_in || known.source.is_some_and(ConsentSource::is_the_persons);
        self.late && counts && known.at.is_some_and(|changed| changed > self.entry.at + CLOCK_SKEW_MAX)
    }
}

/// What a message did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// What to say back.
    pub answer: Answer,
    /// The change of consent that it caused, or that waits for review.
    pub consent: Option<ConsentEntry>,
    /// It had been recorded before, and changed nothing now.
    pub duplicate: bool,
}

impl Incoming {
    /// Reads a verified incoming message that was received at `at`. `form` are the parameters that the application is told of it.
    pub fn receipt(&self, message: &IncomingMessage, form: Option<Parameters>, at: UnixMs) -> Receipt {
        let reading = self.core.settings.reader.read_message(message);
        let entry = InboundEntry {
            sid: message.message_sid.clone(),
            channel: message.channel,
            from: message.from.bare().clone(),
            to: message.to.bare().clone(),
            body_length: message.body.chars().count(),
            keyword: match &reading.meaning {
                Meaning::Keyword(keyword) => Some(keyword.word.clone()),
                Meaning::Phrase | Meaning::Review | Meaning::Ordinary => None,
            },
            media: message.num_media,
            at,
        };
        let words = (reading.meaning == Meaning::Review)
            .then(|| self.consents.seal_words(&message.message_sid, &words_of(message)));
        let names = message.user_id_and_number();
        let names = names.map(|(user_id, number)| (Person::of(&user_id), Person::of(&number)));
        Receipt {
            entry,
            reading,
            opt_out_type: message.opt_out_type,
            service: message.messaging_service_sid.clone(),
            names,
            words,
            form: form.map(|form| self.forwards.seal_form(&message.message_sid, &form)),
            late: false,
        }
    }
}

impl Scope<'_, Incoming> {
    /// The words of `answer` to a reply, in its language as far as that is known. They do not depend on the store.
    pub fn words(&self, answer: Answer, reading: &Reading) -> Option<String> {
        let account = self.accounts.find(self.organization);
        let own = account.map(|account| account.settings.replies.clone()).unwrap_or_default();
        let identity = self.accounts.of(self.organization).identity();
        let Settings { reader, replies, .. } = &self.core.settings;
        let written_in = reader.written_in(reading, replies.language_of(&own));
        replies.say(answer, written_in, &own, &identity)
    }

    /// Records a message received and what it does to the sender's consent. Both are stored when this returns; a
    /// repetition gets the first answer again.
    pub async fn record_inbound(&self, receipt: &Receipt) -> Result<Received, store::Error> {
        if let Some(form) = &receipt.form {
            let forwards = self.forwards.of(self.organization);
            // What is heard of late has nobody who waits for an answer.
            let held_until = if receipt.late { UnixMs::EPOCH } else { forwards.reply_held_until() };
            forwards.keep_message(&receipt.entry.sid, form, held_until).await?;
        }
        // First, so that what the message asks for is known under both names when it is stored.
        if let Some((user, person)) = &receipt.names {
            self.core.store.link(self.organization, user, person).await?;
        }
        let person = Person::of(&receipt.entry.from);
        for _ in 0..DECISIONS_MAX {
            let known = self.core.store.consent(self.organization, &person).await?;
            let person = known.version.person().clone();
            let decision = if receipt.is_outdated_by(&known.consent) {
                Decision { consent: known.consent.clone(), entry: None, answer: Answer::Nothing }
            } else {
                let reply = receipt.reply(&self.core.settings.keyword_handlers, self.core.review_ends());
                known.consent.decide(&reply, self.core.settings.opt_out_scope)
            };
            let answer = match decision.answer {
                Answer::Help => self.help_answer(&person, &receipt.entry.sid).await?,
                answer => answer,
            };
            let review = decision.consent.review(&receipt.entry.sid).map(|(_, review)| review.clone());
            if let Some(review) = &review {
                let words = receipt.words.as_deref();
                let consents = self.consents.of(self.organization);
                consents.prepare_review(&receipt.entry, &receipt.reading, words, review.until).await?;
            }
            let closed = known.consent.reviews_closed_by(&decision.consent);
            let update = decision.entry.clone().map(|entry| ConsentUpdate {
                expected: known.version,
                consent: decision.consent,
                entry,
                evidence: None,
                actor: None,
                audit_entry: None,
            });
            let entry = receipt.entry.clone();
            match self.core.store.record_inbound(self.organization, entry, &person, update, answer).await? {
                InboundRecorded::Stored => {
                    self.forwards.of(self.organization).wake();
                    self.consents
                        .of(self.organization)
                        .note_sign_of_life(&receipt.entry.from, &known.consent, receipt.entry.channel)
                        .await?;
                    if review.is_some() {
                        self.core.metrics.review(ReviewResult::Opened);
                    }
                    if let Some(entry) = &decision.entry {
                        if entry.state == ConsentState::OptedOut {
                            self.core.metrics.opted_out(self.core.now_ms().since(receipt.entry.at));
                        }
                        self.consents.of(self.organization).follow(entry, &closed).await;
                    }
                    return Ok(Received { answer, consent: decision.entry, duplicate: false });
                }
                InboundRecorded::Duplicate(answer) => {
                    return Ok(Received { answer, consent: None, duplicate: true });
                }
                InboundRecorded::ConsentChanged => {}
            }
        }
        Err(contended())
    }
}

impl Incoming {
    /// What to say to a message whose sender's consent cannot be asked for just now: only what is true whatever it is.
    pub fn answer_unseen(&self, receipt: &Receipt) -> Answer {
        let reply = receipt.reply(&self.core.settings.keyword_handlers, self.core.review_ends());
        match Consent::default().decide(&reply, self.core.settings.opt_out_scope).answer {
            answer @ (Answer::OptedOut | Answer::Help) => answer,
            Answer::OptedIn | Answer::Nothing => Answer::Nothing,
        }
    }
}

/// All that a person wrote: the text, and the button that they pressed where it says something else.
fn words_of(message: &IncomingMessage) -> String {
    let texts = [Some(&message.body), message.button_text.as_ref(), message.button_payload.as_ref()];
    let mut words: Vec<&str> = Vec::new();
    for text in texts.into_iter().flatten() {
        if !text.is_empty() && !words.contains(&text.as_str()) {
            words.push(text);
        }
    }
    words.join("\n")
}
