//! What the service does, one folder or file per noun. Neither HTTP nor Redis is known here: a handler, a worker and a
//! test call the same method.

pub mod accounts;
pub mod api_keys;
pub mod audit;
mod callback_url;
pub mod consents;
pub mod erasure;
pub mod forwards;
pub mod idempotency;
pub mod incoming;
pub mod inventory;
pub mod outgoing;
pub mod passthrough;
pub mod reads;
pub mod recognition;
pub mod relays;
pub mod retention;
mod scope;
mod unreadable;

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::Notify;

pub use self::scope::Scope;
use self::{
    accounts::Accounts,
    api_keys::ApiKeys,
    audit::Audit,
    consents::Consents,
    erasure::Erasures,
    forwards::Forwards,
    idempotency::Idempotency,
    incoming::{Incoming, intake::Intake, status::Statuses},
    outgoing::{Outgoing, advance::Steps, limits::Limits, pauses::Pauses},
    passthrough::Passthrough,
    reads::Reads,
    recognition::Recognizer,
    relays::Relays,
    retention::Retention,
};
use crate::{
    clock::Clock,
    domain::{
        AccountSettings, Identity, Organization, Replies, UnixMs,
        consent::{KeywordHandlers, OptOutScope, RequiredOptIn},
        task::next_ask,
    },
    metrics::Metrics,
    phone,
    sealing::MasterKeys,
    spool::Spool,
    store::{self, Store},
    twilio::{client::Client, poster::Poster, reply::ReplyReader},
};

/// How often an operation is decided again when consent changes under it.
const DECISIONS_MAX: usize = 8;

/// How long after it is too old it may take until it is found that something of a batch still waits: longer than no instance runs.
const BATCH_MARGIN: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What the operator has set, as far as the services use it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The URL by which Twilio reaches us, without a slash at its end.
    pub public_url: String,
    /// The same if it was configured: where people's browsers find the page that a link leads to. A service that nobody
    /// told its URL is known to this machine alone.
    pub page_url: Option<String>,
    /// Twilio's connection overrides, put behind `#` on every StatusCallback URL.
    pub callback_overrides: String,
    /// How far one STOP reaches.
    pub opt_out_scope: OptOutScope,
    /// Which messages need that the person has opted in.
    pub required_opt_in: RequiredOptIn,
    /// Who acts on the keywords that our senders receive.
    pub keyword_handlers: KeywordHandlers,
    /// Reads what people reply.
    pub reader: ReplyReader,
    /// Who sends, for organizations that do not say it.
    pub identity: Identity,
    /// What people are told, for organizations that have no words of their own.
    pub replies: Replies,
    /// The country of numbers without a `+`.
    pub default_region: Option<phone::Region>,
    /// How long after its first status a message without a final one is asked for at Twilio; the last is also how often
    /// messages are listed there. Empty for never.
    pub reconcile_after: Vec<Duration>,
    /// What holds a message back.
    pub limits: Limits,
    /// How long after the call a message whose answer was lost counts as not taken by Twilio, if it is not found there.
    pub lost_answer_after: Duration,
    /// How many messages in a row must have failed for a number's own fault until nothing more is sent to it; `None` for never.
    pub suppress_after: Option<usize>,
    /// How long somebody has to decide on a reply that may be an opt-out, before it becomes one.
    pub review_deadline: Duration,
    /// Whether callers' own StatusCallback URLs may be of this machine or of an inner network.
    pub relay_private: bool,
    /// Whether the account's own credentials at Twilio sign in at the drop-in for Twilio's libraries.
    pub dropin_auth_token: bool,
    /// How long messages and entries of the streams are kept.
    pub retention: Duration,
    /// How long what shows a person's consent is kept after its last change, at the least.
    pub consent_retention: Duration,
}

/// What every service stands on.
pub struct Core {
    /// Where state is kept.
    pub store: Arc<dyn Store>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What seals texts and secrets in the store.
    pub keys: MasterKeys,
    /// What the operator has set.
    pub settings: Settings,
    /// What the operator was told of that cannot be read.
    told_unreadable: unreadable::Told,
}

impl Core {
    /// The present time.
    pub fn now_ms(&self) -> UnixMs {
        self.clock.now_ms()
    }

    /// When a reply that is put under review now becomes an opt-out. Counted from when we hear of it, so that one that was
    /// long under way can be read before.
    fn review_ends(&self) -> UnixMs {
        self.now_ms() + self.settings.review_deadline
    }
}

impl Settings {
    /// When a message whose first status is recorded at `at` is first asked for.
    fn first_asked_at(&self, at: UnixMs) -> Option<UnixMs> {
        next_ask(at, at, &self.reconcile_after)
    }

    /// How long a batch is kept after the last of it may have left. Where something of it still waits then, it is kept for longer.
    fn batch_kept(&self) -> Duration {
        self.retention.saturating_add(BATCH_MARGIN)
    }
}

/// The service, without its doors: the services that it consists of, each for one noun.
pub struct App {
    core: Arc<Core>,
    /// Keeps the accounts at Twilio: saved or configured.
    pub accounts: Arc<Accounts>,
    /// Keeps the API keys that administrators make.
    pub api_keys: Arc<ApiKeys>,
    /// Sends, now or from the queue.
    pub outgoing: Outgoing,
    /// Looks whether the store is the known one.
    pub recognizer: Recognizer,
    /// Takes what Twilio tells, and asks for what it did not tell.
    pub incoming: Arc<Incoming>,
    /// Records what becomes of messages.
    pub statuses: Arc<Statuses>,
    /// Records what persons and users wish.
    pub consents: Arc<Consents>,
    /// Tells callers' own URLs what becomes of their messages.
    pub relays: Arc<Relays>,
    /// Tells the application what happens.
    pub forwards: Arc<Forwards>,
    /// Reads what is known of messages.
    pub reads: Arc<Reads>,
    /// Does a request with a key once.
    pub idempotency: Idempotency,
    /// Makes calls to Twilio for the application.
    pub passthrough: Passthrough,
    /// Writes down who did what.
    pub audit: Arc<Audit>,
    /// Rests the queues of accounts and senders of which Twilio takes nothing.
    pub pauses: Arc<Pauses>,
    /// Takes away what is older than it is to be.
    pub retention: Retention,
    /// Erases persons' data.
    pub erasures: Erasures,
}

/// What a service is made of.
pub struct Dependencies {
    /// Where state is kept.
    pub store: Arc<dyn Store>,
    /// Where what Twilio told is kept while the store is away, if anywhere.
    pub spool: Option<Spool>,
    /// Where a copy of the saved settings is kept for a start while the store is away, if anywhere.
    pub settings_copy: Option<PathBuf>,
    /// Calls Twilio.
    pub twilio: Client,
    /// The accounts of the configuration, whose messages are handled unless others are saved.
    pub configured: Vec<(Organization, Arc<AccountSettings>)>,
    /// What the operator has set.
    pub settings: Settings,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What seals texts and secrets in the store.
    pub keys: MasterKeys,
    /// Posts to callers' own URLs.
    pub poster: Poster,
}

impl App {
    /// Puts the service together.
    pub fn new(dependencies: Dependencies) -> Self {
        let Dependencies {
            store,
            spool,
            settings_copy,
            twilio,
            configured,
            settings,
            clock,
            metrics,
            keys,
            poster,
        } = dependencies;
        let core = Arc::new(Core {
            store,
            clock,
            metrics,
            keys,
            settings,
            told_unreadable: unreadable::Told::default(),
        });
        let accounts = Arc::new(Accounts::new(core.clone(), twilio.clone(), configured, settings_copy));
        let api_keys = Arc::new(ApiKeys::new(core.clone()));
        let intake = Arc::new(Intake::new(core.clone(), spool));
        let recognizer = Recognizer::new(core.clone(), accounts.clone());
        let relays = Arc::new(Relays::new(core.clone(), accounts.clone(), poster.clone()));
        let forwards = Arc::new(Forwards::new(core.clone(), accounts.clone(), relays.clone(), poster));
        let steps = Arc::new(Steps::new(core.clone(), accounts.clone(), api_keys.clone(), relays.clone()));
        let consents = Arc::new(Consents::new(core.clone(), steps.clone()));
        let pauses = Arc::new(Pauses::new(core.clone(), accounts.clone(), twilio.clone()));
        let statuses = Arc::new(Statuses::new(
            core.clone(),
            relays.clone(),
            forwards.clone(),
            steps.clone(),
            consents.clone(),
            pauses.clone(),
        ));
        let reads = Arc::new(Reads::new(core.clone()));
        let audit = Arc::new(Audit::new(core.clone()));
        let retention = Retention::new(core.clone(), steps.clone());
        let erasures = Erasures::new(
            core.clone(),
            steps.clone(),
            consents.clone(),
            forwards.clone(),
            relays.clone(),
            intake.clone(),
        );
        let outgoing = Outgoing {
            core: core.clone(),
            accounts: accounts.clone(),
            twilio: twilio.clone(),
            steps,
            consents: consents.clone(),
            statuses: statuses.clone(),
            reads: reads.clone(),
            pauses: pauses.clone(),
            intake: intake.clone(),
            audit: audit.clone(),
            wanted: Notify::new(),
        };
        let incoming = Arc::new(Incoming {
            core: core.clone(),
            accounts: accounts.clone(),
            twilio: twilio.clone(),
            relays: relays.clone(),
            forwards: forwards.clone(),
            statuses: statuses.clone(),
            consents: consents.clone(),
            reads: reads.clone(),
            intake,
        });
        let idempotency = Idempotency::new(core.clone());
        let passthrough = Passthrough::new(core.clone(), accounts.clone(), twilio.clone(), incoming.clone());
        Self {
            core,
            accounts,
            api_keys,
            outgoing,
            recognizer,
            incoming,
            statuses,
            consents,
            relays,
            forwards,
            reads,
            idempotency,
            passthrough,
            audit,
            pauses,
            retention,
            erasures,
        }
    }

    /// What is counted.
    pub fn metrics(&self) -> &Arc<Metrics> {
        &self.core.metrics
    }

    /// Where state is kept.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.core.store
    }

    /// What the operator has set.
    pub fn settings(&self) -> &Settings {
        &self.core.settings
    }

    /// The present time.
    pub fn now_ms(&self) -> UnixMs {
        self.core.now_ms()
    }
}

/// Consent kept changing while we decided on it.
fn contended() -> store::Error {
    store::Error::Unavailable(anyhow::anyhow!("consent changed {DECISIONS_MAX} times during one decision"))
}
