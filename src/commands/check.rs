//! `textledger check`.

use std::{
    fmt, fs,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use anyhow::anyhow;
use clap::Args;
use serde_json::Value;

use super::{block_on, configure, say};
use crate::{
    clock::{Clock, SystemClock},
    config::{Config, Store, TwilioAccount},
    domain::Organization,
    http::auth::{self, Claims, Role},
    startup,
    twilio::{
        Form,
        client::Client,
        signature::{KeyName, SETTINGS_HEADER, SIGNATURE_HEADER, sign},
    },
};

/// How long one answer may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(15);

/// How often the explanation of a refusal is looked for: it is found beside the requests.
const LOOKS_MAX: usize = 20;

/// The pause between two looks.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// How long the token is good that asks for it, in seconds.
const TOKEN_LIFE_S: u64 = 60;

/// One line for each part: ok, warning or FAILED, each with what to do. The exit code is 1 if anything fails.
///
/// Configuration, store, spool, credentials (asks Twilio for the account) and public URL are looked at. Nothing is sent
/// and nothing is stored; a service may run meanwhile.
#[derive(Args)]
pub(super) struct Check {
    /// Also post a signed request to the public URL, as Twilio does, and say what became of it on the way. The service
    /// must be running; it stores nothing of this request.
    #[arg(long)]
    public: bool,
}

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
            say(Well("configuration: every setting can be read".to_owned()))?;
            let mut failures = 0;
            let mut found = vec![store(&config).await, spool(&config)];
            if config.accounts.is_empty() {
                found.push(Failed(
                    "credentials: no account; set TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN".to_owned(),
                ));
            }
            for account in &config.accounts {
                found.push(credentials(&config, account).await);
            }
            found.push(public_url(&config));
            if self.public {
                for account in &config.accounts {
                    found.push(through_the_public_url(&config, account).await);
                }
            }
            for found in found {
                failures += usize::from(matches!(found, Failed(_)));
                say(found)?;
            }
            match failures {
                0 => Ok(()),
                1 => Err(anyhow!("1 part fails; its line says what to do")),
                _ => Err(anyhow!("{failures} parts fail; their lines say what to do")),
            }
        })
    }
}

async fn store(config: &Config) -> Found {
    if let Store::Embedded(folder) = &config.store
        && !folder.exists()
    {
        return Well(format!("store: {} will be made at the first start", folder.display()));
    }
    match startup::open_store(config, std::sync::Arc::new(SystemClock)).await {
        Ok(store) => match store.ping().await {
            Ok(()) => Well("store: takes writes".to_owned()),
            Err(error) => Failed(format!("store: {error}: check TEXTLEDGER_STORE and that Redis runs")),
        },
        Err(error) if error.to_string().contains("in use by another textledger") => {
            Well("store: in use by a running service".to_owned())
        }
        Err(error) => Failed(format!("store: {error:#}")),
    }
}

fn spool(config: &Config) -> Found {
    if matches!(config.store, Store::Embedded(_)) {
        return Well("spool: none is needed beside the embedded store".to_owned());
    }
    let folder = &config.spool_dir;
    let written = fs::create_dir_all(folder).and_then(|()| tempfile::tempfile_in(folder).map(drop));
    match written {
        Ok(()) => Well(format!("spool: {} can be written", folder.display())),
        Err(error) => Failed(format!(
            "spool: {} cannot be written: {error}; set TEXTLEDGER_SPOOL_DIR, or make it writable",
            folder.display()
        )),
    }
}

async fn credentials(config: &Config, account: &TwilioAccount) -> Found {
    let whose = format!("credentials of {}", account.organization);
    let client = match Client::new(&config.twilio_api_base_url) {
        Ok(client) => client,
        Err(error) => return Failed(format!("{whose}: {error}; check TWILIO_API_BASE_URL")),
    };
    match client.fetch_account(&account.settings.token_credentials()).await {
        Ok(found) if found.status.as_deref() == Some("active") => {
            let name = found.friendly_name.unwrap_or_default();
            Well(format!("{whose}: Twilio knows {} as {name:?}, active", account.settings.account_sid))
        }
        Ok(found) => Failed(format!(
            "{whose}: Twilio says that {} is {}; look at the account in Twilio's console",
            account.settings.account_sid,
            found.status.as_deref().unwrap_or("in no known state")
        )),
        Err(error) => Failed(format!(
            "{whose}: {error}; check SID and token in Twilio's console, the network and TWILIO_API_BASE_URL"
        )),
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
async fn through_the_public_url(config: &Config, account: &TwilioAccount) -> Found {
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
    account: &TwilioAccount,
    since: u64,
) -> Option<String> {
    let secret = startup::jwt_secret(config).ok()?;
    let exp = SystemClock.now_ms() / 1_000 + TOKEN_LIFE_S;
    let organization: Organization = account.organization.clone();
    let claims = Claims { sub: "check".to_owned(), role: Role::Admin, org: organization, exp };
    let token = auth::mint(&secret, &claims);
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
                let at = refusal["at"].as_str().and_then(|at| at.parse::<jiff::Timestamp>().ok());
                at.is_some_and(|at| at.as_millisecond() >= since as i64) && refusal["mend"].is_string()
            };
            if let Some(refusal) = answer["refusals"].as_array()?.iter().find(is_ours) {
                return Some(format!("{}; {}", refusal["detail"].as_str()?, refusal["mend"].as_str()?));
            }
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    None
}
