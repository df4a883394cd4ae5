//! `textledger check`.

mod deep;
mod public_keys;
mod saved;
mod webhooks;

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::anyhow;
use clap::Args;
use serde_json::Value;

use super::{block_on, configure, say};
use crate::{
    app::{
        App,
        accounts::{
            Account, Directory,
            connection::{self, SignedWith, Tested},
            effective::SealedSettings,
        },
    },
    clock::{Clock, SystemClock},
    config::{self, Config},
    domain::{AccountSettings, Organization, Role, UnixMs},
    http::auth::Claims,
    startup::{self, known},
    twilio::{
        Address, Form,
        client::Client,
        signature::{KeyName, SETTINGS_HEADER, SIGNATURE_HEADER, sign},
    },
};

/// How long one answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// How many files of what is put aside are named.
const ASIDE_SHOWN: usize = 5;

/// How often the explanation of a refusal is looked for: it is found beside the requests.
const LOOKS_MAX: usize = 20;

/// The pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long the token is good that asks for it, in seconds.
const TOKEN_LIFE_S: u64 = 60;

/// One line for each part: ok, warning or FAILED, each with what to do. The exit code is 1 if anything fails.
///
/// Configuration, callers, the platform's public keys (fetches TEXTLEDGER_JWKS_URL), spool, store, master key, saved
/// settings and whether Twilio has confirmed them, credentials (asks Twilio for the account), senders, public URL and where
/// Twilio posts what people write to the account's numbers are looked at. Nothing is sent and nothing is stored; a service
/// may run meanwhile.
#[derive(Args)]
pub(super) struct Check {
    /// Also post a signed request to the public URL, as Twilio does, and say what became of it on the way. The service
    /// must be running; it stores nothing of this request.
    #[arg(long)]
    public: bool,
    /// Also read everything that is stored: every page of an embedded store's file, for which no service may run, and every event,
    /// message and change of consent. This takes a while.
    #[arg(long)]
    deep: bool,
}

/// Whose messages are handled.
type AccountsInForce = Arc<Vec<Arc<Account>>>;

/// How one part was found.
enum Found {
    Well(String),
    Warning(String),
    Failed(String),
}

use Found::{Failed, Warning, Well};

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Well(what) => write!(f, "ok       {what}"),
            Warning(what) => write!(f, "warning  {what}"),
            Failed(what) => write!(f, "FAILED   {what}"),
        }
    }
}

impl Check {
    pub(super) fn run(&self, file: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(file)?;
        block_on(async {
            let mut report = Report::default();
            report.tell(configuration(&config))?;
            report.tell(callers(&config))?;
            report.tell_all(public_keys::public_keys(&config).await)?;
            report.tell(spool(&config))?;
            if self.deep
                && let Some(found) = deep::pages(&config)
            {
                report.tell(found)?;
            }
            let (found, app) = store(&config).await;
            report.tell(found)?;
            if self.deep && !is_new(&config) {
                report.tell(match &app {
                    Some(Ok(app)) => deep::records(app).await,
                    Some(Err(_)) | None => deep::unread_records(),
                })?;
            }
            let (found, accounts) = saved_settings(&config, app).await;
            report.tell_all(found)?;
            if accounts.is_empty() {
                report.tell(Failed(
                    "credentials: no account; save one with POST /api/sms/settings, or set TWILIO_ACCOUNT_SID and \
                     TWILIO_AUTH_TOKEN"
                        .to_owned(),
                ))?;
            }
            for account in accounts.iter() {
                report.tell(credentials(&config, account).await)?;
                report.tell(senders(account))?;
            }
            report.tell(public_url(&config))?;
            for account in accounts.iter() {
                report.tell_all(webhooks::webhooks(&config, account).await)?;
            }
            if self.public {
                for account in accounts.iter() {
                    report.tell(through_the_public_url(&config, account).await)?;
                }
            }
            match report.failures {
                0 => Ok(()),
                1 => Err(anyhow!("1 part fails; its line says what to do")),
                failures => Err(anyhow!("{failures} parts fail; their lines say what to do")),
            }
        })
    }
}

/// What was found so far. Each part is told when it is known: one may take its time.
#[derive(Default)]
struct Report {
    failures: usize,
}

impl Report {
    fn tell(&mut self, found: Found) -> anyhow::Result<()> {
        self.failures += usize::from(matches!(found, Failed(_)));
        say(found)
    }

    fn tell_all(&mut self, found: Vec<Found>) -> anyhow::Result<()> {
        found.into_iter().try_for_each(|found| self.tell(found))
    }
}

fn configuration(config: &Config) -> Found {
    let unused =
        config.unused.iter().map(|name| format!("{name} has no effect in this version; leave it out"));
    let without_effect: Vec<String> = config.unknown.iter().map(ToString::to_string).chain(unused).collect();
    match without_effect.as_slice() {
        [] => Well("configuration: every setting can be read".to_owned()),
        without_effect => Warning(format!("configuration: {}", without_effect.join("; "))),
    }
}

/// Whether the store is one that the first start makes: a check makes nothing.
fn is_new(config: &Config) -> bool {
    matches!(&config.store, config::Store::Embedded(folder) if !folder.exists())
}

fn callers(config: &Config) -> Found {
    if is_new(config) && config.jwt_secret.is_none() {
        return Well("callers: a secret that signs their tokens will be made at the first start".to_owned());
    }
    match startup::authenticator(config) {
        Ok(_) => {
            let has_platform = config.jwks_file.is_some() || config.jwks_url.is_some();
            let platform = if has_platform { ", the platform's tokens" } else { "" };
            Well(format!(
                "callers: tokens of our own{platform} and {} configured API keys",
                config.api_keys.len()
            ))
        }
        Err(error) => Failed(format!("callers: {error:#}")),
    }
}

async fn store(config: &Config) -> (Found, Option<anyhow::Result<App>>) {
    if let config::Store::Embedded(folder) = &config.store
        && is_new(config)
    {
        return (Well(format!("store: {} will be made at the first start", folder.display())), None);
    }
    match startup::open_store_without_keys(config, Arc::new(SystemClock)).await {
        Ok(store) => match store.ping().await {
            Ok(()) => {
                if let Err(error) = known::compare(config, &*store).await {
                    return (Failed(format!("store: {error:#}")), None);
                }
                let app = startup::assemble(config, "", store, None, Arc::new(SystemClock));
                (Well("store: takes writes".to_owned()), Some(app))
            }
            Err(error) => {
                (Failed(format!("store: {error}: check TEXTLEDGER_STORE and that Redis runs")), None)
            }
        },
        Err(error) if startup::is_in_use(&error) => {
            (Well("store: in use by a running service".to_owned()), None)
        }
        Err(error) => (Failed(format!("store: {error:#}")), None),
    }
}

/// Whether the saved settings can be opened, and which are in force; and the accounts in force, as far as they can be known.
async fn saved_settings(config: &Config, app: Option<anyhow::Result<App>>) -> (Vec<Found>, AccountsInForce) {
    let configured = Directory::default();
    configured.replace(startup::configured(config));
    let configured = configured.all();
    if is_new(config) && config.master_keys.is_none() {
        return (vec![Well("master key: it will be made at the first start".to_owned())], configured);
    }
    if let Err(error) = startup::master_keys(config) {
        return (vec![Failed(format!("master key: {error:#}"))], configured);
    }
    let Some(app) = app else {
        let why = "master key: what it sealed could not be looked at; ask the running service, by \
                   POST /api/sms/test-connection";
        return (vec![Warning(why.to_owned())], configured);
    };
    let looked = async {
        let app = app?;
        app.accounts.follow_settings().await?;
        let mut found = vec![master_key(&app.accounts.sealed_settings().await?)];
        found.extend(saved::saved(config, &app).await?);
        anyhow::Ok((found, app.accounts.all()))
    };
    looked.await.unwrap_or_else(|error| (vec![Failed(format!("master key: {error:#}"))], configured))
}

fn master_key(sealed: &SealedSettings) -> Found {
    let names = |of: &[Organization]| of.iter().map(Organization::as_str).collect::<Vec<_>>().join(", ");
    if !sealed.unopened.is_empty() {
        return Failed(format!(
            "master key: it does not open the saved settings of {}; put the former key back into \
             TEXTLEDGER_MASTER_KEY, behind the first, or save them anew",
            names(&sealed.unopened)
        ));
    }
    if !sealed.former.is_empty() {
        return Warning(format!(
            "master key: a former one sealed the saved settings of {}; save them with POST /api/sms/settings before \
             you take it away",
            names(&sealed.former)
        ));
    }
    Well(format!("master key: it opens all {} saved settings", sealed.current))
}

fn spool(config: &Config) -> Found {
    if matches!(config.store, config::Store::Embedded(_)) {
        return Well("spool: none is needed beside the embedded store".to_owned());
    }
    let folder = &config.spool_dir;
    let written = fs::create_dir_all(folder).map_err(|error| (folder.clone(), error));
    // Each process has a folder of its own in it.
    let unwritable = written.err().or_else(|| {
        let mut folders = [folder.clone()].into_iter().chain(startup::spool_folders(config));
        folders.find_map(|folder| Some((folder.clone(), tempfile::tempfile_in(&folder).err()?)))
    });
    match unwritable {
        None => match startup::put_aside(config).as_deref() {
            Ok([]) => Well(format!("spool: {} can be written", folder.display())),
            Ok(aside) => Warning(format!(
                "spool: {} webhooks are put aside in {}, since a record of the store cannot be read: {}; \
                 docs/operations.md tells what to do",
                aside.len(),
                folder.join("aside").display(),
                aside.iter().take(ASIDE_SHOWN).map(String::as_str).collect::<Vec<_>>().join(", ")
            )),
            Err(error) => {
                Failed(format!("spool: what is put aside cannot be listed: {error}; make it readable"))
            }
        },
        Some((unwritable, error)) => Failed(format!(
            "spool: {} cannot be written: {error}; set TEXTLEDGER_SPOOL_DIR, or make it writable",
            unwritable.display()
        )),
    }
}

async fn credentials(config: &Config, account: &Account) -> Found {
    let whose = format!("credentials of {}", account.organization);
    let client = match Client::new(&config.twilio_api_base_url) {
        Ok(client) => client,
        Err(error) => return Failed(format!("{whose}: {error}; check TWILIO_API_BASE_URL")),
    };
    let Tested { calls_with, result } = connection::test(&client, &account.settings).await;
    match result {
        Ok(found) if found.status.as_deref() == Some("active") => {
            let name = found.friendly_name.unwrap_or_default();
            let with = match calls_with {
                SignedWith::ApiKey => "; its API key is good too",
                SignedWith::AuthToken => "",
            };
            Well(format!("{whose}: Twilio knows {} as {name:?}, active{with}", account.settings.account_sid))
        }
        Ok(found) => Failed(format!(
            "{whose}: Twilio says that {} is {}; look at the account in Twilio's console",
            account.settings.account_sid,
            found.status.as_deref().unwrap_or("in no known state")
        )),
        Err((failed, error)) => {
            let failed = match failed {
                SignedWith::ApiKey => "API key",
                SignedWith::AuthToken => "token",
            };
            Failed(format!(
                "{whose}: {error}; check SID and {failed} in Twilio's console, the network and TWILIO_API_BASE_URL"
            ))
        }
    }
}

fn senders(account: &Account) -> Found {
    let whose = format!("senders of {}", account.organization);
    let AccountSettings { phone_number, whatsapp_number, messaging_service_sid, .. } = &*account.settings;
    let addresses = [phone_number, whatsapp_number].into_iter().flatten().map(Address::to_twilio);
    let service = messaging_service_sid.iter().map(ToString::to_string);
    let known: Vec<String> = addresses.chain(service).collect();
    if known.is_empty() {
        Warning(format!(
            "{whose}: none, so that every send has to name one; save phone_number, whatsapp_number or \
             messaging_service_sid, or set TWILIO_PHONE_NUMBER"
        ))
    } else {
        Well(format!("{whose}: {}", known.join(", ")))
    }
}

fn public_url(config: &Config) -> Found {
    let Some(url) = &config.public_url else {
        return Warning(
            "public URL: none, so that Twilio cannot reach this service; set TEXTLEDGER_PUBLIC_URL"
                .to_owned(),
        );
    };
    let host =
        reqwest::Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let is_private = match address {
        Some(IpAddr::V4(address)) => address.is_loopback() || address.is_private() || address.is_link_local(),
        Some(IpAddr::V6(address)) => address.is_loopback(),
        None => host == "localhost" || host.ends_with(".local"),
    };
    if is_private {
        Warning(format!("public URL: {url} is of this machine or network; Twilio cannot reach it"))
    } else if url.starts_with("http://") {
        Warning(format!("public URL: {url} is not encrypted; give it HTTPS"))
    } else {
        Well(format!("public URL: {url}"))
    }
}

/// Posts a request that is signed and says nothing: the service refuses it after the signature was found good, with 400.
async fn through_the_public_url(config: &Config, account: &Account) -> Found {
    let whose = format!("public URL for {}", account.organization);
    let base = config.public_url.clone().unwrap_or_else(|| format!("http://{}", config.listen));
    let url = format!("{base}/webhooks/twilio/status?check=1");
    let keyring = account.settings.keyring();
    let Some((name, key)) = keyring.signing_key() else {
        return Failed(format!("{whose}: there is no key to sign with"));
    };
    let sid = account.settings.account_sid.as_str();
    let form: Form<'_> =
        [("AccountSid", sid), ("Body", ""), ("Check", " blanks kept ")].into_iter().collect();
    let client = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(ANSWER_TIME_MAX)
        .build()
        .expect("a client without certificates of its own can be built");
    let mut request = client
        .post(&url)
        .header("content-type", "application/x-www-form-urlencoded")
        .header(SIGNATURE_HEADER, sign(key, &url, &form))
        .body(form.encode());
    if let KeyName::Shared(id) = &name {
        request = request.header(SETTINGS_HEADER, format!("key={id},algorithm={}", key.algorithm()));
    }
    let since = SystemClock.now_ms();
    let status = match request.send().await {
        Ok(response) => response.status().as_u16(),
        Err(error) => {
            return Failed(format!(
                "{whose}: {} cannot be reached: {}; check its name, the proxy before it and that the service runs",
                base,
                error.without_url()
            ));
        }
    };
    match status {
        400 => Well(format!("{whose}: a signed request arrives as it was signed, with {name}")),
        403 => match explanation(config, &client, &base, account, since).await {
            Some(explained) => Failed(format!("{whose}: the signature does not hold: {explained}")),
            None => Failed(format!(
                "{whose}: the signature does not hold; look for \"webhook refused\" in the service's log"
            )),
        },
        300..=399 => Failed(format!(
            "{whose}: {base} redirects ({status}), which loses what Twilio posts; let it pass on"
        )),
        404 | 405 => Failed(format!(
            "{whose}: {status}: /webhooks/twilio/ is not passed on to textledger; check the proxy"
        )),
        413 | 415 => {
            Failed(format!("{whose}: {status}: the proxy changes or refuses the form; let it pass on"))
        }
        502..=504 => {
            Failed(format!("{whose}: {status}: the proxy does not reach textledger; check that it runs"))
        }
        _ => Failed(format!("{whose}: {status}: something else than textledger answers at {base}")),
    }
}

/// What the service found out about the refusal of our request.
async fn explanation(
    config: &Config,
    client: &reqwest::Client,
    base: &str,
    account: &Account,
    since: UnixMs,
) -> Option<String> {
    let secret = startup::jwt_secret(config).ok()?;
    let exp = SystemClock.now_ms().as_secs() + TOKEN_LIFE_S;
    let organization: Organization = account.organization.clone();
    let claims = Claims::new("check", Role::Admin, organization, exp);
    let token = startup::token_rules(config).mint(&secret, &claims);
    // Beside the service if it is on this machine, else the way that everybody goes.
    let local = match config.listen.ip() {
        ip if ip.is_unspecified() => SocketAddr::from((Ipv4Addr::LOCALHOST, config.listen.port())),
        _ => config.listen,
    };
    for _ in 0..LOOKS_MAX {
        for place in [format!("http://{local}"), base.to_owned()] {
            let asked =
                client.get(format!("{place}/api/sms/webhook-refusals")).bearer_auth(&token).send().await;
            let Ok(answer) = asked else { continue };
            let Ok(answer) = answer.bytes().await else { continue };
            let Ok(answer) = serde_json::from_slice::<Value>(&answer) else { continue };
            let is_ours = |refusal: &&Value| {
                let at = refusal["at"].as_str().and_then(|at| at.parse().ok());
                at.and_then(UnixMs::from_timestamp).is_some_and(|at| at >= since)
                    && refusal["mend"].is_string()
            };
            if let Some(refusal) = answer["refusals"].as_array()?.iter().find(is_ours) {
                return Some(format!("{}; {}", refusal["detail"].as_str()?, refusal["mend"].as_str()?));
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    None
}
