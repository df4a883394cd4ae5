//! What the service does, one folder or file per noun. Neither HTTP nor Redis is known here: a handler, a worker and a
//! test call the same method.

pub mod accounts;
pub mod connection;
pub mod consents;
pub mod idempotency;
pub mod incoming;
pub mod outgoing;
pub mod passthrough;
pub mod reads;
pub mod relays;
pub mod settings;

use std::{sync::Arc, time::Duration};

use rand::RngExt;
use tokio::sync::Notify;

use self::{
    accounts::Accounts,
    incoming::intake::Intake,
    outgoing::{bulk, limits::Limits, send::SendError},
    settings::Known,
};
use crate::{
    clock::Clock,
    domain::{
        AccountSettings, MessageId, Organization, UnixMs,
        consent::{ConsentSource, OptOutScope},
    },
    metrics::Metrics,
    phone,
    sealing::MasterKeys,
    spool::{Size, Spool},
    store::{self, ConsentUpdate, Store},
    twilio::{Address, MessageSid, client::Client, keyword::Keywords, poster::Poster, resource::Line},
};

/// How often an operation is decided again when consent changes under it.
const DECISIONS_MAX: usize = 8;

/// What the verbs need to know, beside the store.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The URL by which Twilio reaches us, without a slash at its end.
    pub public_url: String,
    /// Twilio's connection overrides, put behind `#` on every StatusCallback URL.
    pub callback_overrides: String,
    /// How far one STOP reaches.
    pub opt_out_scope: OptOutScope,
    /// The words that a reply is read by.
    pub keywords: Keywords,
    /// The country of numbers without a `+`.
    pub default_region: Option<phone::Region>,
    /// How long after its first status a message without a final one is asked for at Twilio; the last is also how often
    /// messages are listed there. Empty for never.
    pub reconcile_after: Vec<Duration>,
    /// What holds a message back.
    pub limits: Limits,
    /// Whether callers' own StatusCallback URLs may be of this machine or of an inner network.
    pub relay_private: bool,
}

/// The service, without its doors.
pub struct App {
    store: Arc<dyn Store>,
    twilio: Client,
    accounts: Accounts,
    known: Known,
    settings: Settings,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    intake: Intake,
    keys: MasterKeys,
    contents: bulk::ContentCache,
    /// Tells callers' own URLs.
    poster: Poster,
    /// Told when something has been put into the queue.
    dispatch_wanted: Notify,
    /// Told when there is something to be relayed.
    relay_wanted: Notify,
}

/// What a service is made of.
pub struct Parts {
    /// Where state is kept.
    pub store: Arc<dyn Store>,
    /// Where what Twilio told is kept while the store is away, if anywhere.
    pub spool: Option<Spool>,
    /// Calls Twilio.
    pub twilio: Client,
    /// The accounts of the configuration, whose messages are handled unless others are saved.
    pub configured: Vec<(Organization, Arc<AccountSettings>)>,
    /// What the verbs go by.
    pub settings: Settings,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What seals texts and secrets in the store.
    pub keys: MasterKeys,
    /// Tells callers' own URLs.
    pub poster: Poster,
}

impl App {
    /// Puts the service together.
    pub fn new(parts: Parts) -> Self {
        let Parts { store, spool, twilio, configured, settings, clock, metrics, keys, poster } = parts;
        let intake = Intake::new(metrics.clone(), spool);
        let (contents, dispatch_wanted, relay_wanted) = Default::default();
        let accounts = Accounts::default();
        accounts.replace(configured.clone());
        let known = Known::new(configured);
        Self {
            store,
            twilio,
            accounts,
            known,
            settings,
            clock,
            metrics,
            intake,
            keys,
            contents,
            poster,
            dispatch_wanted,
            relay_wanted,
        }
    }

    /// Returns when something has been put into the queue by this process.
    pub async fn dispatch_wanted(&self) {
        self.dispatch_wanted.notified().await;
    }

    /// What is counted.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// How much waits in the spool.
    pub fn spooled(&self) -> Size {
        self.intake.spooled()
    }

    /// Whether the store is there and has everything that Twilio told this process.
    pub fn is_clear(&self) -> bool {
        self.intake.is_clear()
    }

    /// Where state is kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Whose messages are handled.
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// What the verbs go by.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Milliseconds since 1970.
    pub fn now_ms(&self) -> UnixMs {
        self.clock.now_ms()
    }

    /// What Twilio knows of the line of `number`, in E.164.
    pub async fn look_up(&self, organization: &Organization, number: &str) -> Result<Line, SendError> {
        let account = self.accounts.of(organization).ok_or(SendError::NotConfigured)?;
        self.twilio.look_up(&account.credentials, number).await.map_err(SendError::Twilio)
    }

    fn new_id(&self, recipient: &Address) -> MessageId {
        MessageId::new(self.store.partition(recipient.bare()), rand::rng().random())
    }

    /// Records the opt-out that an error of Twilio's stands for.
    async fn opt_out_by_error(
        &self,
        organization: &Organization,
        recipient: &Address,
        source: ConsentSource,
        sid: Option<&MessageSid>,
    ) -> Result<(), store::Error> {
        for _ in 0..DECISIONS_MAX {
            let known = self.store.consent(organization, recipient.bare()).await?;
            let change = known.consent.opted_out_by_error(
                recipient.bare(),
                recipient.channel(),
                source,
                sid,
                self.now_ms(),
            );
            let Some((consent, entry)) = change else { return Ok(()) };
            let update =
                ConsentUpdate { expected: known.version, consent, entry, evidence: None, actor: None };
            if self.store.change_consent(organization, update).await? {
                return Ok(());
            }
        }
        Err(contended())
    }
}

/// Consent kept changing while we decided on it.
fn contended() -> store::Error {
    store::Error::Unavailable(anyhow::anyhow!("consent changed {DECISIONS_MAX} times during one decision"))
}
