//! `textledger key create`, `list`, `rotate` and `revoke`.

use std::{path::Path, time::Duration};

use clap::{Args, Subcommand};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::json;

use super::{
    actor, block_on, complain, configure,
    remote::Method,
    say,
    through::{Place, Through},
    token,
};
use crate::{
    clock::{Clock, SystemClock},
    config,
    domain::{
        KeySid, NewKey, Principal, Role, UnixMs,
        audit::Origin,
        identity,
        stored_key::{NAME_CHARACTERS_MAX, OVERLAP_MAX},
    },
};

/// Where the keys are at a service.
const PATH: &str = "/api/sms/api-keys";

/// API keys that are kept in the store, by which services sign in. Those of TEXTLEDGER_API_KEYS are not among them.
#[derive(Args)]
pub(super) struct Key {
    #[command(subcommand)]
    command: Which,
}

#[derive(Subcommand)]
enum Which {
    /// Make a key, and print its secret this one time.
    Create(Create),
    /// List the keys, with their last uses and without their secrets.
    List(List),
    /// Give a key another secret, and print it this one time.
    Rotate(Rotate),
    /// End a key, on every instance within a second.
    Revoke(Revoke),
}

/// Prints two lines: the key's SID, and its secret, which is kept nowhere. The secret is a bearer token; for Twilio's
/// libraries it is the password, and the SID the user name.
#[derive(Args)]
#[command(after_help = "Examples:
  textledger key create --role sender --name crm
  textledger key create --role viewer --name reports --expires 90d --url http://127.0.0.1:8080")]
struct Create {
    /// What the key may do: admin, master, developer, sender, viewer or user.
    #[arg(long, value_parser = token::role)]
    role: Role,
    /// What people call it: the service that uses it.
    #[arg(long, default_value = "cli", value_parser = name)]
    name: String,
    /// How long it is good: a number and s, m, h or d. Without it, until it is revoked.
    #[arg(long, visible_alias = "expires-in", value_name = "TIME", value_parser = token::duration)]
    expires: Option<Duration>,
    /// How many messages it may ask for in a day (UTC). Without it, TEXTLEDGER_DAILY_LIMIT_PER_KEY holds.
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    daily_limit: Option<u64>,
    #[command(flatten)]
    through: Through,
}

#[derive(Args)]
struct List {
    #[command(flatten)]
    through: Through,
}

#[derive(Args)]
struct Rotate {
    /// The key's SID.
    sid: KeySid,
    /// How long the secret before stays good, at most 7d: a number and s, m, h or d.
    #[arg(long, default_value = "0s", value_name = "TIME", value_parser = overlap)]
    overlap: Duration,
    /// How many messages it may ask for in a day from now on. Without it, that stays as it is.
    #[arg(long, value_name = "MESSAGES", value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    daily_limit: Option<u64>,
    #[command(flatten)]
    through: Through,
}

#[derive(Args)]
struct Revoke {
    /// The key's SID.
    sid: KeySid,
    #[command(flatten)]
    through: Through,
}

fn name(text: &str) -> Result<String, String> {
    let wanted = || format!("expected one line of 1 to {NAME_CHARACTERS_MAX} characters");
    let line = identity::read_line(text, NAME_CHARACTERS_MAX).map_err(|_| wanted())?;
    line.ok_or_else(wanted)
}

fn overlap(text: &str) -> Result<Duration, String> {
    let overlap = config::duration(text).filter(|overlap| *overlap <= OVERLAP_MAX);
    overlap.ok_or_else(|| "expected a number and s, m, h or d, such as 1h, of at most 7d".to_owned())
}

/// A key that a service made.
#[derive(Deserialize)]
struct Made {
    sid: KeySid,
    secret: SecretString,
}

/// A page of the keys at a service.
#[derive(Deserialize)]
struct Page {
    api_keys: Vec<Row>,
    /// A service of an earlier version does not say it.
    #[serde(default)]
    unreadable: usize,
    next_cursor: Option<String>,
}

/// A key in a list.
#[derive(Deserialize)]
struct Row {
    sid: String,
    role: String,
    created_at: String,
    expires_at: Option<String>,
    last_used_at: Option<String>,
    revoked_at: Option<String>,
    daily_limit: Option<u64>,
    name: String,
}

impl Key {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        let user = actor::of_process();
        let by = Origin::new(&Principal::command(&user), None);
        block_on(async {
            match self.command {
                Which::Create(Create { role, name, expires, daily_limit, through }) => {
                    let expires_at = expires.map(|life| SystemClock.now_ms() + life);
                    let made = match through.open(&config, &user).await? {
                        Place::Here(app, organization) => {
                            let new = NewKey { name, role, expires_at, daily_limit };
                            let (key, secret) = app.api_keys.of(&organization).create(&by, new).await?;
                            Made { sid: key.sid, secret }
                        }
                        Place::There(service) => {
                            let expires_at = expires_at.map(time);
                            let body = json!({
                                "name": name, "role": role.as_str(), "expires_at": expires_at,
                                "daily_limit": daily_limit,
                            });
                            service.ask_for(service.request(Method::POST, PATH).json(&body)).await?
                        }
                    };
                    made.say()
                }
                Which::Rotate(Rotate { sid, overlap, daily_limit, through }) => {
                    let made = match through.open(&config, &user).await? {
                        Place::Here(app, organization) => {
                            let keys = app.api_keys.of(&organization);
                            let (key, secret) = keys.rotate(&by, &sid, overlap, daily_limit).await?;
                            Made { sid: key.sid, secret }
                        }
                        Place::There(service) => {
                            let request = service.request(Method::POST, &format!("{PATH}/{sid}/rotate"));
                            let body = json!({ "overlap_s": overlap.as_secs(), "daily_limit": daily_limit });
                            service.ask_for(request.json(&body)).await?
                        }
                    };
                    made.say()
                }
                Which::Revoke(Revoke { sid, through }) => {
                    match through.open(&config, &user).await? {
                        Place::Here(app, organization) => {
                            app.api_keys.of(&organization).revoke(&by, &sid).await?;
                        }
                        Place::There(service) => {
                            let path = format!("{PATH}/{sid}");
                            service.ask(service.request(Method::DELETE, &path)).await?;
                        }
                    }
                    say(format_args!("{sid} is revoked"))
                }
                Which::List(List { through }) => {
                    let place = through.open_to_read(&config).await?;
                    list(place).await?.iter().try_for_each(|row| row.say())
                }
            }
        })
    }
}

async fn list(place: Place) -> anyhow::Result<Vec<Row>> {
    match place {
        Place::Here(app, organization) => {
            let listed = app.api_keys.of(&organization).list(None, usize::MAX).await?;
            complain_of(listed.unreadable);
            let rows = listed.keys.into_iter().map(|listed| Row {
                sid: listed.key.sid.to_string(),
                role: listed.key.role.as_str().to_owned(),
                created_at: time(listed.key.created_at),
                expires_at: listed.key.expires_at.map(time),
                last_used_at: listed.last_used_at.map(time),
                revoked_at: listed.key.revoked_at.map(time),
                daily_limit: listed.key.daily_limit,
                name: listed.key.name.clone(),
            });
            Ok(rows.collect())
        }
        Place::There(service) => {
            let (mut rows, mut path) = (Vec::new(), PATH.to_owned());
            loop {
                let page: Page = service.ask_for(service.request(Method::GET, &path)).await?;
                rows.extend(page.api_keys);
                match page.next_cursor {
                    Some(cursor) => path = format!("{PATH}?cursor={cursor}"),
                    None => {
                        complain_of(page.unreadable);
                        return Ok(rows);
                    }
                }
            }
        }
    }
}

/// Says that the list is not whole.
fn complain_of(unreadable: usize) {
    match unreadable {
        0 => {}
        1 => complain("1 more API key cannot be read by this version"),
        more => complain(format_args!("{more} more API keys cannot be read by this version")),
    }
}

impl Made {
    fn say(&self) -> anyhow::Result<()> {
        say(&self.sid)?;
        say(self.secret.expose_secret())
    }
}

impl Row {
    fn say(&self) -> anyhow::Result<()> {
        let or =
            |time: &Option<String>, otherwise: &str| time.clone().unwrap_or_else(|| otherwise.to_owned());
        let end = match &self.revoked_at {
            Some(at) => format!("revoked {at}"),
            None => format!("expires {}", or(&self.expires_at, "never")),
        };
        let limit = self.daily_limit.map(|limit| format!(" at most {limit} a day")).unwrap_or_default();
        say(format_args!(
            "{} {} created {} {end} used {}{limit} {}",
            self.sid,
            self.role,
            self.created_at,
            or(&self.last_used_at, "never"),
            self.name
        ))
    }
}

/// A time as the API writes it.
fn time(at: UnixMs) -> String {
    format!("{:.3}", at.to_timestamp().unwrap_or(jiff::Timestamp::MAX))
}
