//! Who did what: an entry for everything that a caller has had done, in the order in which it was done.
//!
//! An entry names who, what and when, and says what changed in words and counts of a closed list ([`Facts`]). So nothing
//! can get into it by mistake that does not belong there: no secret, no text of a message, and of a person's number only
//! the ends.
//!
//! Written down is what sends something, changes something or hands something out. **What changes nothing is not written
//! down**, or whoever repeats it could fill the record without an end: preferences that are so already, a wish that says less
//! than the person's own word, a decision that was made, a batch that was called off, a batch or a notice of which nothing
//! leaves, a placeholder that stands for no message.
//!
//! Some things are written down even if nothing comes of them. Nobody does so more often than callers may call at all, which
//! is limited for each of them:
//!
//! - What is asked of Twilio for a message that Twilio has, by whoever may send: its entry comes before the call, since what
//!   Twilio has done cannot be taken back. Twilio may say no, and may never have had the message.
//! - What only administrators do: settings and API keys, which are kept in another place than their entry, so that it comes
//!   before and the change may fail; settings that are saved as they were, which seals them with the newest key; and a file of
//!   wishes, which is many steps: it has an entry before the first of them, and another after the last.

use std::{fmt, time::Duration};

use serde::Serialize;
use serde_json::{Map, Value};

use super::{BatchId, HistoryId, KeySid, MessageId, Principal, UnixMs, pumping::Prefix};
use crate::twilio::{MessageSid, address::mask};

/// The longest name of a caller in an entry, in characters: a token may call its user anything.
const NAME_CHARACTERS_MAX: usize = 255;

/// The longest entry as it is stored, in bytes. It follows from the longest names, request id and lists of fields, and is
/// told so that nobody has to wonder what a year of entries takes.
pub const ENTRY_BYTES_MAX: usize = 4 * 1024;

/// A place in the record. Later ones are greater.
pub type Place = HistoryId;

/// The place behind everything that was done before `at`, and before everything else.
pub fn place_before(at: UnixMs) -> Place {
    Place { ms: at - Duration::from_millis(1), seq: u64::MAX, partition: u16::MAX }
}

/// What was done, as it is written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Who did it.
    pub agent: Agent,
    /// What it was.
    pub action: Action,
    /// What it was done to, if that has a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Subject>,
    /// What else is known of it.
    #[serde(skip_serializing_if = "Facts::is_empty")]
    pub facts: Facts,
    /// In which request, by the name that the caller was told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// Who did something. Written as `user:ada`, `api_key:crm`, `command:root` or `person`, in the store too: of everything
/// that is stored for a message, its entry is not to be the longest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "String")]
pub enum Agent {
    /// A caller.
    Principal(Principal),
    /// The person whom it is about, by a link of their own.
    Person,
}

impl Agent {
    /// The caller, if it was one.
    pub fn principal(&self) -> Option<&Principal> {
        match self {
            Agent::Principal(principal) => Some(principal),
            Agent::Person => None,
        }
    }
}

impl fmt::Display for Agent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Agent::Principal(principal) => principal.fmt(f),
            Agent::Person => f.write_str(PERSON),
        }
    }
}

/// The word for the person whom it is about.
const PERSON: &str = "person";

impl From<Agent> for String {
    fn from(agent: Agent) -> Self {
        agent.to_string()
    }
}

/// Declares the actions: what each is, its word, and how the log says it.
macro_rules! actions {
    ($(#[doc = $meaning:literal] $variant:ident = $word:literal, $sentence:literal;)+) => {
        /// What can be done.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
        pub enum Action {
            $(#[doc = $meaning] #[serde(rename = $word)] $variant,)+
        }

        impl Action {
            /// Every action.
            pub const ALL: &'static [Action] = &[$(Action::$variant),+];

            /// The word in the API and in the log.
            pub const fn as_str(self) -> &'static str {
                match self { $(Action::$variant => $word,)+ }
            }

            /// What it is.
            pub const fn meaning(self) -> &'static str {
                match self { $(Action::$variant => $meaning.trim_ascii(),)+ }
            }

            /// How the log says it.
            pub fn sentence(self) -> &'static str {
                match self { $(Action::$variant => $sentence,)+ }
            }
        }
    };
}

actions! {
    /// A message was asked for.
    MessageSend = "message.send", "a message was asked for";
    /// A message that had not left was called off, or Twilio was asked to call it off.
    MessageCancel = "message.cancel", "calling off a message was asked for";
    /// Twilio was asked to change a message that it has.
    MessageUpdate = "message.update", "a change of a message at Twilio was asked for";
    /// Twilio was asked to forget a message.
    MessageDelete = "message.delete", "the deletion of a message at Twilio was asked for";
    /// Twilio was asked for something else than a message, by whoever has the auth token of the account.
    TwilioCall = "twilio.call", "a call to Twilio was asked for";
    /// One text to many was asked for.
    BatchCreate = "batch.create", "a batch was asked for";
    /// What had not left of a batch was called off.
    BatchCancel = "batch.cancel", "batch canceled";
    /// A notice to users was asked for.
    Notify = "notify", "a notice to users was asked for";
    /// A person's wish was recorded.
    ConsentChange = "consent.change", "consent recorded";
    /// A file of wishes was taken over.
    ConsentImport = "consent.import", "consent imported";
    /// A file of wishes is about to be taken over.
    ConsentImportBegin = "consent.import_begin", "an import of consent began";
    /// Everybody's wishes were asked for, and are handed out from then on.
    ConsentExport = "consent.export", "an export of consent was asked for";
    /// All data of a person was to be erased, but what they have opted out of.
    PersonErase = "person.erase", "the erasure of a person's data was asked for";
    /// A link to a person's page was made.
    ConsentLink = "consent.link", "a link to a person's consent was made";
    /// A doubtful reply was decided on.
    ReviewDecide = "review.decide", "a reply under review was decided on";
    /// A user's preferences were changed.
    PreferencesChange = "preferences.change", "preferences changed";
    /// A code was asked for, to a number that a user says is theirs.
    PreferencesSendCode = "preferences.send_code", "a code to confirm a number was asked for";
    /// A code was told, and the change that waited for it made.
    PreferencesConfirm = "preferences.confirm", "preferences changed by a code";
    /// A change of the account at Twilio was asked for; it may have failed.
    SettingsChange = "settings.change", "a change of settings was asked for";
    /// Twilio has confirmed saved settings, which are about to come into force; it may have failed.
    SettingsVerify = "settings.verify", "saved settings were verified and are about to come into force";
    /// Saved settings are not the organization's own, and are about to be marked so; it may have failed.
    SettingsRefuse = "settings.refuse", "saved settings were refused and are about to be marked so";
    /// An API key was asked for; it may not have been made.
    ApiKeyCreate = "api_key.create", "an API key was asked for";
    /// Another secret of an API key was asked for; it may not have been made.
    ApiKeyRotate = "api_key.rotate", "another secret of an API key was asked for";
    /// The end of an API key was asked for; it may have failed.
    ApiKeyRevoke = "api_key.revoke", "the end of an API key was asked for";
    /// A number is sent to again to which nothing was, since its messages failed.
    SuppressionLift = "suppression.lift", "a number is sent to again whose messages failed";
    /// The application was to be told again what had happened.
    ForwardReplay = "forward.replay", "the application is told again what has happened";
    /// First messages to a block of numbers are let go for a time.
    TrafficRelease = "traffic.release", "first messages to a block of numbers were released";
    /// First messages to a block of numbers are refused for a time.
    TrafficRefuse = "traffic.refuse", "first messages to a block of numbers were refused";
    /// First messages to a block of numbers are judged again as all others.
    TrafficJudge = "traffic.judge", "what was decided on a block of numbers has ended";
}

/// What something was done to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Subject {
    /// A message of ours.
    Message(MessageId),
    /// A message by the name that Twilio gave it.
    MessageSid(MessageSid),
    /// A batch.
    Batch(BatchId),
    /// A person.
    Person(Masked),
    /// A user of the application's.
    User(String),
    /// An API key.
    ApiKey(KeySid),
    /// The numbers that begin with this.
    Numbers(Prefix),
}

/// The words for what a [`Subject`] is, as they are stored.
const SUBJECTS: [&str; 7] = ["message", "message_sid", "batch", "person", "user", "api_key", "numbers"];

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Subject::Message(id) => id.fmt(f),
            Subject::MessageSid(sid) => sid.fmt(f),
            Subject::Batch(id) => id.fmt(f),
            Subject::Person(number) => number.fmt(f),
            Subject::User(user) => f.write_str(user),
            Subject::ApiKey(sid) => sid.fmt(f),
            Subject::Numbers(prefix) => prefix.fmt(f),
        }
    }
}

/// The ends of a person's number: enough to know it again beside the person's own history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Masked(String);

impl Masked {
    /// The ends of `number`.
    pub fn of(number: &str) -> Self {
        Self(mask(number))
    }

    /// What is left of it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Masked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Declares the facts, each of which may be left out.
macro_rules! facts {
    ($($(#[$doc:meta])* $name:ident: $type:ty;)+) => {
        /// What else is known of something that was done: words, counts and names of fields, never a value.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
        pub struct Facts {
            $($(#[$doc])* #[serde(skip_serializing_if = "Option::is_none")] pub $name: Option<$type>,)+
        }

        impl Facts {
            fn is_empty(&self) -> bool {
                $(self.$name.is_none())&&+
            }
        }
    };
}

facts! {
    /// On which channel.
    channel: String;
    /// What the person wishes.
    state: String;
    /// How the wish came to whoever recorded it.
    source: String;
    /// What was decided on a reply.
    decision: String;
    /// Whose number it is about, where the subject is something else.
    phone: Masked;
    /// What a user chose for SMS, if they chose.
    sms_enabled: bool;
    /// What a user chose for WhatsApp, if they chose.
    whatsapp_enabled: bool;
    /// Whether a user's number was changed or taken away.
    number_changed: bool;
    /// The fields that changed, with commas between them.
    fields: String;
    /// Whether Twilio has confirmed the settings.
    verification: String;
    /// The account at Twilio.
    account_sid: String;
    /// What an API key is called.
    name: String;
    /// What it may do.
    role: String;
    /// How many were accepted.
    accepted: usize;
    /// How many were not, or could not be read.
    rejected: usize;
    /// How many messages had not come to their end when they were called off.
    canceled: usize;
    /// How many users it is for.
    users: usize;
    /// How many messages it makes.
    queued: usize;
    /// How many lines are about to be imported.
    lines: usize;
    /// How many lines changed something.
    imported: usize;
    /// How many lines changed nothing.
    unchanged: usize;
    /// How many lines would have undone what a person said.
    kept: usize;
    /// For how many seconds.
    for_s: u64;
    /// What of Twilio's was asked for: method and kind of resource.
    resource: String;
}

/// An [`Entry`] as it is read: in words and not in the types of this version, since one of a later version may have written
/// it, and no entry may hide itself or those beside it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordedEntry {
    /// Who did it, as [`Agent`] is written.
    pub agent: String,
    /// What it was.
    pub action: String,
    /// What it was done to, without its kind; with it, `kind:name`, if the kind is not known here.
    pub subject: Option<String>,
    /// What else is known of it.
    pub facts: Map<String, Value>,
    /// In which request.
    pub request_id: Option<String>,
}

impl RecordedEntry {
    /// What is `stored`. Of what cannot be read at all, there is an entry without words.
    pub fn read(stored: &[u8]) -> Self {
        let Ok(Value::Object(mut fields)) = serde_json::from_slice(stored) else { return Self::default() };
        let mut field = |name| fields.remove(name).unwrap_or_default();
        Self {
            agent: text(field("agent")).unwrap_or_default(),
            action: text(field("action")).unwrap_or_default(),
            subject: subject(field("subject")),
            facts: match field("facts") {
                Value::Object(facts) => facts,
                _ => Map::new(),
            },
            request_id: text(field("request_id")),
        }
    }
}

/// What `value` says, in its own words if it is a text.
fn text(value: Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text),
        value => Some(value.to_string()),
    }
}

/// What a stored [`Subject`] is called.
fn subject(stored: Value) -> Option<String> {
    match stored {
        Value::Object(fields) if fields.len() == 1 => {
            let (kind, name) = fields.into_iter().next()?;
            let name = text(name)?;
            Some(if SUBJECTS.contains(&kind.as_str()) { name } else { format!("{kind}:{name}") })
        }
        stored => text(stored),
    }
}

/// Who asks for something, and in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origin {
    principal: Principal,
    request_id: Option<String>,
}

impl Origin {
    /// A request of `principal`, whose name is cut off where it is longer than an entry has room for.
    pub fn new(principal: &Principal, request_id: Option<String>) -> Self {
        let name = principal.name.chars().take(NAME_CHARACTERS_MAX).collect();
        Self { principal: Principal { kind: principal.kind, name }, request_id }
    }

    /// Who asks.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// That they did `action`.
    pub fn entry(&self, action: Action) -> Entry {
        Entry {
            agent: Agent::Principal(self.principal.clone()),
            action,
            subject: None,
            facts: Facts::default(),
            request_id: self.request_id.clone(),
        }
    }
}

impl Entry {
    /// That a person did `action` by a link of their own.
    pub fn of_person(action: Action) -> Self {
        Self { agent: Agent::Person, action, subject: None, facts: Facts::default(), request_id: None }
    }

    /// The same, done to `subject`.
    pub fn about(self, subject: Subject) -> Self {
        Self { subject: Some(subject), ..self }
    }

    /// The same, with what else is known of it.
    pub fn with(self, facts: Facts) -> Self {
        Self { facts, ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(stored: &Value) -> RecordedEntry {
        RecordedEntry::read(stored.to_string().as_bytes())
    }

    #[test]
    fn an_entry_is_stored_in_a_stable_form_and_reads_back() {
        let number = Masked::of("+14155550100");
        let origin = Origin::new(&Principal::user("ada"), Some("r1".to_owned()));
        let facts = Facts { state: Some("opted_out".to_owned()), kept: Some(1), ..Facts::default() };
        let entry = origin.entry(Action::ConsentChange).about(Subject::Person(number)).with(facts);
        let stored = json!({
            "agent": "user:ada", "action": "consent.change",
            "subject": { "person": "+1415***0100" }, "facts": { "state": "opted_out", "kept": 1 }, "request_id": "r1",
        });
        assert_eq!(serde_json::to_value(&entry).unwrap(), stored);
        let expected = RecordedEntry {
            agent: "user:ada".to_owned(),
            action: "consent.change".to_owned(),
            subject: Some("+1415***0100".to_owned()),
            facts: stored["facts"].as_object().unwrap().clone(),
            request_id: Some("r1".to_owned()),
        };
        assert_eq!(read(&stored), expected);
        let person = Entry::of_person(Action::ConsentChange);
        let stored = json!({ "agent": "person", "action": "consent.change" });
        assert_eq!(serde_json::to_value(&person).unwrap(), stored);
        let expected = ("person", None, true);
        let read = read(&stored);
        assert_eq!((read.agent.as_str(), read.subject, read.facts.is_empty()), expected);
    }

    #[test]
    fn what_a_later_version_has_written_reads_as_it_stands() {
        let stored = json!({
            "agent": { "robot": "r2" }, "action": "template.approve", "subject": { "template": "t1" },
            "facts": { "ballots": [1, 2] }, "request_id": 7, "further": true,
        });
        let expected = RecordedEntry {
            agent: r#"{"robot":"r2"}"#.to_owned(),
            action: "template.approve".to_owned(),
            subject: Some("template:t1".to_owned()),
            facts: stored["facts"].as_object().unwrap().clone(),
            request_id: Some("7".to_owned()),
        };
        assert_eq!(read(&stored), expected);
        let subjects = json!({ "action": "x", "subject": [{ "user": "ada" }, { "user": "ben" }] });
        assert_eq!(read(&subjects).subject.unwrap(), r#"[{"user":"ada"},{"user":"ben"}]"#);
        for nothing in ["", "no JSON", "[]", "7", r#"{"facts": 7}"#] {
            assert_eq!(RecordedEntry::read(nothing.as_bytes()), RecordedEntry::default(), "{nothing}");
        }
    }

    #[test]
    fn each_kind_of_subject_is_stored_under_a_word_that_is_known() {
        let all = [
            Subject::Message(MessageId::new(0, 1)),
            Subject::MessageSid(MessageSid::parse("SM00000000000000000000000000000001").unwrap()),
            Subject::Batch(BatchId::new(1)),
            Subject::Person(Masked::of("+14155550100")),
            Subject::User("ada".to_owned()),
            Subject::ApiKey(KeySid::of([1; 16])),
            Subject::Numbers("+4479".parse().unwrap()),
        ];
        let words = all.each_ref().map(|subject| {
            let stored = serde_json::to_value(subject).unwrap();
            assert_eq!(read(&json!({ "subject": stored })).subject.unwrap(), subject.to_string());
            stored.as_object().unwrap().keys().next().unwrap().clone()
        });
        assert_eq!(words, SUBJECTS);
    }

    #[test]
    fn an_action_has_one_word() {
        for action in Action::ALL {
            assert_eq!(serde_json::to_value(action).unwrap(), action.as_str());
        }
    }

    #[test]
    fn the_longest_entry_is_within_its_bound() {
        // What JSON needs most bytes for.
        let longest = |characters| "\u{1}".repeat(characters);
        let origin = Origin::new(&Principal::user(longest(10_000)), Some("x".repeat(128)));
        let facts = Facts { fields: Some("a_field_of_settings".repeat(15)), ..Facts::default() };
        let entry = origin.entry(Action::PreferencesChange).about(Subject::User(longest(255))).with(facts);
        assert!(serde_json::to_string(&entry).unwrap().len() <= ENTRY_BYTES_MAX);
    }
}
