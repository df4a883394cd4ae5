//! Puts the service together: the one place that knows every concrete type.

pub mod backup;
pub mod known;
pub mod upkeep;

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use actix_web::web;
use anyhow::{Context, anyhow};
use base64::Engine;
use rand::Rng;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    app::{App, Dependencies, Settings, outgoing::limits::Limits},
    clock::{Clock, SystemClock},
    config::{Config, Invalid, JWT_SECRET_BYTES_MIN, Store as StoreConfig},
    domain::{AccountSettings, Organization, outgoing::times::CALL_TIME_MAX},
    http::{
        self, State,
        auth::{Authenticator, JwksUrl, PublicKeys, TokenRules},
        connections::{Connections, Limits as ConnectionLimits},
        heavy::Heavy,
        public_url::PublicUrl,
        rate_limit::{FORGET_INTERVAL, RateLimit},
        refusals::Refusals,
        sign_in::SignIns,
        stopping::{self, Running},
        streams::{StreamLimits, Streams},
        unsigned::UnsignedBudget,
    },
    metrics::{Listener, Metrics},
    open_files,
    public_host::PublicOnly,
    sealing::MasterKeys,
    spool::{self, Aside, Spool},
    store::{
        self, Queued, Store,
        embedded::{self, EmbeddedStore},
        redis::{self, RedisStore},
    },
    twilio::{client::Client, poster::Poster},
    worker::{
        self, caretaker, dispatcher, forwarder, queues, recognizer, reconciler, relayer, replayer, retention,
        reviewer, tailer::Tailer, verifier,
    },
};

/// How long background tasks may take to end, beside the last requests: a call to Twilio, or to a caller's own URL, that is
/// under way, and what is stored of its answer. A call that is cut off would be a lost answer.
const TASKS_TIMEOUT: Duration = CALL_TIME_MAX.saturating_add(Duration::from_secs(5));

/// The setting with the secret that signs tokens.
pub const JWT_SECRET: &str = "TEXTLEDGER_JWT_SECRET";

/// The setting with the keys that seal what is secret in the store.
pub const MASTER_KEY: &str = "TEXTLEDGER_MASTER_KEY";

/// The file that holds a created token secret, in the data folder.
const JWT_SECRET_FILE: &str = "jwt_secret";

/// The file that holds a created master key, in the data folder.
const MASTER_KEY_FILE: &str = "master_key";

/// The folder of the spool beside the embedded store, in the data folder.
const EMBEDDED_SPOOL: &str = "spool";

/// The file that holds a sealed copy of the saved settings, in the data folder.
const SETTINGS_COPY_FILE: &str = "settings";

/// The service, running.
pub struct Service {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where it listens for webhooks alone.
    pub webhook_address: Option<SocketAddr>,
    /// Where it listens for metrics alone.
    pub metrics_address: Option<SocketAddr>,
    /// The URL by which Twilio reaches it.
    pub public_url: String,
    app: Arc<App>,
    servers: Vec<Running>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Service {
    /// Starts the service that `config` describes. It takes every time that it decides on from `clock`.
    pub async fn start(config: Config, clock: Arc<dyn Clock>) -> anyhow::Result<Self> {
        for unknown in &config.unknown {
            tracing::warn!(variable = unknown.name, nearest = unknown.nearest, "{unknown}");
        }
        for name in &config.unused {
            tracing::warn!(setting = name, "this setting is not used by this version");
        }
        let listener = bind("TEXTLEDGER_LISTEN", config.listen)?;
        let bind_further = |name, address: Option<SocketAddr>| address.map(|address| bind(name, address));
        let webhook_listener =
            bind_further("TEXTLEDGER_WEBHOOK_LISTEN", config.webhook_listen).transpose()?;
        let metrics_listener =
            bind_further("TEXTLEDGER_METRICS_LISTEN", config.metrics_listen).transpose()?;
        let address = listener.local_addr()?;
        let address_of =
            |listener: &Option<TcpListener>| listener.as_ref().map(TcpListener::local_addr).transpose();
        let (webhook_address, metrics_address) =
            (address_of(&webhook_listener)?, address_of(&metrics_listener)?);
        let limits = limits_by_files(&config);
        let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let authenticator = authenticator(&config)?;
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let store: Arc<dyn Store> = match &config.store {
            StoreConfig::Embedded(folder) => {
                let store = open_embedded(folder, clock.clone())?.sealed_with(master_keys(&config)?);
                backup::hand_out(&store, &tracker, &stop);
                Arc::new(store)
            }
            StoreConfig::Redis(_) => open_store(&config, clock.clone()).await?,
        };
        let copy = known::recognize(&config, &*store).await?;
        let app = assemble(&config, &public_url, store.clone(), open_spool(&config, &*store)?, clock)?;
        let app = Arc::new(app);
        find_store(&config, &app).await?;
        // Before the first request: what an administrator saved has other senders and tokens than the configuration.
        if let Err(error) = app.accounts.follow_settings().await {
            use_settings_copy(&app, &error).await;
        }
        if let Err(error) = app.api_keys.follow().await {
            tracing::error!(%error, "the API keys cannot be read: none of the store is taken until they can");
        }
        // If it fails the service starts: what Twilio posts does not wait for the platform that issues tokens.
        authenticator.renew_public_keys().await;
        warn_without_account(&app);
        for (key, organization) in keys_without_account(&config, &app) {
            tracing::warn!(
                key, %organization,
                mend = "save an account for the organization with POST /api/sms/settings, or correct TEXTLEDGER_API_KEYS",
                "a configured API key signs in to an organization that has no account"
            );
        }
        let state = web::Data::new(State {
            app: app.clone(),
            public_url: PublicUrl::new(&public_url),
            refusals: Refusals::default(),
            misdirected: Default::default(),
            authenticator,
            sign_ins: SignIns::default(),
            rate_limit: RateLimit::new(config.api_rate),
            streams: Streams::new(
                StreamLimits {
                    per_caller: config.bounds.streams_per_caller,
                    per_organization: config.bounds.streams_per_organization,
                    in_all: config.bounds.streams.min(limits.api.in_all / 2),
                },
                app.metrics().clone(),
            ),
            unsigned: UnsignedBudget::new(config.unsigned_rate),
            cors_origins: config.cors_origins.clone(),
            heavy: Heavy::new(tokio::runtime::Handle::current()),
            tailer: Tailer::new(store, tracker.clone(), stop.clone()),
            stop: stop.clone(),
        });
        spawn(&tracker, &stop, {
            let state = state.clone();
            async move {
                loop {
                    tokio::time::sleep(FORGET_INTERVAL).await;
                    state.rate_limit.forget();
                    state.unsigned.forget();
                    state.sign_ins.forget();
                }
            }
        });
        spawn(&tracker, &stop, {
            let (state, interval) = (state.clone(), config.jwks_refresh);
            async move { state.authenticator.follow_public_keys(interval).await }
        });
        spawn(&tracker, &stop, replayer::run(app.clone()));
        spawn(&tracker, &stop, caretaker::run(app.clone()));
        tracker.spawn(recognizer::run(app.clone(), stop.clone(), copy, known::place(&config)));
        tracker.spawn(reviewer::run(app.clone(), stop.clone()));
        spawn(&tracker, &stop, reconciler::run(app.clone()));
        spawn(&tracker, &stop, queues::run(app.clone()));
        // These call others, and finish the calls that are under way.
        tracker.spawn(dispatcher::run(app.clone(), stop.clone(), limits.queue_calls));
        tracker.spawn(relayer::run(app.clone(), stop.clone()));
        tracker.spawn(forwarder::run(app.clone(), http::event_json, stop.clone()));
        spawn(&tracker, &stop, worker::settings::run(app.clone()));
        tracker.spawn(verifier::run(app.clone(), stop.clone()));
        tracker.spawn(retention::run(app.clone(), stop.clone()));
        spawn(&tracker, &stop, {
            let state = state.clone();
            async move { state.refusals.look_into(&state.app, &state.public_url).await }
        });
        let prefix = PublicUrl::new(&public_url).prefix().to_owned();
        let has_metrics = metrics_listener.is_none();
        let open = |listener, limits| Connections::new(listener, limits, app.metrics().clone());
        let mut servers = vec![http::server::start(
            listener,
            config.workers,
            open(Listener::Api, limits.api),
            state.clone(),
            {
                let prefix = prefix.clone();
                move |config| http::routes(config, &prefix, has_metrics)
            },
        )?];
        if let Some(listener) = webhook_listener {
            let connections = open(Listener::Webhooks, limits.webhooks);
            let routes = move |config: &mut web::ServiceConfig| http::webhook_routes(config, &prefix);
            servers.push(http::server::start(listener, config.workers, connections, state.clone(), routes)?);
        }
        if let Some(listener) = metrics_listener {
            let connections = open(Listener::Metrics, METRICS_CONNECTIONS);
            servers.push(http::server::start(listener, 1, connections, state, http::metrics_routes)?);
        }
        Ok(Self { address, webhook_address, metrics_address, public_url, app, servers, stop, tracker })
    }

    /// Takes the accounts of `config` from now on: senders, tokens and shared keys, where no others are saved. Nothing else of
    /// it is looked at.
    ///
    /// Where `config` has no account any more, they stay: without them every webhook is refused, and a file that is being written
    /// anew, or was not mounted, looks just like that. `accounts = []` says that it is meant.
    pub async fn reload(&self, config: &Config) {
        if config.accounts.is_empty() && !config.says_no_accounts && self.app.accounts.are_configured() {
            tracing::error!(
                "the configuration has no account at Twilio any more, so nothing was changed; write accounts = [] into the file \
                 if that is meant"
            );
            return;
        }
        self.app.accounts.configure(configured(config)).await;
        warn_without_account(&self.app);
        tracing::info!(accounts = config.accounts.len(), "the accounts at Twilio were read again");
    }

    /// Returns when the store cannot be used any more, with what to do about it: the process is of no use then.
    pub async fn store_lost(&self) -> anyhow::Error {
        self.app.store().lost().await
    }

    /// Ends the background tasks, which begin nothing any more, answers what is on its way, stops taking requests, closes the store.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let tasks_end = Instant::now() + TASKS_TIMEOUT;
        stopping::close(self.servers).await.context("a server failed")?;
        self.tracker.close();
        if tokio::time::timeout_at(tasks_end, self.tracker.wait()).await.is_err() {
            tracing::warn!("background tasks did not end in time");
        }
        self.app.store().close().await;
        Ok(())
    }
}

/// The service's verbs over the store that `config` names, without doors and workers: for a command that does one thing and
/// ends.
pub async fn open_app(config: &Config) -> anyhow::Result<App> {
    let clock = Arc::new(SystemClock);
    let store = open_store(config, clock.clone()).await?;
    store.ping().await.context("check TEXTLEDGER_STORE and that Redis runs")?;
    known::compare(config, &*store).await?;
    assemble(config, config.public_url.as_deref().unwrap_or_default(), store, None, clock)
}

/// The service's verbs over `store`.
pub fn assemble(
    config: &Config,
    public_url: &str,
    store: Arc<dyn Store>,
    spool: Option<Spool>,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<App> {
    Ok(App::new(Dependencies {
        store,
        // Beside a spool: where the service can work while the store is away.
        settings_copy: spool.is_some().then(|| config.data_dir.join(SETTINGS_COPY_FILE)),
        spool,
        twilio: Client::new(&config.twilio_api_base_url).context("TWILIO_API_BASE_URL")?,
        configured: configured(config),
        settings: Settings {
            public_url: public_url.to_owned(),
            page_url: config.public_url.clone(),
            callback_overrides: config.callback_overrides.clone(),
            opt_out_scope: config.opt_out_scope,
            required_opt_in: config.required_opt_in,
            keyword_handlers: config.keyword_handlers.clone(),
            reader: config.reader.clone(),
            identity: config.identity.clone(),
            replies: config.replies.clone(),
            default_region: config.default_region,
            reconcile_after: config.reconcile_after.clone(),
            limits: Limits {
                cooldown: config.cooldown,
                quiet_hours: config.quiet_hours,
                per_day: config.daily_limit,
                per_day_and_caller: config.daily_limit_per_key,
                pace: config.pace.clone(),
                queue_max: Queued { messages: config.queue_max, bytes: config.queue_bytes_max },
                countries: config.countries.clone(),
                pumping: config.pumping,
            },
            lost_answer_after: config.lost_answer_after,
            suppress_after: config.suppress_after,
            review_deadline: config.review_deadline,
            relay_private: config.relay_private,
            dropin_auth_token: config.dropin_auth_token,
            retention: config.retention,
            consent_retention: config.consent_retention,
        },
        clock,
        metrics: Arc::new(Metrics::new()),
        keys: master_keys(config)?,
        poster: poster(config)?,
    }))
}

/// What tells callers from strangers.
pub fn authenticator(config: &Config) -> anyhow::Result<Authenticator> {
    let public_keys = match &config.jwks_file {
        Some(path) => {
            let text = fs::read_to_string(path).map_err(|error| {
                let place = path.display();
                Invalid(vec![format!("cannot read TEXTLEDGER_JWKS_FILE {place}: {error}")])
            })?;
            PublicKeys::parse(&text)
                .map_err(|error| Invalid(vec![format!("TEXTLEDGER_JWKS_FILE {error}")]))?
        }
        None => PublicKeys::default(),
    };
    let jwks_url = config.jwks_url.as_deref().map(JwksUrl::new).transpose();
    let jwks_url = jwks_url.map_err(|error| Invalid(vec![error.to_string()]))?;
    let (secret, api_keys) = (jwt_secret(config)?, config.api_keys.clone());
    Ok(Authenticator::new(&secret, token_rules(config), public_keys, api_keys).with_jwks_url(jwks_url))
}

/// What every token has to say, those of our own too.
pub fn token_rules(config: &Config) -> TokenRules {
    TokenRules {
        issuer: config.jwt_issuer.clone(),
        audience: config.jwt_audience.clone(),
        requires_org: config.jwt_requires_org,
        max_age: config.jwt_max_age,
    }
}

/// What tells callers' own URLs: those of the public internet, unless inner networks are allowed.
fn poster(config: &Config) -> anyhow::Result<Poster> {
    let poster =
        if config.relay_private { Poster::new(None) } else { Poster::new(Some(Arc::new(PublicOnly))) };
    poster.context("TLS cannot be set up")
}

/// Connections at the address for metrics alone.
const METRICS_CONNECTIONS: ConnectionLimits = ConnectionLimits { in_all: 32, per_peer: 32 };

/// How many connections may be open.
struct LimitsByFiles {
    api: ConnectionLimits,
    webhooks: ConnectionLimits,
    queue_calls: usize,
}

/// As many as there are files for, once the limit of those is raised as far as it goes, and no more than is configured.
fn limits_by_files(config: &Config) -> LimitsByFiles {
    let files = open_files::raise_limit();
    let shares = open_files::share_out(files, config.workers, config.webhook_listen.is_some());
    let wanted = config.bounds.connections;
    let in_all = wanted.unwrap_or(shares.api).min(shares.api);
    if files < open_files::LOW_LIMIT || wanted.is_some_and(|wanted| wanted > in_all) {
        tracing::warn!(
            files,
            connections = in_all,
            webhook_connections = shares.webhooks,
            "the limit of open files is low: raise it (LimitNOFILE= of systemd, --ulimit nofile= of Docker)"
        );
    }
    LimitsByFiles {
        api: ConnectionLimits { in_all, per_peer: config.bounds.connections_per_peer },
        // Behind a proxy all of Twilio is one peer.
        webhooks: ConnectionLimits { in_all: shares.webhooks, per_peer: shares.webhooks },
        queue_calls: shares.queue_calls,
    }
}

fn bind(name: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).with_context(|| format!("cannot listen on {address}: choose another {name}"))
}

/// Runs `work` beside the requests until it ends or the service stops.
fn spawn(tracker: &TaskTracker, stop: &CancellationToken, work: impl Future<Output = ()> + Send + 'static) {
    let stop = stop.clone();
    tracker.spawn(async move { stop.run_until_cancelled(work).await });
}

/// The spool. The embedded store is on the same disk, and needs none as long as it is the known one; what was spooled while it was
/// not is applied once it is.
fn open_spool(config: &Config, store: &dyn Store) -> anyhow::Result<Option<Spool>> {
    let folder = match &config.store {
        StoreConfig::Redis(_) => config.spool_dir.clone(),
        StoreConfig::Embedded(_) => {
            let folder = config.data_dir.join(EMBEDDED_SPOOL);
            if store.known().mismatch().is_none() && !folder.exists() {
                return Ok(None);
            }
            folder
        }
    };
    let stores = store.known().mark().map(|mark| mark.names()).unwrap_or_default();
    Spool::open_for(stores, &folder, config.spool_max).map(Some).with_context(|| {
        let path = folder.display();
        format!("cannot keep a spool in {path}: make it writable, or name another TEXTLEDGER_SPOOL_DIR")
    })
}

/// The folders of processes in that of the spool.
pub fn spool_folders(config: &Config) -> impl Iterator<Item = PathBuf> + use<> {
    spool::folders(&config.spool_dir)
}

/// The files of what is put aside.
pub fn put_aside(config: &Config) -> io::Result<Vec<String>> {
    Aside::of(&config.spool_dir).list()
}

/// Looks for the store. One that is known from here may be away, and so may the known one while another is in its place: the service
/// starts, so that webhooks are spooled. One in Redis that has never been reached is more likely misspelled.
async fn find_store(config: &Config, app: &App) -> anyhow::Result<()> {
    match (app.incoming.find_store().await, &config.store) {
        (Ok(()) | Err(store::Error::NotKnown(_)), _) => Ok(()),
        (Err(error), StoreConfig::Redis(_)) if app.store().known().mark().is_some() => {
            app.incoming.store_went_away(&error.to_string());
            Ok(())
        }
        (Err(error), StoreConfig::Redis(_)) => {
            Err(anyhow!("{error}: check TEXTLEDGER_STORE and that Redis runs"))
        }
        (Err(error), StoreConfig::Embedded(_)) => Err(error.into()),
    }
}

/// Uses the copy of the saved settings, since the store cannot be asked for them.
async fn use_settings_copy(app: &App, why: &store::Error) {
    match app.accounts.use_copy().await {
        Ok(Some(organizations)) => tracing::warn!(
            error = %why, organizations,
            "the saved settings cannot be read: those are used that were read last on this machine"
        ),
        Ok(None) => tracing::error!(
            error = %why,
            "the saved settings cannot be read, and no copy is here: webhooks of accounts that are not configured are answered \
             with 503 until they can"
        ),
        Err(error) => tracing::error!(
            %error,
            mend = "put the former key back into TEXTLEDGER_MASTER_KEY; the copy is written anew once the store is back",
            "neither the saved settings nor their copy can be read: webhooks of accounts that are not configured are answered \
             with 503 until they can"
        ),
    }
}

/// Whether `error` is that of [`open_store`] for an embedded store that a running service has open.
pub fn is_in_use(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(embedded::OpenError::InUse { .. }))
}

/// Opens the embedded store in `folder`.
fn open_embedded(folder: &Path, clock: Arc<dyn Clock>) -> anyhow::Result<EmbeddedStore> {
    EmbeddedStore::open(folder, clock).map_err(not_opened)
}

/// Why an embedded store cannot be opened, and what to do.
fn not_opened(error: embedded::OpenError) -> anyhow::Error {
    match error {
        embedded::OpenError::InUse { .. } => {
            let mend = format!("{error}: stop it, or name another folder in TEXTLEDGER_STORE");
            anyhow::Error::new(error).context(mend)
        }
        embedded::OpenError::Empty { .. } => anyhow!(
            "{error}, so what was stored is lost: restore a backup of it, or remove it to begin anew with nothing stored"
        ),
        embedded::OpenError::Database { .. } => anyhow!(
            "{error}: check the rights of the file and its disk; if it is damaged, restore a backup of it"
        ),
        embedded::OpenError::Folder { .. } => {
            anyhow!("{error}: check the folder in TEXTLEDGER_STORE, its rights and its disk")
        }
    }
}

/// Opens the store that `config` names. One in Redis may be away: its ping tells.
pub async fn open_store(config: &Config, clock: Arc<dyn Clock>) -> anyhow::Result<Arc<dyn Store>> {
    open(config, clock, master_keys(config)?).await
}

/// The same for whoever asks for nobody's consent: without the master keys, so that none are made where there are none.
pub async fn open_store_without_keys(
    config: &Config,
    clock: Arc<dyn Clock>,
) -> anyhow::Result<Arc<dyn Store>> {
    open(config, clock, None).await
}

async fn open(
    config: &Config,
    clock: Arc<dyn Clock>,
    keys: impl Into<Option<MasterKeys>>,
) -> anyhow::Result<Arc<dyn Store>> {
    let keys = keys.into();
    match &config.store {
        StoreConfig::Embedded(folder) => Ok(Arc::new(open_embedded(folder, clock)?.sealed_with(keys))),
        StoreConfig::Redis(address) => {
            match RedisStore::open_at(address, &config.key_prefix, config.partitions).await {
                Ok(store) => Ok(Arc::new(store.held_by(config.replicas_ack).sealed_with(keys))),
                Err(error @ redis::OpenError::Partitions { .. }) => Err(anyhow!(
                    "{error}: set TEXTLEDGER_PARTITIONS back, or use another TEXTLEDGER_KEY_PREFIX"
                )),
                Err(error) => Err(anyhow!("{error}: check TEXTLEDGER_STORE")),
            }
        }
    }
}

/// The accounts of the configuration.
pub fn configured(config: &Config) -> Vec<(Organization, Arc<AccountSettings>)> {
    let accounts = config.accounts.iter().cloned();
    accounts.map(|account| (account.organization, Arc::new(account.settings))).collect()
}

/// The names of the configured API keys whose organizations have no account, and these. One may be about to be saved, with such
/// a key: so it is no fault.
pub fn keys_without_account<'a>(
    config: &'a Config,
    app: &App,
) -> impl Iterator<Item = (&'a str, &'a Organization)> {
    let keys = config.api_keys.iter().map(|key| (key.name.as_str(), &key.organization));
    keys.filter(|(_, organization)| {
        **organization != Organization::default() && app.accounts.find(organization).is_none()
    })
}

fn warn_without_account(app: &App) {
    if app.accounts.all().is_empty() {
        tracing::warn!(
            "no Twilio account is set up: webhooks are refused and nothing can be sent; save one with \
             POST /api/sms/settings, or set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN"
        );
    }
}

/// The secret that signs tokens: the configured one, or the one in the data folder, which is created there if there is
/// none.
pub fn jwt_secret(config: &Config) -> anyhow::Result<SecretString> {
    match &config.jwt_secret {
        Some(secret) => Ok(secret.clone()),
        None => {
            let secret = created_secret(config, JWT_SECRET_FILE, JWT_SECRET, hex::encode)?;
            let bytes = secret.expose_secret().len();
            if bytes < JWT_SECRET_BYTES_MIN {
                let path = config.data_dir.join(JWT_SECRET_FILE);
                return Err(Invalid(vec![format!(
                    "{} holds a secret of {bytes} bytes, and {JWT_SECRET_BYTES_MIN} are the least: remove the file, so \
                     that a new one is made, after which no token of before is good; or set {JWT_SECRET}",
                    path.display()
                )])
                .into());
            }
            Ok(secret)
        }
    }
}

/// The keys that seal what is secret in the store: the configured ones, or with the embedded store the one in the data
/// folder, which is created there if there is none. Redis is shared, and so must the keys be: there is no default.
pub fn master_keys(config: &Config) -> anyhow::Result<MasterKeys> {
    if let Some(keys) = &config.master_keys {
        return Ok(keys.clone());
    }
    if let StoreConfig::Redis(_) = config.store {
        let fault = "TEXTLEDGER_MASTER_KEY must be given with Redis: 32 bytes in base64, as openssl rand -base64 32 \
                     prints, the same for every process";
        return Err(Invalid(vec![fault.to_owned()]).into());
    }
    let encode = |random| base64::engine::general_purpose::STANDARD.encode(random);
    let text = created_secret(config, MASTER_KEY_FILE, MASTER_KEY, encode)?;
    MasterKeys::parse(text.expose_secret()).map_err(|error| {
        let path = config.data_dir.join(MASTER_KEY_FILE);
        let path = path.display();
        Invalid(vec![format!("{path}: {error}; put the key back that was there, or set {MASTER_KEY} to it")])
            .into()
    })
}

/// The file of the data folder with the secret of the setting `name`, which is not given and is created there if it is
/// missing. `None` for a setting that is given, or that is never created.
pub fn secret_file(config: &Config, name: &str) -> Option<PathBuf> {
    let is_embedded = matches!(config.store, StoreConfig::Embedded(_));
    let file = match name {
        JWT_SECRET if config.jwt_secret.is_none() => JWT_SECRET_FILE,
        MASTER_KEY if config.master_keys.is_none() && is_embedded => MASTER_KEY_FILE,
        _ => return None,
    };
    Some(config.data_dir.join(file))
}

/// The secret in `file` of the data folder; 32 random bytes, written by `encode`, for its owner alone, if there is none.
/// `name` is the setting by which it can be given instead.
fn created_secret(
    config: &Config,
    file: &str,
    name: &str,
    encode: impl FnOnce([u8; 32]) -> String,
) -> anyhow::Result<SecretString> {
    let path = config.data_dir.join(file);
    let mend = || format!("cannot keep a secret in {}: set {name}, or make it writable", path.display());
    fs::create_dir_all(&config.data_dir).with_context(mend)?;
    if let Some(secret) = read_secret(&path).with_context(mend)? {
        return Ok(secret);
    }
    let mut random = [0_u8; 32];
    rand::rng().fill_bytes(&mut random);
    // Written aside and linked into place, so that of two processes both take the one that was first and whole.
    let draft = path.with_extension(std::process::id().to_string());
    let mut written =
        fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    written.write_all(encode(random).as_bytes()).with_context(mend)?;
    written.sync_all().with_context(mend)?;
    let linked = fs::hard_link(&draft, &path);
    fs::remove_file(&draft).with_context(mend)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error).with_context(mend),
        _ => read_secret(&path).with_context(mend)?.with_context(mend),
    }
}

fn read_secret(path: &Path) -> io::Result<Option<SecretString>> {
    match fs::File::open(path) {
        Ok(mut file) => {
            let mut secret = String::new();
            file.read_to_string(&mut secret)?;
            Ok(Some(secret.trim().into()))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_created_secret_stays_and_is_its_owners_alone() {
        let folder = tempfile::tempdir().unwrap();
        let environment = [("TEXTLEDGER_STORE", format!("embedded:{}", folder.path().display()))];
        let config = Config::read(environment.into(), "").unwrap();
        let first = jwt_secret(&config).unwrap();
        assert_eq!(first.expose_secret().len(), 64);
        assert_eq!(jwt_secret(&config).unwrap().expose_secret(), first.expose_secret());
        let mode = fs::metadata(folder.path().join(JWT_SECRET_FILE)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
