//! A request with an `Idempotency-Key` is done once: its repetitions get the first answer again.
//!
//! What is stored before the work begins holds a seed, of which the ids of everything that the request sends are made.
//! So a repetition after a crash in the middle finds what the first try has stored, and goes on from there.

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Core;
use crate::{
    domain::{BatchId, MessageId, Organization, Person, UnixMs},
    store::{self, Kind, Store},
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

/// A request that is to be done once.
#[derive(Debug, Clone)]
pub struct Request {
    /// Whose.
    pub organization: Organization,
    /// Who makes it.
    pub caller: String,
    /// Where.
    pub route: &'static str,
    /// The key that the caller gave it.
    pub key: String,
    /// Of its body: equal exactly if that is.
    pub fingerprint: String,
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
    fingerprint: String,
    seed: Seed,
    /// When the work on it began.
    since: UnixMs,
    answer: Option<Answer>,
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
    /// Under which the request is stored: of a caller, and a route, a key is another.
    fn name(&self) -> String {
        let parts = [self.caller.as_str(), self.route, self.key.as_str()];
        let mut digest = Sha256::new();
        for part in parts {
            digest.update(part.len().to_be_bytes());
            digest.update(part);
        }
        hex::encode(digest.finalize())
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
        let mut begun_here: Option<(Seed, String)> = None;
        loop {
            let now = self.core.now_ms();
            let before = self.core.store.document(organization, Kind::Request, &name).await?;
            // Stored after all: the store's client has repeated the command, or its answer was lost.
            if let Some((seed, text)) = begun_here.take().filter(|(_, text)| before.as_ref() == Some(text)) {
                return Ok(Turn::First(Begun { seed, text }));
            }
            let seed = match before.as_deref().map(read).transpose()? {
                None => Seed(rand::rng().random()),
                Some(stored) if stored.fingerprint != request.fingerprint => return Ok(Turn::OtherBody),
                Some(StoredRequest { answer: Some(answer), .. }) => return Ok(Turn::Answered(answer)),
                Some(stored) if now.since(stored.since) > LOST_AFTER => stored.seed,
                Some(_) if tokio::time::Instant::now() >= give_up => return Ok(Turn::InProgress),
                Some(_) => {
                    tokio::time::sleep(LOOK_INTERVAL).await;
                    continue;
                }
            };
            let begun =
                StoredRequest { fingerprint: request.fingerprint.clone(), seed, since: now, answer: None };
            let (before, text, kind) = (before.as_deref(), store::encode(&begun), Kind::Request);
            if self
                .core
                .store
                .change_document(organization, kind, &name, before, Some(&text), Some(KEPT))
                .await?
            {
                return Ok(Turn::First(Begun { seed, text }));
            }
            begun_here = Some((seed, text));
        }
    }

    /// Stores how `request` has ended. If somebody else has taken it over in the meantime, theirs is the answer.
    pub async fn end(&self, request: &Request, begun: &Begun, end: End) -> Result<(), store::Error> {
        let (organization, name, kind) = (&request.organization, request.name(), Kind::Request);
        let after = match end {
            End::Answered(answer) => Some(StoredRequest { answer: Some(answer), ..read(&begun.text)? }),
            End::Broken => Some(StoredRequest { since: UnixMs::EPOCH, ..read(&begun.text)? }),
            End::NothingDone => None,
        };
        let after = after.as_ref().map(store::encode);
        self.core
            .store
            .change_document(organization, kind, &name, Some(&begun.text), after.as_deref(), Some(KEPT))
            .await
            .map(drop)
    }
}

fn read(text: &str) -> Result<StoredRequest, store::Error> {
    store::decode("a request", text)
}
