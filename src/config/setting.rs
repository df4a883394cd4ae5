//! Every setting: its name, default and meaning. `textledger config` and `docs/configuration.md` print this table, the
//! configuration takes its defaults from it, and a misspelt name is compared with it.

use std::fmt::Write;

/// One setting. Its name is in capitals in the environment and in lower case in the file.
#[derive(Debug)]
pub struct Setting {
    /// The name in the environment.
    pub name: &'static str,
    /// What holds if it is not given.
    pub default: Fallback,
    /// What it is for.
    pub meaning: &'static str,
    /// Whether this version uses it. One that it does not use yet is accepted with a warning.
    pub used: bool,
    /// How much of its value may be shown.
    pub secrecy: Secrecy,
    /// What may be given in its place, if it holds a secret: the path of a file that holds the value.
    pub file: Option<&'static str>,
}

/// What holds if a setting is not given.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// As if it were given with this value.
    Value(&'static str),
    /// What a sentence says.
    Otherwise {
        /// The sentence.
        said: &'static str,
        /// A value that it could be given; empty where none would do for two installations.
        example: &'static str,
    },
}

/// How much of a value may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrecy {
    /// All of it.
    Open,
    /// All but the password within the URL.
    PasswordInUrl,
    /// Nothing.
    Secret,
}

use Fallback::{Otherwise, Value};

impl Setting {
    const fn new(name: &'static str, default: Fallback, meaning: &'static str) -> Self {
        Self { name, default, meaning, used: true, secrecy: Secrecy::Open, file: None }
    }

    /// One without a default, and with an example.
    const fn unset(name: &'static str, example: &'static str, meaning: &'static str) -> Self {
        Self::new(name, Otherwise { said: "none", example }, meaning)
    }

    const fn unused(self) -> Self {
        Self { used: false, ..self }
    }

    /// One that holds a secret, which may be in a file that `file` names.
    const fn holding(self, secrecy: Secrecy, file: &'static str) -> Self {
        Self { secrecy, file: Some(file), ..self }
    }

    /// The name in the file.
    pub fn key(&self) -> String {
        self.name.to_ascii_lowercase()
    }
}

/// What is said where no text is configured.
const BUILT_IN_TEXT: &str = "a text that is built in";

/// The settings by subject, in the order in which they are read about.
pub const GROUPS: [(&str, &[Setting]); 9] = [
    (
        "Where it listens, and what it keeps where",
        &[
            Setting::unset(
                "TEXTLEDGER_CONFIG",
                "",
                "The TOML file, if --config does not name it. In the environment only.",
            ),
            Setting::new(
                "TEXTLEDGER_LISTEN",
                Value("127.0.0.1:8080"),
                "Address and port; port 0 picks one. The chosen address is printed as one JSON line on standard output.",
            ),
            Setting::unset(
                "TEXTLEDGER_WEBHOOK_LISTEN",
                "127.0.0.1:8081",
                "A further address, for what Twilio posts alone, with threads and connections of its own: what is asked there \
                 competes with nothing that is asked at TEXTLEDGER_LISTEN.",
            ),
            Setting::unset(
                "TEXTLEDGER_METRICS_LISTEN",
                "127.0.0.1:9090",
                "An address for /metrics alone. If it is set, they are nowhere else, and tell accounts apart.",
            ),
            Setting::new(
                "TEXTLEDGER_PUBLIC_URL",
                Otherwise { said: "http:// and the address", example: "https://sms.example.com" },
                "The URL by which Twilio reaches the service; signatures are checked against it.",
            ),
            Setting::new(
                "TEXTLEDGER_STORE",
                Value("embedded:./data"),
                "Where state is kept: embedded:FOLDER, redis://USER:PASSWORD@HOST:PORT/DATABASE, redis+unix:///PATH?db=DATABASE, \
                 redis-sentinel://HOST:PORT,HOST:PORT/NAME or redis-cluster://HOST:PORT,HOST:PORT; by TLS rediss://, \
                 rediss-sentinel:// and rediss-cluster://. If it is not given, REDIS_URL may name it.",
            )
            .holding(Secrecy::PasswordInUrl, "TEXTLEDGER_STORE_FILE"),
            Setting::unset(
                "REDIS_URL",
                "redis://127.0.0.1:6379",
                "The store, if TEXTLEDGER_STORE is not given.",
            )
            .holding(Secrecy::PasswordInUrl, "REDIS_URL_FILE"),
            Setting::unset(
                "TEXTLEDGER_REDIS_CA_FILE",
                "",
                "A file with the certificates (PEM) of the authorities by which Redis's certificate is believed, in place of the \
                 system's.",
            ),
            Setting::unset(
                "TEXTLEDGER_REDIS_CERT_FILE",
                "",
                "A file with our own certificate (PEM), for a Redis that asks for one. Given together with its key.",
            ),
            Setting::unset(
                "TEXTLEDGER_REDIS_KEY_FILE",
                "",
                "A file with the private key (PEM) of that certificate.",
            ),
            Setting::new(
                "TEXTLEDGER_DATA_DIR",
                Otherwise { said: "the embedded store's folder, else ./data", example: "./data" },
                "Where created secrets, and what is known of the store, are kept.",
            ),
            Setting::new("TEXTLEDGER_KEY_PREFIX", Value("tl"), "The first part of every Redis key."),
            Setting::new(
                "TEXTLEDGER_PARTITIONS",
                Otherwise { said: "1, on a cluster 16", example: "1" },
                "Partitions per organization; fixed by the first start. The embedded store has one.",
            ),
            Setting::new(
                "TEXTLEDGER_REPLICAS_ACK",
                Value("0"),
                "Replicas of Redis that must hold a write before it is acknowledged; fewer for a second count as a Redis \
                 that is away. On a cluster they are those of the node that has taken the write.",
            ),
            Setting::new(
                "TEXTLEDGER_SPOOL_DIR",
                Value("./spool"),
                "Where webhooks are kept while Redis is away.",
            ),
            Setting::new(
                "TEXTLEDGER_SPOOL_MAX",
                Value("1 GiB"),
                "How large the spool may become; beyond it webhooks are turned away with 503.",
            ),
        ],
    ),
    (
        "Secrets and callers",
        &[
            Setting::new(
                "TEXTLEDGER_MASTER_KEY",
                Otherwise { said: "created in the data folder; must be given with Redis", example: "" },
                "Seals credentials and texts in the store: 32 bytes in base64, as openssl rand -base64 32 prints. A list, \
                 separated by commas, rotates: the first seals, all open.",
            )
            .holding(Secrecy::Secret, "TEXTLEDGER_MASTER_KEY_FILE"),
            Setting::new(
                "TEXTLEDGER_JWT_SECRET",
                Otherwise { said: "created in the data folder", example: "" },
                "Signs and verifies tokens (HS256); at least 32 bytes.",
            )
            .holding(Secrecy::Secret, "TEXTLEDGER_JWT_SECRET_FILE"),
            Setting::unset(
                "TEXTLEDGER_JWKS_FILE",
                "",
                "A file with the public keys (JWKS) of the platform that issues tokens.",
            ),
            Setting::unset(
                "TEXTLEDGER_JWKS_URL",
                "https://id.example.com/.well-known/jwks.json",
                "Where that platform publishes its public keys (JWKS), in place of a file. Fetched at the start, again at \
                 every refresh, and when a token names a key that is not known, at most twice a minute.",
            ),
            Setting::new(
                "TEXTLEDGER_JWKS_REFRESH",
                Value("5m"),
                "How often they are fetched, from 30s to 1d. If it fails, the keys fetched last stay in use.",
            ),
            Setting::unset(
                "TEXTLEDGER_JWT_ISSUER",
                "https://id.example.com",
                "The iss that every token must have, those of textledger token too, which writes it.",
            ),
            Setting::unset(
                "TEXTLEDGER_JWT_AUDIENCE",
                "textledger",
                "The aud that every token must have, alone or in a list.",
            ),
            Setting::new(
                "TEXTLEDGER_JWT_REQUIRE_ORG",
                Value("false"),
                "Refuses tokens that do not name their organization, which is default otherwise.",
            ),
            Setting::new(
                "TEXTLEDGER_JWT_MAX_AGE",
                Otherwise { said: "none; the year 9999 is the last", example: "12h" },
                "The longest time until a token expires: from now, and from its iat if it has one, which must not be to come. A \
                 token that expires later is refused.",
            ),
            Setting::unset(
                "TEXTLEDGER_API_KEYS",
                "",
                "Callers that are services, besides the API keys that administrators make: a list of name:role:sha256hex, \
                 separated by commas. One with an organization behind it, name:role:sha256hex:organization, signs in to that, \
                 others to default.",
            )
            .holding(Secrecy::Secret, "TEXTLEDGER_API_KEYS_FILE"),
            Setting::new(
                "TEXTLEDGER_API_RATE",
                Value("100"),
                "Requests per second that each caller may make under /api/sms, five times as many at once.",
            ),
            Setting::unset(
                "TEXTLEDGER_CORS_ORIGINS",
                "",
                "Origins whose pages may call /api/sms from a browser, separated by commas.",
            ),
            Setting::new(
                "TEXTLEDGER_DROPIN_AUTH_TOKEN",
                Value("true"),
                "Whether the account's own credentials at Twilio, SID and auth token or API key, sign in at the drop-in for Twilio's \
                 libraries. Whoever has the token may do there whatever Twilio lets them do, but send around consent.",
            ),
            Setting::new(
                "TEXTLEDGER_UNSIGNED_RATE",
                Value("50"),
                "Webhook requests per second and peer that name no account and are compared with the keys of all. Behind a \
                 proxy all peers are one; what Twilio signs is taken without it.",
            ),
        ],
    ),
    (
        "What callers can take of it",
        &[
            Setting::new(
                "TEXTLEDGER_CONNECTIONS_MAX",
                Otherwise { said: "as many as the limit of open files allows, at most 8192", example: "1000" },
                "Open connections at TEXTLEDGER_LISTEN. Never more than the limit of open files allows. One more closes the \
                 one that can be spared best.",
            ),
            Setting::new(
                "TEXTLEDGER_CONNECTIONS_PER_PEER",
                Value("1024"),
                "Open connections of one address at TEXTLEDGER_LISTEN (of IPv6, of one /64 network) on which no valid token or \
                 signature was seen yet. Behind a reverse proxy, which is one address for all, as many as it may open.",
            ),
            Setting::new(
                "TEXTLEDGER_STREAMS_PER_CALLER",
                Value("16"),
                "Live streams of events that one user or API key may have open.",
            ),
            Setting::new(
                "TEXTLEDGER_STREAMS_PER_ORGANIZATION",
                Value("256"),
                "Live streams of events that one organization may have open.",
            ),
            Setting::new(
                "TEXTLEDGER_STREAMS_MAX",
                Value("1024"),
                "Live streams of events that may be open in all; never more than half of the connections.",
            ),
        ],
    ),
    (
        "The account at Twilio of the organization default; saved settings win",
        &[
            Setting::unset("TWILIO_ACCOUNT_SID", "", "The account. Given together with its token."),
            Setting::unset(
                "TWILIO_AUTH_TOKEN",
                "",
                "The account's token, which signs calls to Twilio and verifies webhooks.",
            )
            .holding(Secrecy::Secret, "TWILIO_AUTH_TOKEN_FILE"),
            Setting::unset(
                "TWILIO_AUTH_TOKEN_SECONDARY",
                "",
                "A second token that webhooks may be signed with, during a rotation.",
            )
            .holding(Secrecy::Secret, "TWILIO_AUTH_TOKEN_SECONDARY_FILE"),
            Setting::unset(
                "TWILIO_SHARED_KEYS",
                "",
                "Twilio's shared keys, which may sign webhooks too: a list of id:secret, separated by commas.",
            )
            .holding(Secrecy::Secret, "TWILIO_SHARED_KEYS_FILE"),
            Setting::new(
                "TWILIO_REQUIRE_SHARED_KEY",
                Value("false"),
                "Refuses webhooks that are signed with an auth token.",
            ),
            Setting::unset(
                "TWILIO_PHONE_NUMBER",
                "+15005550006",
                "The sender of SMS and MMS, unless a send names one.",
            ),
            Setting::unset(
                "TWILIO_WHATSAPP_NUMBER",
                "+15005550006",
                "The sender over WhatsApp, unless a send names one.",
            ),
            Setting::unset(
                "TWILIO_MESSAGING_SERVICE_SID",
                "",
                "Chooses the sender on a channel that has none configured.",
            ),
            Setting::new(
                "TWILIO_API_BASE_URL",
                Value("https://api.twilio.com"),
                "Twilio's API; another one for the simulator or a regional edge.",
            ),
            Setting::new(
                "TEXTLEDGER_CALLBACK_OVERRIDES",
                Value("rc=5&rp=5xx,ct,rt&ct=2000&rt=4000"),
                "Twilio's connection overrides, put behind # on every StatusCallback URL: how often Twilio tries again.",
            ),
        ],
    ),
    (
        "What a reply means, and what it is answered",
        &[
            Setting::new(
                "TEXTLEDGER_OPT_OUT_SCOPE",
                Value("channel"),
                "channel: STOP on SMS leaves WhatsApp alone. all: one STOP silences every channel. STOPALL always means \
                 all.",
            ),
            Setting::new(
                "TEXTLEDGER_TWILIO_OPT_OUT",
                Value("default"),
                "Who acts on STOP, START and HELP, if it is not as Twilio does by default: a list of senders such as \
                 12345=twilio,+15005550006=ours.",
            ),
            Setting::new(
                "TEXTLEDGER_REQUIRE_OPT_IN",
                Value("none"),
                "none: a person may be sent to until they opt out. marketing: messages of the category marketing only to \
                 who has opted in. all: everything but the category emergency.",
            ),
            Setting::new(
                "TEXTLEDGER_REVIEW_DEADLINE",
                Value("24h"),
                "How long somebody has to decide on a reply that may be an opt-out. Nothing is sent to the person on that \
                 channel meanwhile; then it becomes an opt-out. From 1m to 30d.",
            ),
            Setting::unset(
                "TEXTLEDGER_OPT_OUT_WORDS",
                "ADIOS,FORGET ME",
                "Further words that opt out, separated by commas.",
            ),
            Setting::unset(
                "TEXTLEDGER_OPT_IN_WORDS",
                "HOLA",
                "Further words that opt in, separated by commas.",
            ),
            Setting::unset(
                "TEXTLEDGER_HELP_WORDS",
                "WHO",
                "Further words that ask for help, separated by commas.",
            ),
            Setting::unset(
                "TEXTLEDGER_JOIN_CODES",
                "NEWS,SPRING",
                "Words that opt in when they stand behind JOIN, separated by commas; besides JOIN alone, and JOIN with two \
                 words and a hyphen between them, as WhatsApp's sandbox has it.",
            ),
            Setting::unset(
                "TEXTLEDGER_SENDER_NAME",
                "Acme",
                "Who sends, as people know them: named in what they are told. An organization's own display_name wins.",
            ),
            Setting::unset(
                "TEXTLEDGER_HELP_CONTACT",
                "help@acme.example",
                "Where people can ask: a phone number, a mail address or a URL. An organization's own help_contact wins.",
            ),
            Setting::new(
                "TEXTLEDGER_REPLY_LANGUAGE",
                Value("en"),
                "The language of the three texts below, and of answers to words that people of all languages use, such as STOP: \
                 a code such as es. An organization's own language wins.",
            ),
            Setting::new(
                "TEXTLEDGER_OPT_OUT_REPLY",
                Otherwise { said: BUILT_IN_TEXT, example: "{name}: You will get no more messages." },
                "What a person is told after an opt-out, where Twilio does not say it; {name} and {help_contact} are filled \
                 in. An organization's own text wins.",
            ),
            Setting::new(
                "TEXTLEDGER_OPT_IN_REPLY",
                Otherwise { said: BUILT_IN_TEXT, example: "{name}: Welcome. Reply HELP for help, STOP to unsubscribe." },
                "What a person is told after an opt-in, in the same way.",
            ),
            Setting::new(
                "TEXTLEDGER_HELP_REPLY",
                Otherwise { said: BUILT_IN_TEXT, example: "{name}: Reply STOP to unsubscribe. Help: {help_contact}" },
                "What a person is told who asks for help, in the same way.",
            ),
        ],
    ),
    (
        "Whether and when a message leaves",
        &[
            Setting::unset(
                "TEXTLEDGER_DEFAULT_REGION",
                "US",
                "The ISO country of numbers typed without +: with US, (415) 555-2671 is +14155552671.",
            ),
            Setting::new(
                "TEXTLEDGER_MPS",
                Otherwise {
                    said: "1 per long code, 3 toll-free, 100 short code, 10 alphanumeric, 80 WhatsApp",
                    example: "+15005550006=10,whatsapp=80",
                },
                "Segments per second of each sender, for what leaves from the queue: one number, or a list of senders and \
                 kinds.",
            ),
            Setting::new(
                "TEXTLEDGER_RECIPIENT_COOLDOWN",
                Value("0s"),
                "The least time between two messages to one recipient; what comes sooner is held. Category emergency is \
                 exempt.",
            ),
            Setting::unset(
                "TEXTLEDGER_QUIET_HOURS",
                "21:00-08:00",
                "When nothing leaves, by the clock of where the recipient is, as the number tells. It waits for the end; \
                 category emergency is exempt. A number of several time zones is left alone while it is quiet in any of \
                 them.",
            ),
            Setting::unset(
                "TEXTLEDGER_DAILY_LIMIT",
                "10000",
                "Messages per organization and day (UTC), counted when they are accepted, for the day on which they are due; \
                 a warning in the log at 80 %.",
            ),
            Setting::unset(
                "TEXTLEDGER_DAILY_LIMIT_PER_KEY",
                "1000",
                "Messages that one caller, an API key or a user, may ask for a day, counted in the same way; an API key may be \
                 made with a limit of its own.",
            ),
            Setting::new(
                "TEXTLEDGER_QUEUE_MAX",
                Value("100000"),
                "Messages of an organization that may wait: scheduled, held, or for their turn. What would have to wait \
                 beyond is refused; what leaves at once is not.",
            ),
            Setting::new(
                "TEXTLEDGER_QUEUE_BYTES_MAX",
                Value("256 MiB"),
                "What their texts may take in the store; the text of a batch counts once.",
            ),
            Setting::new(
                "TEXTLEDGER_COUNTRIES",
                Otherwise {
                    said: "for SMS the countries of the senders and of TEXTLEDGER_DEFAULT_REGION, the United States and \
                           Canada as one; for WhatsApp all",
                    example: "US,CA,GB",
                },
                "The ISO countries that messages may go to, or all. Numbers of premium rate, shared cost, satellite networks and \
                 the like are always refused.",
            ),
            Setting::new(
                "TEXTLEDGER_PUMPING_GUARD",
                Otherwise { said: "20/10m, for other countries than those of the senders", example: "20/10m" },
                "How many first messages to 1,000 neighbouring numbers are ordinary, in how much time, by SMS; to 100,000 \
                 numbers five times as many. What is beyond is held until an administrator decides. What is set here is for \
                 all countries; off for none.",
            ),
            Setting::new(
                "TEXTLEDGER_LOST_ANSWER_AFTER",
                Value("10m"),
                "How long after the call a message whose answer was lost counts as not taken by Twilio, if it is not found in \
                 Twilio's list, which may lag by minutes; then it is sent again. It is searched for before as well. From 2s to 24h.",
            ),
            Setting::new(
                "TEXTLEDGER_SUPPRESS_AFTER",
                Value("3"),
                "How many messages in a row must fail with an error that is the number's own fault (21211, 21614, 30005, 30006, \
                 63003, 63024 and the like) until nothing more is sent to it on that channel; from 1 to 100, or never.",
            ),
            Setting::new(
                "TEXTLEDGER_RECONCILE_AFTER",
                Value("15m,1h,6h,24h"),
                "How long after its first status a message without a final one is asked for at Twilio; the last is also \
                 how often messages are listed there; never for neither.",
            ),
            Setting::new(
                "TEXTLEDGER_RELAY_PRIVATE",
                Value("false"),
                "Whether the callers' own StatusCallback URLs, and the URLs at which the application is told what happens, may be loopback or \
                 private addresses.",
            ),
        ],
    ),
    (
        "How long things are kept",
        &[
            Setting::new(
                "TEXTLEDGER_RETENTION_DAYS",
                Value("30"),
                "How many days messages, entries of the streams, messages received, batches and what is kept beside them stay. By \
                 age, never anything younger. What is still open (waiting, its answer lost, to be asked for) stays until it is \
                 closed. From 1 to 36500.",
            ),
            Setting::new(
                "TEXTLEDGER_CONSENT_RETENTION_YEARS",
                Value("10"),
                "How many years the words of replies under review and what was decided are kept at the least, whatever the other \
                 setting says. Consent and its changes stay. From 1 to 100.",
            ),
        ],
    ),
    (
        "The process",
        &[
            Setting::new(
                "TEXTLEDGER_WORKERS",
                Otherwise { said: "one per core", example: "2" },
                "Threads that serve requests.",
            ),
            Setting::new(
                "TEXTLEDGER_LOG",
                Value("info"),
                "What is logged: a filter such as warn,textledger=debug.",
            ),
        ],
    ),
    (
        "Accepted and not used yet: no effect in this version, and a warning in the log",
        &[
            Setting::new("TEXTLEDGER_STORE_BODIES", Value("false"), "Whether message texts are kept.")
                .unused(),
        ],
    ),
];

/// Every setting.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.into_iter().flat_map(|(_, settings)| settings)
}

/// Every name that can be given: those of settings, and those of files that hold secrets.
pub fn names() -> impl Iterator<Item = &'static str> {
    all().flat_map(|setting| [Some(setting.name), setting.file]).flatten()
}

/// The setting `name`.
pub fn named(name: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.name == name)
}

/// The widest line of the printed file.
const COLUMNS_MAX: usize = 110;

/// All settings as a TOML file in which each is a comment, with its meaning and its default.
pub fn commented_file() -> String {
    let mut file = String::from(
        "# Settings of textledger. Each is an environment variable too, in capitals; the environment wins.\n\
         # To change one, take the # away. What is commented out here has its default; an empty text counts as not given.\n\
         # What holds a secret may be in a file instead, whose path is given under the same name with _FILE behind it.\n",
    );
    for (title, settings) in GROUPS {
        let _ = write!(file, "\n\n## {title}\n");
        for setting in settings {
            let (default, example) = match setting.default {
                Value(value) => (String::new(), value),
                Otherwise { said, example } => (format!(" Default: {said}."), example),
            };
            file.push('\n');
            for line in wrapped(&format!("{}{default}", setting.meaning), COLUMNS_MAX - "# ".len()) {
                let _ = writeln!(file, "# {line}");
            }
            let _ = writeln!(file, "# {} = {}", setting.key(), toml_text(example));
        }
    }
    file.push_str(ACCOUNTS);
    file
}

/// The tables of the file that have no name in the environment.
const ACCOUNTS: &str = r#"

## Accounts at Twilio of further organizations; saved settings win

# [[accounts]]
# organization = "acme"
# account_sid = "AC..."
# auth_token = "..."
# auth_token_secondary = "..."
# shared_keys = [{ id = "webhooks_sharedkey_...", secret = "..." }]
# require_shared_key = false
# phone_number = "+15005550006"
# whatsapp_number = "+15005550006"
# messaging_service_sid = "MG..."
# display_name = "Acme"
# help_contact = "help@acme.example"
"#;

/// A text as TOML writes it.
pub fn toml_text(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split(' ') {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

/// What another first part counts, in letters: more than slips of the finger within a name.
const OTHER_FIRST_PART: usize = 3;

/// The setting that `key` was meant to be, perhaps without its first part or with another one, and how many letters differ.
pub fn nearest(key: &str) -> Option<(&'static Setting, usize)> {
    let key = key.to_ascii_lowercase();
    let rest = |name: &str| name.split_once('_').map_or(name, |(_, rest)| rest).to_owned();
    let distance = |setting: &'static Setting| {
        let name = setting.key();
        let whole = strsim::damerau_levenshtein(&name, &key);
        let without = strsim::damerau_levenshtein(&rest(&name), &key);
        let with_another = strsim::damerau_levenshtein(&rest(&name), &rest(&key)) + OTHER_FIRST_PART;
        (setting, whole.min(without).min(with_another))
    };
    all().map(distance).min_by_key(|(_, distance)| *distance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn every_setting_can_be_taken_out_of_its_comment() {
        let file = commented_file();
        let (settings, _) = file.split_once("## Accounts").unwrap();
        let uncommented = settings.lines().map(|line| {
            let setting = all().any(|setting| line.starts_with(&format!("# {} = ", setting.key())));
            if setting { line.trim_start_matches("# ") } else { line }
        });
        let uncommented: Vec<&str> = uncommented.collect();
        assert_eq!(uncommented.iter().filter(|line| line.contains(" = ")).count(), all().count());
        let read = Config::read([].into(), &uncommented.join("\n")).unwrap();
        assert_eq!((read.daily_limit, read.partitions), (Some(10_000), 1));
    }

    #[test]
    fn what_holds_a_secret_may_be_in_a_file_that_the_same_name_with_file_behind_it_names() {
        for setting in all() {
            let file = (setting.secrecy != Secrecy::Open).then(|| format!("{}_FILE", setting.name));
            assert_eq!(setting.file.map(str::to_owned), file);
        }
    }

    #[test]
    fn names_are_unique_and_what_is_not_used_stands_apart() {
        let mut names: Vec<&str> = names().collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        for (title, settings) in GROUPS {
            assert!(settings.iter().all(|setting| setting.used != title.contains("not used yet")), "{title}");
        }
    }
}
