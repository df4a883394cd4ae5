//! How often a person's HELP is answered: a program that answers every message would otherwise keep asking for ever.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Incoming;
use crate::{
    app::{DECISIONS_MAX, Scope, contended},
    domain::{Person, UnixMs, consent::Answer},
    store::{self, Kind},
    twilio::MessageSid,
};

/// How many answers a person gets within [`HELP_PERIOD`].
pub const HELP_ANSWERS_MAX: usize = 3;

/// The time in which a person gets at most [`HELP_ANSWERS_MAX`] answers.
pub const HELP_PERIOD: Duration = Duration::from_secs(60 * 60);

/// A message that was answered, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Answered {
    sid: MessageSid,
    at: UnixMs,
}

impl Scope<'_, Incoming> {
    /// The answer to `person`'s request for help, the message `sid`: none if they have had enough of them. A message that
    /// is heard of again gets its answer again.
    pub(super) async fn help_answer(
        &self,
        person: &Person,
        sid: &MessageSid,
    ) -> Result<Answer, store::Error> {
        for _ in 0..DECISIONS_MAX {
            let now = self.core.now_ms();
            let before =
                self.core.store.document(self.organization, Kind::HelpAnswers, person.as_str()).await?;
            let mut answered: Vec<Answered> = match &before {
                Some(text) => store::decode("answers to HELP", text)?,
                None => Vec::new(),
            };
            answered.retain(|answer| now < answer.at + HELP_PERIOD);
            if answered.iter().any(|answer| answer.sid == *sid) {
                return Ok(Answer::Help);
            }
            if answered.len() >= HELP_ANSWERS_MAX {
                return Ok(Answer::Nothing);
            }
            answered.push(Answered { sid: sid.clone(), at: now });
            let after = store::encode(&answered);
            let (before, keep) = (before.as_deref(), Some(HELP_PERIOD));
            let store = &self.core.store;
            if store
                .change_document(
                    self.organization,
                    Kind::HelpAnswers,
                    person.as_str(),
                    before,
                    Some(&after),
                    keep,
                )
                .await?
            {
                return Ok(Answer::Help);
            }
        }
        Err(contended())
    }
}
