//! When the queue rests: that of an account from which Twilio takes nothing, and that of a sender whose messages fail, until
//! somebody mends it.
//!
//! An account's queue goes on once Twilio tells that the account is active, which is asked from time to time and whenever an
//! administrator tests the connection, or once it takes a message. A sender's goes on after a while, and rests again if the next
//! messages fail too. What waits meanwhile is spent on nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use serde::{Deserialize, Serialize};

use crate::{
    app::{
        Core, DECISIONS_MAX, Scope,
        accounts::{Accounts, connection},
        contended,
        scope::scoped,
    },
    domain::{Organization, Sender, UnixMs},
    store::{self, Kind, documents::DOCUMENTS_MAX},
    twilio::{client::Client, error_code::ErrorCode},
};

/// How long a sender's queue rests.
const SENDER_PAUSE: Duration = Duration::from_secs(15 * 60);

/// How often Twilio is asked whether an account is active from which it takes nothing, by whichever instance comes first.
const TEST_INTERVAL: Duration = Duration::from_secs(20);

/// The counter that says that it has been.
const TEST: &str = "account test";

/// How long an instance relies on what it has read of an account.
const READ_INTERVAL: Duration = Duration::from_secs(1);

/// The name of the document that says that an account's queue rests.
const ACCOUNT: &str = "account";

/// Why a queue rests, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pause {
    /// Twilio's code for it.
    code: u32,
    since: UnixMs,
}

/// Rests queues, and lets them go on.
pub struct Pauses {
    core: Arc<Core>,
    accounts: Arc<Accounts>,
    twilio: Client,
    /// Whether the account's queue rests, and when that was read.
    known: Mutex<HashMap<Organization, (bool, UnixMs)>>,
}

scoped!(Pauses);

impl Pauses {
    /// The service, over those that it uses.
    pub(in crate::app) fn new(core: Arc<Core>, accounts: Arc<Accounts>, twilio: Client) -> Self {
        Self { core, accounts, twilio, known: Mutex::default() }
    }

    fn know(&self, organization: &Organization, is_stopped: bool) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.insert(organization.clone(), (is_stopped, self.core.now_ms()));
    }

    fn known(&self, organization: &Organization) -> Option<(bool, UnixMs)> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(organization).copied()
    }
}

impl Scope<'_, Pauses> {
    /// Whether the account's queue rests, as was known a moment ago.
    pub async fn is_account_stopped(&self) -> Result<bool, store::Error> {
        let now = self.core.now_ms();
        if let Some((is_stopped, at)) = self.known(self.organization)
            && now.since(at) < READ_INTERVAL
        {
            return Ok(is_stopped);
        }
        let stored = self.core.store.document(self.organization, Kind::Pause, ACCOUNT).await?;
        self.know(self.organization, stored.is_some());
        Ok(stored.is_some())
    }

    /// Stops the account's queue, as Twilio refuses everything for `reason`. Whoever is the first to find that tells the operator.
    pub(in crate::app) async fn stop_account(&self, reason: &str, code: u32) -> Result<(), store::Error> {
        let pause = store::encode(&Pause { code, since: self.core.now_ms() });
        let store = &self.core.store;
        let is_first =
            store.change_document(self.organization, Kind::Pause, ACCOUNT, None, Some(&pause), None).await?;
        self.know(self.organization, true);
        if is_first {
            self.core.metrics.account_stopped();
            tracing::error!(
                event = "account_stopped",
                organization = %self.organization, code, reason,
                mend = ErrorCode::new(code).describe_or_unknown().mend,
                "Twilio takes nothing from this account: what waits in its queue is kept, and goes out once a test of the connection succeeds"
            );
        }
        Ok(())
    }

    /// Lets the account's queue go on, and those of its senders.
    pub async fn resume(&self) -> Result<(), store::Error> {
        let store = &self.core.store;
        for (name, _) in store.documents(self.organization, Kind::Pause, None, DOCUMENTS_MAX).await? {
            self.end(&name).await?;
        }
        self.know(self.organization, false);
        Ok(())
    }

    /// Lets the account's queue go on if it rests: Twilio has taken a message.
    pub(in crate::app) async fn account_works(&self) -> Result<(), store::Error> {
        match self.known(self.organization) {
            Some((true, _)) => {
                self.end(ACCOUNT).await?;
                self.know(self.organization, false);
                Ok(())
            }
            Some((false, _)) | None => Ok(()),
        }
    }

    async fn end(&self, name: &str) -> Result<(), store::Error> {
        for _ in 0..DECISIONS_MAX {
            let store = &self.core.store;
            let stored = store.document(self.organization, Kind::Pause, name).await?;
            let Some(stored) = stored else { return Ok(()) };
            if store.change_document(self.organization, Kind::Pause, name, Some(&stored), None, None).await? {
                let pause = store::decode::<Pause>("a pause", &stored).ok();
                let rested_s = pause.map(|pause| self.core.now_ms().since(pause.since).as_secs());
                if name == ACCOUNT {
                    tracing::info!(
                        event = "account_resumed",
                        organization = %self.organization, rested_s,
                        "Twilio takes messages from this account again: its queue goes on"
                    );
                }
                return Ok(());
            }
        }
        Err(contended())
    }

    /// Asks Twilio whether the account is active, if nobody has lately, and lets its queue go on if it is.
    pub(super) async fn test_account(&self) -> Result<(), store::Error> {
        let Some(account) = self.accounts.find(self.organization) else { return Ok(()) };
        if self.core.store.count(self.organization, TEST, 1, TEST_INTERVAL).await?.is_none() {
            return Ok(());
        }
        if connection::test(&self.twilio, &account.settings).await.is_active() {
            return self.resume().await;
        }
        tracing::debug!(organization = %self.organization, "the account is still not taken");
        Ok(())
    }

    /// Rests the queue of `sender` for a while, as its messages fail.
    pub(in crate::app) async fn pause_sender(
        &self,
        sender: Option<&Sender>,
        code: u32,
    ) -> Result<(), store::Error> {
        let Some(sender) = sender.map(Sender::to_twilio) else { return Ok(()) };
        let pause = store::encode(&Pause { code, since: self.core.now_ms() });
        let keep = Some(SENDER_PAUSE);
        let is_first = self
            .core
            .store
            .change_document(self.organization, Kind::Pause, &sender, None, Some(&pause), keep)
            .await?;
        if is_first {
            self.core.metrics.sender_paused();
            tracing::warn!(
                event = "sender_paused",
                organization = %self.organization, sender, code, for_s = SENDER_PAUSE.as_secs(),
                mend = ErrorCode::new(code).describe_or_unknown().mend,
                "messages of this sender fail until somebody mends it: its queue rests for a while"
            );
        }
        Ok(())
    }

    /// For how long the queue of `sender` still rests, if it does.
    pub async fn sender_rests(&self, sender: &Sender) -> Result<Option<Duration>, store::Error> {
        let name = sender.to_twilio();
        let stored = self.core.store.document(self.organization, Kind::Pause, &name).await?;
        // One that cannot be read ends by itself as well.
        let since = stored.map(|stored| {
            store::decode::<Pause>("a pause", stored).map_or(UnixMs::EPOCH, |pause| pause.since)
        });
        let left = since.map(|since| SENDER_PAUSE.saturating_sub(self.core.now_ms().since(since)));
        Ok(left.filter(|left| !left.is_zero()))
    }
}
