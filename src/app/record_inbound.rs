//! A person wrote to us.

use super::{App, DECISIONS_MAX, contended};
use crate::{
    domain::{
        Organization,
        consent::{Answer, ConsentEntry, Reply},
        event::InboundEntry,
    },
    store::{self, ConsentUpdate, InboundRecorded},
    twilio::{keyword::Reading, webhook::IncomingMessage},
};

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

impl App {
    /// Records a verified incoming message and what it does to the sender's consent. Both are stored when this
    /// returns; a repetition gets the first answer again.
    pub async fn record_inbound(
        &self,
        organization: &Organization,
        message: &IncomingMessage,
    ) -> Result<Received, store::Error> {
        let reading = self.settings.keywords.read(&message.body);
        let entry = InboundEntry {
            sid: message.message_sid.clone(),
            channel: message.channel,
            from: message.from.bare().to_owned(),
            to: message.to.bare().to_owned(),
            body_length: message.body.chars().count(),
            keyword: match &reading {
                Reading::Keyword(keyword) => keyword.word.clone(),
                Reading::Phrase | Reading::Review | Reading::Ordinary => String::new(),
            },
            media: message.num_media,
            at: self.now_ms(),
        };
        let reply = Reply {
            phone: message.from.bare(),
            channel: message.channel,
            reading: &reading,
            opt_out_type: message.opt_out_type,
            sid: &message.message_sid,
            at: entry.at,
        };
        for _ in 0..DECISIONS_MAX {
            let known = self.store.consent(organization, message.from.bare()).await?;
            let decision = known.consent.decide(&reply, self.settings.opt_out_scope);
            let update = decision.entry.clone().map(|entry| ConsentUpdate {
                expected: known.version,
                consent: decision.consent,
                entry,
            });
            let stored =
                self.store.record_inbound(organization, entry.clone(), update, decision.answer).await?;
            match stored {
                InboundRecorded::Stored => {
                    return Ok(Received {
                        answer: decision.answer,
                        consent: decision.entry,
                        duplicate: false,
                    });
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
