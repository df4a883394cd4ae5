//! The configuration: read from the environment and a TOML file, checked as a whole.
//!
//! Every setting has one name, in capitals in the environment and in lower case in the file; the environment wins.
//! All faults are reported at once, each with what to do about it.

mod account;
mod bounds;
mod certificates;
mod given;
mod limits;
pub mod setting;
mod tokens;

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use secrecy::{ExposeSecret, SecretString};

use self::setting::Fallback;
pub use self::{
    account::TwilioAccount,
    bounds::Bounds,
    given::{Given, Origin, UnknownVariable},
    tokens::JWT_SECRET_BYTES_MIN,
};
use crate::{
    domain::{
        ApiKey, Identity, Replies, ReplyTexts,
        consent::{InvalidKeywordHandlers, KeywordHandlers, OptOutScope, RequiredOptIn},
        identity::{self, HELP_CONTACT_CHARACTERS_MAX, NAME_CHARACTERS_MAX},
        message_id::PARTITIONS_MAX,
        pace::Pace,
        pumping::PumpingGuard,
        quiet_hours::{InvalidQuietHours, QuietHours},
        replies::Text,
    },
    phone::{Region, countries::Countries},
    redis_address::RedisAddress,
    sealing::MasterKeys,
    twilio::reply::{FurtherWords, ReplyReader},
};

/// Where state is kept.
#[derive(Debug, Clone)]
pub enum Store {
    /// In a folder of this machine.
    Embedded(PathBuf),
    /// In Redis.
    Redis(Box<RedisAddress>),
}

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Address and port to listen on; port 0 picks one.
    pub listen: SocketAddr,
    /// A further address for webhooks alone.
    pub webhook_listen: Option<SocketAddr>,
    /// The address for metrics, if they have one of their own.
    pub metrics_listen: Option<SocketAddr>,
    /// The URL by which Twilio reaches us, without a slash at its end; by default the address listened on.
    pub public_url: Option<String>,
    /// Where state is kept.
    pub store: Store,
    /// Where created secrets are kept: the embedded store's folder, or `./data`.
    pub data_dir: PathBuf,
    /// The first part of every Redis key.
    pub key_prefix: String,
    /// Partitions per organization.
    pub partitions: u16,
    /// Replicas of Redis that must hold a write before it is acknowledged.
    pub replicas_ack: u16,
    /// What seals credentials and texts in the store, if given.
    pub master_keys: Option<MasterKeys>,
    /// What signs and verifies tokens, if given.
    pub jwt_secret: Option<SecretString>,
    /// Public keys of the platform that issues tokens.
    pub jwks_file: Option<PathBuf>,
    /// Where the platform publishes them.
    pub jwks_url: Option<String>,
    /// How often they are fetched from there.
    pub jwks_refresh: Duration,
    /// The `iss` of every token, if it must have one.
    pub jwt_issuer: Option<String>,
    /// What the `aud` of every token is, or holds, if it must have one.
    pub jwt_audience: Option<String>,
    /// Whether tokens must name their organization.
    pub jwt_requires_org: bool,
    /// The longest time until a token expires, if there is one.
    pub jwt_max_age: Option<Duration>,
    /// Callers that are services.
    pub api_keys: Vec<ApiKey>,
    /// The accounts at Twilio: that of the organization `default` from the environment, and those of the file.
    pub accounts: Vec<TwilioAccount>,
    /// The file says by `accounts = []` that it has none, as one that was emptied or cut short does not.
    pub says_no_accounts: bool,
    /// Where Twilio's REST API is.
    pub twilio_api_base_url: String,
    /// The country of numbers without `+`.
    pub default_region: Option<Region>,
    /// Twilio's connection overrides, put behind `#` on every StatusCallback URL.
    pub callback_overrides: String,
    /// How far one STOP reaches.
    pub opt_out_scope: OptOutScope,
    /// Which messages need that the person has opted in.
    pub required_opt_in: RequiredOptIn,
    /// Who acts on the keywords that our senders receive.
    pub keyword_handlers: KeywordHandlers,
    /// Reads what people reply, with the further words that are set.
    pub reader: ReplyReader,
    /// Who sends, for organizations that do not say it.
    pub identity: Identity,
    /// What people are told, for organizations that have no words of their own.
    pub replies: Replies,
    /// `tracing`'s filter.
    pub log: String,
    /// Threads that serve requests.
    pub workers: usize,
    /// Where webhooks are kept while Redis cannot be reached.
    pub spool_dir: PathBuf,
    /// How large the spool may become, in bytes.
    pub spool_max: u64,
    /// How long after its first status a message without a final one is asked for at Twilio.
    pub reconcile_after: Vec<Duration>,
    /// How long after the call a message whose answer was lost counts as not taken by Twilio, if it is not found there.
    pub lost_answer_after: Duration,
    /// How many messages in a row must fail for a number's own fault until nothing more is sent to it; `None` for never.
    pub suppress_after: Option<usize>,
    /// The least time between two messages to one recipient.
    pub cooldown: Duration,
    /// When nothing is sent, by the recipient's clock.
    pub quiet_hours: Option<QuietHours>,
    /// Messages per organization and day.
    pub daily_limit: Option<u64>,
    /// Messages per caller and day.
    pub daily_limit_per_key: Option<u64>,
    /// Segments per second and sender.
    pub pace: Pace,
    /// Messages of an organization that may wait.
    pub queue_max: u64,
    /// What they may take in the store, in bytes.
    pub queue_bytes_max: u64,
    /// The countries that messages may go to; `None` if those of the senders decide.
    pub countries: Option<Countries>,
    /// Which bursts of first messages are held.
    pub pumping: PumpingGuard,
    /// How long somebody has to decide on a reply that may be an opt-out.
    pub review_deadline: Duration,
    /// How long messages and entries of the streams are kept.
    pub retention: Duration,
    /// How long what shows a person's consent is kept after its last change, at the least.
    pub consent_retention: Duration,
    /// Requests per second and caller on the application's side.
    pub api_rate: u32,
    /// Connections and live streams that callers may have open.
    pub bounds: Bounds,
    /// Webhook requests per second and peer that name no account and are looked into.
    pub unsigned_rate: u32,
    /// Origins whose pages may call the application's side.
    pub cors_origins: Vec<String>,
    /// Whether callers' own StatusCallback URLs may be loopback or private addresses.
    pub relay_private: bool,
    /// Whether the account's own credentials at Twilio sign in at the drop-in.
    pub dropin_auth_token: bool,
    /// Settings that are given and not used by this version.
    pub unused: Vec<&'static str>,
    /// Variables of the environment that look like a misspelt setting.
    pub unknown: Vec<UnknownVariable>,
}

/// Everything that is wrong with a configuration, a line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid(pub Vec<String>);

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join("\n"))
    }
}

impl std::error::Error for Invalid {}

impl Config {
    /// Reads the process's environment and `file`, if one is named here or in `TEXTLEDGER_CONFIG`.
    pub fn load(file: Option<&Path>) -> Result<Self, Invalid> {
        Self::check(Given::load(file)?)
    }

    /// Reads settings by name, and those that they leave out from a TOML text.
    pub fn read(environment: BTreeMap<&'static str, String>, file: &str) -> Result<Self, Invalid> {
        let environment = environment.into_iter().map(|(name, value)| (name, value.into()));
        Self::check(Given::read(environment.collect(), file))
    }

    /// Checks what was given as a whole.
    pub fn check(given: Given) -> Result<Self, Invalid> {
        let mut reader = Reader { given, faults: Vec::new() };
        reader.faults.append(&mut reader.given.faults);
        let config = reader.config();
        if reader.faults.is_empty() { Ok(config) } else { Err(Invalid(reader.faults)) }
    }
}

/// Takes settings one by one and gathers what is wrong with them.
struct Reader {
    given: Given,
    faults: Vec<String>,
}

impl Reader {
    fn config(&mut self) -> Config {
        let (store, data_dir) = self.store();
        let on_cluster = matches!(&store, Store::Redis(address) if address.is_cluster());
        let unused = setting::all().filter(|setting| !setting.used && self.given.get(setting.name).is_some());
        let unused = unused.map(|setting| setting.name).collect();
        Config {
            listen: self.parsed_or_default("TEXTLEDGER_LISTEN", "an address and port such as 127.0.0.1:8080"),
            webhook_listen: self
                .parsed("TEXTLEDGER_WEBHOOK_LISTEN", "an address and port such as 127.0.0.1:8081"),
            metrics_listen: self
                .parsed("TEXTLEDGER_METRICS_LISTEN", "an address and port such as 127.0.0.1:9090"),
            public_url: self.public_url(),
            partitions: self.partitions(matches!(store, Store::Embedded(_)), if on_cluster { 16 } else { 1 }),
            store,
            data_dir,
            key_prefix: self.key_prefix(),
            replicas_ack: self.replicas_ack(),
            master_keys: self.master_keys(),
            jwt_secret: self.jwt_secret(),
            jwks_file: self.text("TEXTLEDGER_JWKS_FILE").map(PathBuf::from),
            jwks_url: self.jwks_url(),
            jwks_refresh: self.jwks_refresh(),
            jwt_issuer: self.text("TEXTLEDGER_JWT_ISSUER"),
            jwt_audience: self.text("TEXTLEDGER_JWT_AUDIENCE"),
            jwt_requires_org: self.switch("TEXTLEDGER_JWT_REQUIRE_ORG"),
            jwt_max_age: self.jwt_max_age(),
            api_keys: self.api_keys(),
            says_no_accounts: self.given.accounts.as_ref().is_some_and(Vec::is_empty),
            accounts: self.accounts(),
            twilio_api_base_url: self.base_url(),
            default_region: self.parsed("TEXTLEDGER_DEFAULT_REGION", "an ISO country such as US"),
            callback_overrides: self
                .text_or_default("TEXTLEDGER_CALLBACK_OVERRIDES")
                .trim_start_matches('#')
                .to_owned(),
            opt_out_scope: self.opt_out_scope(),
            required_opt_in: self.required_opt_in(),
            keyword_handlers: self
                .parsed_or_default("TEXTLEDGER_TWILIO_OPT_OUT", &InvalidKeywordHandlers.to_string()),
            reader: self.reader(),
            identity: self.identity(),
            replies: self.replies(),
            log: self.text_or_default("TEXTLEDGER_LOG"),
            workers: self.workers(),
            spool_dir: self.text_or_default("TEXTLEDGER_SPOOL_DIR").into(),
            spool_max: self.spool_max(),
            reconcile_after: self.reconcile_after(),
            lost_answer_after: self.lost_answer_after(),
            suppress_after: self.suppress_after(),
            cooldown: self.cooldown(),
            quiet_hours: self.parsed("TEXTLEDGER_QUIET_HOURS", &InvalidQuietHours.to_string()),
            daily_limit: self.daily_limit("TEXTLEDGER_DAILY_LIMIT"),
            daily_limit_per_key: self.daily_limit("TEXTLEDGER_DAILY_LIMIT_PER_KEY"),
            pace: self.pace(),
            queue_max: self.queue_max(),
            queue_bytes_max: self.queue_bytes_max(),
            countries: self
                .parsed("TEXTLEDGER_COUNTRIES", "all, or a list of ISO countries such as US,CA,GB"),
            pumping: self.pumping(),
            review_deadline: self.review_deadline(),
            retention: self.retention(),
            consent_retention: self.consent_retention(),
            api_rate: self.api_rate(),
            bounds: Bounds::read(self),
            unsigned_rate: self.unsigned_rate(),
            cors_origins: self.cors_origins(),
            relay_private: self.switch("TEXTLEDGER_RELAY_PRIVATE"),
            dropin_auth_token: self.switch("TEXTLEDGER_DROPIN_AUTH_TOKEN"),
            unused,
            unknown: std::mem::take(&mut self.given.unknown),
        }
    }

    fn text(&self, name: &str) -> Option<String> {
        self.given.text(name)
    }

    /// The secret that is given, without blanks around it.
    fn secret(&self, name: &str) -> Option<SecretString> {
        self.given.get(name).map(|(value, _)| value.expose_secret().trim().into())
    }

    /// What is given, or the default in the table of settings.
    fn text_or_default(&self, name: &str) -> String {
        self.text(name).unwrap_or_else(|| default_of(name).to_owned())
    }

    /// The value that is given, or the default one if there is none or it cannot be read.
    fn read_or_default<T>(&mut self, name: &str, wanted: &str, read: impl Fn(&str) -> Option<T>) -> T {
        if let Some(text) = self.text(name) {
            match read(&text) {
                Some(value) => return value,
                None => self.fault(name, wanted),
            }
        }
        read(default_of(name)).expect("the default is a value as it can be given")
    }

    fn parsed_or_default<T: FromStr>(&mut self, name: &str, wanted: &str) -> T {
        self.read_or_default(name, wanted, |text| text.parse().ok())
    }

    fn fault(&mut self, name: &str, wanted: &str) {
        self.faults.push(format!("{name} must be {wanted}"));
    }

    fn parsed<T: FromStr>(&mut self, name: &str, wanted: &str) -> Option<T> {
        let parsed = self.text(name)?.parse();
        if parsed.is_err() {
            self.fault(name, wanted);
        }
        parsed.ok()
    }

    fn store(&mut self) -> (Store, PathBuf) {
        let data_dir = self.text("TEXTLEDGER_DATA_DIR").map(PathBuf::from);
        let named = self.secret("TEXTLEDGER_STORE").or_else(|| self.secret("REDIS_URL"));
        let named = named.unwrap_or_else(|| default_of("TEXTLEDGER_STORE").into());
        let text = named.expose_secret();
        if let Some(folder) = text.strip_prefix("embedded:")
            && !folder.is_empty()
        {
            let folder = PathBuf::from(folder);
            return (Store::Embedded(folder.clone()), data_dir.unwrap_or(folder));
        }
        if !RedisAddress::is_one(text) {
            self.fault(
                "TEXTLEDGER_STORE",
                "embedded:FOLDER, redis://HOST:PORT, redis+unix:///PATH, redis-sentinel://HOST:PORT,HOST:PORT/NAME or \
                 redis-cluster://HOST:PORT,HOST:PORT; by TLS rediss://, rediss-sentinel:// or rediss-cluster://",
            );
        }
        let address = RedisAddress::parse(text);
        if let (Err(fault), true) = (&address, RedisAddress::is_one(text)) {
            self.faults.push(format!("TEXTLEDGER_STORE: {fault}"));
        }
        let data_dir = data_dir.unwrap_or_else(|| PathBuf::from("./data"));
        match address {
            Ok(address) => {
                let certificates = certificates::read(self, address.is_tls);
                (Store::Redis(Box::new(RedisAddress { certificates, ..address })), data_dir)
            }
            // What a fault was told of is not used.
            Err(_) => (Store::Embedded(data_dir.clone()), data_dir),
        }
    }

    fn public_url(&mut self) -> Option<String> {
        let url = self.text("TEXTLEDGER_PUBLIC_URL")?;
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || rest.contains(['?', '#', ' ']))
        {
            self.fault(
                "TEXTLEDGER_PUBLIC_URL",
                "the URL by which Twilio reaches this service, such as https://sms.example.com, without query",
            );
        }
        Some(url.trim_end_matches('/').to_owned())
    }

    fn base_url(&mut self) -> String {
        let url = self.text_or_default("TWILIO_API_BASE_URL");
        if !url.starts_with("https://") && !url.starts_with("http://") {
            self.fault("TWILIO_API_BASE_URL", "a URL such as https://api.twilio.com");
        }
        url.trim_end_matches('/').to_owned()
    }

    fn key_prefix(&mut self) -> String {
        let prefix = self.text_or_default("TEXTLEDGER_KEY_PREFIX");
        if prefix.len() > 64 || prefix.contains(['{', '}']) || prefix.chars().any(char::is_whitespace) {
            self.fault("TEXTLEDGER_KEY_PREFIX", "at most 64 bytes without braces and blanks");
        }
        prefix
    }

    fn partitions(&mut self, embedded: bool, default: u16) -> u16 {
        let wanted = "a number from 1 to 16384; it spreads an organization over a Redis Cluster";
        let partitions = self.parsed("TEXTLEDGER_PARTITIONS", wanted).unwrap_or(default);
        if !(1..=PARTITIONS_MAX).contains(&partitions) {
            self.fault("TEXTLEDGER_PARTITIONS", wanted);
            return default;
        }
        if embedded && partitions != 1 {
            self.fault("TEXTLEDGER_PARTITIONS", "1, or left out, with the embedded store");
        }
        partitions
    }

    fn replicas_ack(&mut self) -> u16 {
        self.parsed_or_default("TEXTLEDGER_REPLICAS_ACK", "a number of replicas, such as 1")
    }

    fn switch(&mut self, name: &str) -> bool {
        self.parsed_or_default(name, "true or false")
    }

    fn opt_out_scope(&mut self) -> OptOutScope {
        self.read_or_default("TEXTLEDGER_OPT_OUT_SCOPE", "channel or all", |text| match text {
            "channel" => Some(OptOutScope::Channel),
            "all" => Some(OptOutScope::All),
            _ => None,
        })
    }

    fn required_opt_in(&mut self) -> RequiredOptIn {
        self.read_or_default("TEXTLEDGER_REQUIRE_OPT_IN", "none, marketing or all", |text| match text {
            "none" => Some(RequiredOptIn::None),
            "marketing" => Some(RequiredOptIn::Marketing),
            "all" => Some(RequiredOptIn::All),
            _ => None,
        })
    }

    fn reader(&mut self) -> ReplyReader {
        let words = |name| {
            let listed = self.text(name).unwrap_or_default();
            listed.split(',').map(|word| word.trim().to_owned()).filter(|word| !word.is_empty()).collect()
        };
        let further = FurtherWords {
            opt_out: words("TEXTLEDGER_OPT_OUT_WORDS"),
            opt_in: words("TEXTLEDGER_OPT_IN_WORDS"),
            help: words("TEXTLEDGER_HELP_WORDS"),
            join_codes: words("TEXTLEDGER_JOIN_CODES"),
        };
        ReplyReader::with_further(&further).unwrap_or_else(|error| {
            self.faults.push(format!(
                "TEXTLEDGER_OPT_OUT_WORDS, …_OPT_IN_WORDS, …_HELP_WORDS and …_JOIN_CODES: {error}"
            ));
            ReplyReader::default()
        })
    }

    fn identity(&mut self) -> Identity {
        Identity {
            name: self.line("TEXTLEDGER_SENDER_NAME", NAME_CHARACTERS_MAX),
            help_contact: self.line("TEXTLEDGER_HELP_CONTACT", HELP_CONTACT_CHARACTERS_MAX),
        }
    }

    fn line(&mut self, name: &str, characters_max: usize) -> Option<String> {
        let text = self.text(name);
        self.checked_line(name, characters_max, text)
    }

    /// `text` as one line of at most `characters_max`, or a fault of `name`.
    fn checked_line(&mut self, name: &str, characters_max: usize, text: Option<String>) -> Option<String> {
        identity::read_line(&text?, characters_max).unwrap_or_else(|_| {
            self.fault(name, &format!("one line of at most {characters_max} characters"));
            None
        })
    }

    fn replies(&mut self) -> Replies {
        Replies {
            language: self
                .parsed_or_default("TEXTLEDGER_REPLY_LANGUAGE", "the code of a language, such as en or es"),
            texts: ReplyTexts {
                opted_out: self.reply_text("TEXTLEDGER_OPT_OUT_REPLY"),
                opted_in: self.reply_text("TEXTLEDGER_OPT_IN_REPLY"),
                help: self.reply_text("TEXTLEDGER_HELP_REPLY"),
            },
        }
    }

    fn reply_text(&mut self, name: &str) -> Option<Text> {
        let text = Text::parse(&self.text(name)?);
        text.map_err(|error| self.faults.push(format!("{name} {error}"))).ok()
    }

    fn spool_max(&mut self) -> u64 {
        let wanted = "a size such as 1 GiB, 500 MB or a number of bytes";
        self.read_or_default("TEXTLEDGER_SPOOL_MAX", wanted, |text| bytes(text).filter(|&bytes| bytes > 0))
    }

    fn reconcile_after(&mut self) -> Vec<Duration> {
        let wanted = "never, or up to 16 growing times such as 15m,1h,6h,24h";
        self.read_or_default("TEXTLEDGER_RECONCILE_AFTER", wanted, |text| {
            if text == "never" {
                return Some(Vec::new());
            }
            let times: Vec<Duration> =
                text.split(',').map(|time| duration(time.trim())).collect::<Option<_>>()?;
            let is_schedule = times.is_sorted()
                && times.len() <= RECONCILE_TIMES_MAX
                && times.iter().all(|time| !time.is_zero());
            is_schedule.then_some(times)
        })
    }

    fn master_keys(&mut self) -> Option<MasterKeys> {
        let (given, _) = self.given.get("TEXTLEDGER_MASTER_KEY")?;
        let keys = MasterKeys::parse(given.expose_secret());
        if keys.is_err() {
            let wanted = "one key or more of 32 bytes in base64, as openssl rand -base64 32 prints, with commas between";
            self.fault("TEXTLEDGER_MASTER_KEY", wanted);
        }
        keys.ok()
    }

    fn review_deadline(&mut self) -> Duration {
        let wanted = "a time from 1m to 30d, such as 24h";
        self.read_or_default("TEXTLEDGER_REVIEW_DEADLINE", wanted, |text| {
            duration(text).filter(|deadline| REVIEW_DEADLINES.contains(deadline))
        })
    }

    fn retention(&mut self) -> Duration {
        let wanted = "a whole number of days, from 1 to 36500";
        self.read_or_default("TEXTLEDGER_RETENTION_DAYS", wanted, |text| {
            text.parse().ok().filter(|days| RETENTION_DAYS.contains(days)).map(|days| days * DAY)
        })
    }

    fn consent_retention(&mut self) -> Duration {
        let wanted = "a whole number of years, from 1 to 100";
        self.read_or_default("TEXTLEDGER_CONSENT_RETENTION_YEARS", wanted, |text| {
            text.parse()
                .ok()
                .filter(|years| CONSENT_RETENTION_YEARS.contains(years))
                .map(|years| years * LEAP_YEAR)
        })
    }

    fn cors_origins(&mut self) -> Vec<String> {
        let name = "TEXTLEDGER_CORS_ORIGINS";
        let origins = self.text(name).unwrap_or_default();
        let origins: Vec<String> = origins
            .split(',')
            .map(|origin| origin.trim().to_owned())
            .filter(|origin| !origin.is_empty())
            .collect();
        // As browsers write them: one with a path, or in capitals, would never be that of a page.
        let is_origin = |origin: &String| {
            let host = ["https://", "http://"].iter().find_map(|scheme| origin.strip_prefix(scheme));
            host.is_some_and(|host| {
                !host.is_empty()
                    && host.bytes().all(|byte| {
                        byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._:[]".contains(&byte)
                    })
            })
        };
        if !origins.iter().all(is_origin) {
            self.fault(name, "origins such as https://app.example.com, in lower case, separated by commas");
        }
        origins
    }

    fn workers(&mut self) -> usize {
        let wanted = "a number of threads from 1 to 256";
        let default = std::thread::available_parallelism().map_or(1, usize::from);
        let workers = self.parsed("TEXTLEDGER_WORKERS", wanted).unwrap_or(default);
        if !(1..=256).contains(&workers) {
            self.fault("TEXTLEDGER_WORKERS", wanted);
            return default;
        }
        workers
    }
}

/// How many times a message can be asked for.
const RECONCILE_TIMES_MAX: usize = 16;

/// How long a reply may be under review. The shortest time is longer than it takes to store one, so that no review ends
/// before it is open.
const REVIEW_DEADLINES: RangeInclusive<Duration> =
    Duration::from_secs(60)..=Duration::from_secs(30 * 24 * 60 * 60);

/// A day.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The longest year: what is kept for years is kept for no day less.
const LEAP_YEAR: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// How many days messages and entries of the streams may be kept: up to a century.
const RETENTION_DAYS: RangeInclusive<u32> = 1..=36_500;

/// How many years what shows a person's consent may be kept.
const CONSENT_RETENTION_YEARS: RangeInclusive<u32> = 1..=100;

/// Reads a size: a number of bytes, or with KB, MB, GB (powers of 1000) or KiB, MiB, GiB (powers of 1024), in any case.
fn bytes(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kb" => 1_000,
        "m" | "mb" => 1_000_000,
        "g" | "gb" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(unit)
}

/// Reads a time: a number and `s`, `m`, `h` or `d`.
pub fn duration(text: &str) -> Option<Duration> {
    let unit_s = match text.chars().last()? {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let number: u64 = text[..text.len() - 1].parse().ok()?;
    Some(Duration::from_secs(number.checked_mul(unit_s)?))
}

/// The default of a setting that has a fixed one.
fn default_of(name: &str) -> &'static str {
    match setting::named(name).map(|setting| setting.default) {
        Some(Fallback::Value(value)) => value,
        _ => panic!("the table of settings has no default value for {name}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::twilio::reply::Language;

    fn read(environment: &[(&'static str, &str)], file: &str) -> Result<Config, Invalid> {
        let environment = environment.iter().map(|(name, value)| (*name, (*value).to_owned()));
        Config::read(environment.collect(), file)
    }

    #[test]
    fn nothing_at_all_is_a_configuration() {
        let config = read(&[], "").unwrap();
        assert_eq!(config.listen.to_string(), "127.0.0.1:8080");
        assert!(matches!(config.store, Store::Embedded(folder) if folder == Path::new("./data")));
        assert_eq!((config.partitions, config.key_prefix.as_str()), (1, "tl"));
        assert!(config.accounts.is_empty() && config.unused.is_empty());
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let file = "textledger_key_prefix = \"file\"\ntextledger_partitions = 4\nredis_url = \"redis://a\"";
        let config = read(&[("TEXTLEDGER_KEY_PREFIX", "env")], file).unwrap();
        assert_eq!((config.key_prefix.as_str(), config.partitions), ("env", 4));
        let cluster = read(&[("TEXTLEDGER_STORE", "redis-cluster://a:1,b:2")], "").unwrap();
        assert_eq!(cluster.partitions, 16);
    }

    #[test]
    fn a_review_lasts_a_day_unless_another_time_within_bounds_is_set() {
        let deadline =
            |text| read(&[("TEXTLEDGER_REVIEW_DEADLINE", text)], "").map(|config| config.review_deadline);
        let hours = |hours: u64| Ok(Duration::from_secs(hours * 60 * 60));
        assert_eq!((deadline(""), deadline("72h")), (hours(24), hours(72)));
        assert_eq!((deadline("1m").is_ok(), deadline("30d")), (true, hours(30 * 24)));
        for wrong in ["59s", "31d", "0s", "soon"] {
            let Invalid(faults) = deadline(wrong).unwrap_err();
            assert!(
                faults[0].starts_with("TEXTLEDGER_REVIEW_DEADLINE must be a time from 1m to 30d"),
                "{wrong}"
            );
        }
    }

    #[test]
    fn things_are_kept_for_as_many_days_and_consent_for_as_many_years_as_are_set() {
        let kept = |name, text| {
            read(&[(name, text)], "")
                .map(|config| (config.retention.as_secs(), config.consent_retention.as_secs()))
        };
        const DAY_S: u64 = 24 * 60 * 60;
        let (days, years) = ("TEXTLEDGER_RETENTION_DAYS", "TEXTLEDGER_CONSENT_RETENTION_YEARS");
        assert_eq!(kept(days, ""), Ok((30 * DAY_S, 3_660 * DAY_S)));
        assert_eq!(kept(days, "36500"), Ok((36_500 * DAY_S, 3_660 * DAY_S)));
        assert_eq!(kept(years, "2"), Ok((30 * DAY_S, 732 * DAY_S)));
        for (name, text) in
            [(days, "0"), (days, "30d"), (days, "36501"), (days, "-1"), (years, "0"), (years, "101")]
        {
            let Invalid(faults) = kept(name, text).unwrap_err();
            assert!(
                faults[0].starts_with(&format!("{name} must be a whole number of ")),
                "{text}: {faults:?}"
            );
        }
    }

    #[test]
    fn every_fault_is_named_at_once_and_no_secret_shown() {
        let faults = read(
            &[
                ("TEXTLEDGER_LISTEN", "here"),
                ("TEXTLEDGER_STORE", "mysql://secret"),
                ("TEXTLEDGER_JWT_SECRET", "hunter2"),
                ("TWILIO_ACCOUNT_SID", "AC1"),
                ("TEXTLEDGER_PARTITIONS", "0"),
                ("TEXTLEDGER_API_KEYS", "a:king:00"),
                ("TWILIO_WHATSAPP_NUMBER", "whatsapp:brand"),
            ],
            "textledger_lisen = \"x\"\nlog = []",
        )
        .unwrap_err();
        let text = faults.to_string();
        assert_eq!(faults.0.len(), 10, "{text}");
        assert!(text.contains("unknown key textledger_lisen; did you mean textledger_listen?"), "{text}");
        assert!(text.contains("unknown key log; did you mean textledger_log?"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("secret\""), "{text}");
        let syntax = read(&[], "a = 1\ntwilio_auth_token = \"unfinished").unwrap_err().to_string();
        assert!(syntax.contains("line 2") && !syntax.contains("unfinished"), "{syntax}");
    }

    #[test]
    fn what_people_are_told_has_a_language_and_names_only_who_sends() {
        let config =
            read(&[("TEXTLEDGER_SENDER_NAME", " Acme "), ("TEXTLEDGER_HELP_REPLY", "{name} helps")], "");
        let config = config.unwrap();
        assert_eq!(
            (config.identity.name.as_deref(), config.replies.language),
            (Some("Acme"), Language::English)
        );
        assert!(config.replies.texts.help.is_some() && config.replies.texts.opted_out.is_none());
        for (name, wrong) in [
            ("TEXTLEDGER_REPLY_LANGUAGE", "English"),
            ("TEXTLEDGER_OPT_OUT_REPLY", "Bye, {Name}"),
            ("TEXTLEDGER_HELP_CONTACT", "one\ntwo"),
        ] {
            let faults = read(&[(name, wrong)], "").unwrap_err();
            assert!(faults.0.len() == 1 && faults.0[0].starts_with(name), "{faults}");
        }
    }

    #[test]
    fn accounts_of_the_file_stand_beside_that_of_the_environment() {
        let environment = [
            ("TWILIO_ACCOUNT_SID", "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
            ("TWILIO_AUTH_TOKEN", "hunter2"),
            ("TWILIO_AUTH_TOKEN_SECONDARY", "hunter3"),
        ];
        let acme = r#"
            [[accounts]]
            organization = "acme"
            account_sid = "ACbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
            auth_token = "hunter2"
            shared_keys = [{ id = "webhooks_sharedkey_1", secret = "hunter2" }]
            require_shared_key = true
        "#;
        let config = read(&environment, acme).unwrap();
        let organizations: Vec<_> =
            config.accounts.iter().map(|account| account.organization.as_str()).collect();
        assert_eq!(organizations, ["default", "acme"]);
        assert!(!format!("{config:?}").contains("hunter"));

        for (file, fault) in [
            (acme.replace("acme", "default"), "two accounts"),
            (acme.replace("bbbb", "aaaa"), "belongs to another organization"),
            (acme.replace("shared_keys", "shared_kyes"), "shared_kyes"),
            (acme.replace("auth_token = \"hunter2\"", "auth_token = \"\""), "not empty"),
            (acme.replace("secret = \"hunter2\"", "secret = \" \""), "not empty"),
            (acme.replace("auth_token", "token"), "unknown field"),
            (acme.replace("[[accounts]]", "[accounts]"), "accounts"),
        ] {
            let faults = read(&environment, &file).unwrap_err().to_string();
            assert!(faults.contains(fault) && !faults.contains("hunter"), "{faults}");
        }
        let alone = read(&[("TWILIO_REQUIRE_SHARED_KEY", "true"), environment[0], environment[1]], "");
        assert!(alone.unwrap_err().to_string().contains("TWILIO_SHARED_KEYS"));
    }

    #[test]
    fn sizes_and_times_have_units() {
        let config = read(&[("TEXTLEDGER_SPOOL_MAX", "2 MiB"), ("TEXTLEDGER_RECONCILE_AFTER", "1s, 2m")], "");
        let config = config.unwrap();
        assert_eq!(config.spool_max, 2 << 20);
        assert_eq!(config.reconcile_after, [Duration::from_secs(1), Duration::from_secs(120)]);
        assert_eq!(read(&[("TEXTLEDGER_SPOOL_MAX", "4096")], "").unwrap().spool_max, 4_096);
        for wrong in ["0", "x", "1 TiB", "99999999999999 GiB", "-1 GiB"] {
            assert!(read(&[("TEXTLEDGER_SPOOL_MAX", wrong)], "").is_err(), "{wrong}");
        }
        assert!(read(&[("TEXTLEDGER_RECONCILE_AFTER", "never")], "").unwrap().reconcile_after.is_empty());
        for wrong in ["15", "0s,15m", "1h,15m", "é", "99999999999999999999s"] {
            assert!(read(&[("TEXTLEDGER_RECONCILE_AFTER", wrong)], "").is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_configuration_shows_no_secret() {
        let config = read(
            &[
                ("TWILIO_ACCOUNT_SID", "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
                ("TWILIO_AUTH_TOKEN", "hunter2hunter2"),
                ("TEXTLEDGER_STORE", "redis://:hunter2@localhost"),
                ("TEXTLEDGER_JWT_SECRET", "hunter2hunter2hunter2hunter2hunter2"),
                ("TEXTLEDGER_STORE_BODIES", "true"),
            ],
            "",
        )
        .unwrap();
        assert!(!format!("{config:?}").contains("hunter2"));
        assert_eq!(config.unused, ["TEXTLEDGER_STORE_BODIES"]);
    }
}
