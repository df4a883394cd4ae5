//! A request with an `Idempotency-Key` is done once: its repetitions get the first answer again.
//!
//! What is stored before the work begins holds a seed, of which the ids of everything that the request sends are made.
//! So a repetition after a crash in the middle finds what the first try has stored, and goes on from there.
//!
//! An answer may repeat the text of a message, so it is sealed. Of the body only a fingerprint is stored, and a keyed one:
//! a plain digest would let whoever reads the store try out which short text it is of.
//!
//! A long answer is stored as long as those of a day leave room for it. One that is not is made again from what was stored
//! by the first request: no message is sent twice, but who has turned a further channel on since is notified there too.
//!
//! Versions up to 0.1.0 stored both in clear, and under the caller's bare name. Such requests are still found, so that an
//! upgrade in the middle of a day repeats nothing.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Core;
use crate::{
    domain::{BatchId, MessageId, Organization, Person, Principal, UnixMs},
    sealing,
    store::{self, Counted, Kind, Store},
    twilio::Address,
};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(24 * 60 * 60);

/// How long a repetition waits for the first request to end.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// How often it looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// After how long a request must have lost its process: more than any takes.
const LOST_AFTER: Duration = Duration::from_secs(60);

/// The longest answer that is stored whatever was stored before, in bytes. An answer to one message is shorter, and what was
/// sent bounds how many of these there are; one to many may be of recipients alone who are not sent to, which nothing else bounds.
const SHORT_ANSWER_BYTES_MAX: usize = 16 * 1024;

/// The counter of an organization's longer answers, in bytes.
const LONG_ANSWERS: &str = "bytes of long answers";

/// A request that is to be done once.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose.
    pub organization: Organization,
    /// Who makes it.
    pub caller: Principal,
    /// Where.
    pub route: &'static str,
    /// The key that the caller gave it.
    pub key: String,
    /// A digest of its body: equal exactly if that is. It is not stored as it is.
    pub digest: String,
}

/// What is to be done with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Turn {
    /// To do it: it is the first, or the first was broken off.
    First(Begun),
    /// To give the first answer again.
    Answered(Answer),
    /// To refuse it: the key was used with another body.
    OtherBody,
    /// To refuse it for now: the first is still being done.
    InProgress,
}

/// Of what the ids of a request's messages are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed(u128);

/// A request that is being done here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Of what its ids are made.
    pub seed: Seed,
    /// As it is stored.
    text: String,
    /// Whether an earlier try may have done something: then its ids stay those of the request, come what may.
    is_repetition: bool,
}

/// How a request that was done has ended.
#[derive(Debug)]
pub enum End {
    /// With an answer, which its repetitions get.
    Answered(Answer),
    /// In the middle: something may be stored. A repetition goes on from there.
    Broken,
    /// With a failure, after which nothing leaves: the key is free again.
    NothingDone,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The JSON.
    pub body: String,
}

/// A request as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredRequest {
    /// The keyed fingerprint of the body's digest; the digest itself up to version 0.1.0.
    fingerprint: String,
    seed: Seed,
    /// When the work on it began.
    since: UnixMs,
    answer: Option<StoredAnswer>,
}

/// An answer as it is stored.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredAnswer {
    Sealed {
        sealed: String,
    },
    /// As it was stored up to version 0.1.0.
    Clear(Answer),
}

impl StoredRequest {
    /// Whether it was stored by a version up to 0.1.0.
    fn is_former(&self) -> bool {
        !sealing::has_form(&self.fingerprint)
    }
}

impl Seed {
    /// The id of the message to `to`; `what` tells several messages of a request to one person apart.
    pub fn message_id(self, store: &dyn Store, to: &Address, what: &str) -> MessageId {
        let digest = Sha256::digest(format!("{:032x} {what} {}", self.0, to.to_twilio()));
        let random = u128::from_be_bytes(digest[..16].try_into().expect("a digest has 32 bytes"));
        MessageId::new(store.partition(&Person::of(to.bare())), random)
    }

    /// The id of the request's batch.
    pub fn batch_id(self) -> BatchId {
        BatchId::new(self.0)
    }
}

impl Request {
    /// Under which the request is stored.
    fn name(&self) -> String {
        self.name_by(&self.caller.to_string())
    }

    /// Under which version 0.1.0 stored it: a user and an API key of one name were one caller.
    fn former_name(&self) -> String {
        self.name_by(&self.caller.name)
    }

    /// The name of a request of `caller`: with another caller, or another route, the same key is another.
    fn name_by(&self, caller: &str) -> String {
        let parts = [caller, self.route, self.key.as_str()];
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        hex::encode(digest.finalize())
    }

    /// What its fingerprint and its answer are bound to, so that neither counts for another request.
    fn context(&self) -> String {
        format!("request/{}/{}", self.organization, self.name())
    }
}

/// Does a request with an `Idempotency-Key` once.
pub struct Idempotency {
    core: Arc<Core>,
}

impl Idempotency {
    /// The service.
    pub(super) fn new(core: Arc<Core>) -> Self {
        Self { core }
    }

    /// What is to be done with `request`; waits for an equal one that is being done.
    pub async fn begin(&self, request: &Request) -> Result<Turn, store::Error> {
        let (organization, name) = (&request.organization, request.name());
        let give_up = tokio::time::Instant::now() + WAIT_MAX;
        let mut begun_here: Option<Begun> = None;
        loop {
            let now = self.core.now_ms();
            let before = self.core.store.document(organization, Kind::Request, &name).await?;
            // Stored after all: the store's client has repeated the command, or its answer was lost.
            if let Some(begun) = begun_here.take().filter(|begun| before.as_ref() == Some(&begun.text)) {
                return Ok(Turn::First(begun));
            }
            let found = match &before {
                Some(text) => Some(read(text)?),
                None => self.former(request).await?,
            };
            let is_repetition = found.is_some();
            let seed = match found {
                None => Seed(rand::rng().random()),
                Some(stored) if !self.has_body_of(request, &stored)? => return Ok(Turn::OtherBody),
                Some(StoredRequest { answer: Some(answer), .. }) => {
                    return self.open(request, answer).map(Turn::Answered);
                }
                Some(stored) if now.since(stored.since) > LOST_AFTER => stored.seed,
                Some(_) if tokio::time::Instant::now() >= give_up => return Ok(Turn::InProgress),
                Some(_) => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                    continue;
                }
            };
            let fingerprint = self.core.keys.fingerprint(&request.context(), request.digest.as_bytes());
            let stored = StoredRequest { fingerprint, seed, since: now, answer: None };
            let (before, text, kind) = (before.as_deref(), store::encode(&stored), Kind::Request);
            if self
                .core
                .store
                .change_document(organization, kind, &name, before, Some(&text), Some(KEPT))
                .await?
            {
                return Ok(Turn::First(Begun { seed, text, is_repetition }));
            }
            begun_here = Some(Begun { seed, text, is_repetition });
        }
    }

    /// Stores how `request` has ended. If somebody else has taken it over in the meantime, theirs is the answer. A long answer
    /// that there is no room for is left to be made again.
    pub async fn end(&self, request: &Request, begun: &Begun, end: End) -> Result<(), store::Error> {
        let (organization, name, kind) = (&request.organization, request.name(), Kind::Request);
        let after = match end {
            End::Answered(answer) if self.has_room_for(organization, &answer).await? => {
                let answer = Some(self.seal(request, &answer));
                Some(StoredRequest { answer, ..read(&begun.text)? })
            }
            End::NothingDone if !begun.is_repetition => None,
            End::Answered(_) | End::Broken | End::NothingDone => {
                Some(StoredRequest { since: UnixMs::EPOCH, ..read(&begun.text)? })
            }
        };
        let after = after.as_ref().map(store::encode);
        self.core
            .store
            .change_document(organization, kind, &name, Some(&begun.text), after.as_deref(), Some(KEPT))
            .await
            .map(drop)
    }

    /// Whether `answer` is short, or the organization's long answers are not more with it than the texts that may wait. They
    /// are counted for as long as one is kept, so that at no time there are more than twice as many.
    async fn has_room_for(&self, organization: &Organization, answer: &Answer) -> Result<bool, store::Error> {
        if answer.body.len() <= SHORT_ANSWER_BYTES_MAX {
            return Ok(true);
        }
        let (bytes, max) = (answer.body.len() as u64, self.core.settings.limits.queue_max.bytes);
        let counted = self.core.store.count_many(organization, LONG_ANSWERS, bytes, max, KEPT).await?;
        Ok(matches!(counted, Counted::Yes(_)))
    }

    /// What version 0.1.0 has stored of the request. Requests of this version are never found by their caller's bare name,
    /// which may be another caller's full one.
    async fn former(&self, request: &Request) -> Result<Option<StoredRequest>, store::Error> {
        let (organization, name) = (&request.organization, request.former_name());
        let stored = self.core.store.document(organization, Kind::Request, &name).await?;
        let stored = stored.as_deref().map(read).transpose()?;
        Ok(stored.filter(StoredRequest::is_former))
    }

    /// Whether `stored` is of a request with the same body. Where the key is missing that could tell, the caller is to ask
    /// again, with the same `Idempotency-Key`: another one would have the request done twice.
    fn has_body_of(&self, request: &Request, stored: &StoredRequest) -> Result<bool, store::Error> {
        if stored.is_former() {
            return Ok(stored.fingerprint == request.digest);
        }
        let keys = &self.core.keys;
        if !keys.has_key_of(&stored.fingerprint) {
            let error =
                "a request: the master key of its fingerprint is not among those of TEXTLEDGER_MASTER_KEY";
            return Err(store::Error::Unreadable(error.to_owned()));
        }
        Ok(keys.is_fingerprint(&stored.fingerprint, &request.context(), request.digest.as_bytes()))
    }

    fn seal(&self, request: &Request, answer: &Answer) -> StoredAnswer {
        let sealed = self.core.keys.seal(&request.context(), store::encode(answer).as_bytes());
        StoredAnswer::Sealed { sealed }
    }

    fn open(&self, request: &Request, answer: StoredAnswer) -> Result<Answer, store::Error> {
        let sealed = match answer {
            StoredAnswer::Sealed { sealed } => sealed,
            StoredAnswer::Clear(answer) => return Ok(answer),
        };
        let unreadable =
            |error: String| store::Error::Unreadable(format!("the answer to a request: {error}"));
        let opened = self.core.keys.open(&request.context(), &sealed);
        let opened = opened.map_err(|error| unreadable(error.to_string()))?;
        // The message of a fault may hold a part of the answer: only its place is told.
        serde_json::from_slice(opened.expose_secret())
            .map_err(|error| unreadable(format!("column {}", error.column())))
    }
}

fn read(text: &str) -> Result<StoredRequest, store::Error> {
    store::decode("a request", text)
}
