//! Words that requests and answers choose from, each with what it means.

use serde_json::{Value, json};

use crate::{
    domain,
    twilio::{self, reply::Language},
};

/// Words of which a field has one.
pub trait Words: Copy + PartialEq + 'static {
    /// What they are called in the document.
    const NAME: &'static str;
    /// What they say.
    const MEANING: &'static str;
    /// Each of them, as it is written, with what it means.
    const ALL: &'static [(Self, &'static str, &'static str)];

    /// The word.
    fn as_str(self) -> &'static str {
        let word = Self::ALL.iter().find(|(value, ..)| *value == self);
        word.map(|(_, word, _)| *word).expect("every word is listed")
    }

    /// How the document describes them.
    fn schema() -> Value {
        let words: Vec<_> = Self::ALL.iter().map(|(_, word, _)| word).collect();
        let lines = Self::ALL.iter().map(|(_, word, meaning)| format!("\n- `{word}`: {meaning}"));
        let description = format!("{}\n{}", Self::MEANING, lines.collect::<String>());
        json!({ "type": "string", "enum": words, "description": description })
    }
}

macro_rules! words {
    ($(
        #[doc = $meaning:literal]
        $(#[$attribute:meta])*
        $name:ident { $(#[doc = $word_meaning:literal] $variant:ident = $word:literal),+ $(,)? }
    )+) => {$(
        #[doc = $meaning]
        $(#[$attribute])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $(#[doc = $word_meaning] $variant),+ }

        impl Words for $name {
            const NAME: &'static str = stringify!($name);
            const MEANING: &'static str = $meaning.trim_ascii();
            const ALL: &'static [(Self, &'static str, &'static str)] =
                &[$((Self::$variant, $word, $word_meaning.trim_ascii())),+];
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                serde_json::from_value(<Self as Words>::schema()).expect("what describes words is a schema")
            }
        }

        impl utoipa::ToSchema for $name {}
    )+};
}

words! {
    /// What a service may be ready for.
    Readiness {
        /// Messages can be sent.
        Sends = "sends",
    }
    /// Where a message travels.
    Channel {
        /// SMS and MMS.
        Sms = "sms",
        /// WhatsApp.
        Whatsapp = "whatsapp",
        /// RCS.
        Rcs = "rcs",
    }
    /// The channels that consent is kept for.
    ConsentChannel {
        /// SMS, MMS and RCS.
        Sms = "sms",
        /// WhatsApp.
        Whatsapp = "whatsapp",
        /// Every channel.
        All = "all",
    }
    /// What is known of a person's wish.
    ConsentState {
        /// Never asked; may be sent to.
        Unknown = "unknown",
        /// May be sent to.
        OptedIn = "opted_in",
        /// Must not be sent to.
        OptedOut = "opted_out",
    }
    /// What a consent event says.
    ConsentEventState {
        /// The person opted in.
        OptedIn = "opted_in",
        /// The person opted out.
        OptedOut = "opted_out",
        /// A reply that may be an opt-out waits for a person to read it.
        Review = "review",
    }
    /// What a person can wish.
    Wish {
        /// To get messages.
        OptedIn = "opted_in",
        /// To get none.
        OptedOut = "opted_out",
    }
    /// The languages of the page on which a person changes their consent.
    PageLanguage {
        /// English.
        English = "en",
        /// Spanish.
        Spanish = "es",
        /// French.
        French = "fr",
        /// Portuguese.
        Portuguese = "pt",
        /// German.
        German = "de",
    }
    /// What a caller may name as the source of a wish.
    ClaimedSource {
        /// The caller.
        Api = "api",
        /// A file.
        Import = "import",
        /// The person's preferences.
        Preferences = "preferences",
        /// A link that the person followed.
        Link = "link",
    }
    /// What somebody decides on a reply that may be an opt-out.
    ReviewDecision {
        /// The person asked for no more messages.
        OptOut = "opt_out",
        /// They did not.
        Dismiss = "dismiss",
    }
    /// What becomes of first messages to a block of numbers.
    TrafficDecision {
        /// They leave, however many they are.
        Release = "release",
        /// None leaves.
        Refuse = "refuse",
        /// What was decided before ends: they are judged as all others.
        Judge = "judge",
    }
    /// What an API key may do.
    Role {
        /// Everything.
        Admin = "admin",
        /// Everything.
        Master = "master",
        /// Everything.
        Developer = "developer",
        /// Send, notify and read.
        Sender = "sender",
        /// Read.
        Viewer = "viewer",
        /// Nothing of the organization's.
        User = "user",
    }
    /// What became of the code that confirms a number.
    Confirmation {
        /// It is on its way.
        Sent = "sent",
        /// It is held back and leaves later.
        Held = "held",
    }
    /// What a notice can be about.
    Category {
        /// Something waits for approval.
        WorkflowApproval = "workflow_approval",
        /// Something has been assigned.
        TaskAssignment = "task_assignment",
        /// An inspection is due.
        InspectionReminder = "inspection_reminder",
        /// Danger.
        Emergency = "emergency",
        /// Somebody is invited.
        UserInvitation = "user_invitation",
        /// Anything else.
        General = "general",
    }
    /// What the application can be told of.
    ForwardEvent {
        /// Messages that people send.
        Inbound = "inbound",
        /// What becomes of messages sent.
        Status = "status",
        /// Opt-outs and opt-ins.
        Consent = "consent",
    }
    /// In which form the application is told.
    ForwardFormat {
        /// The form that Twilio posted, signed with the account's auth token as Twilio signs.
        Twilio = "twilio",
        /// JSON, signed as Standard Webhooks says.
        Standard = "standard",
    }
    /// How it goes with an endpoint.
    EndpointState {
        /// It takes what it is told.
        Working = "working",
        /// It took nothing of what it was told last.
        Failing = "failing",
        /// It failed for a day. Nothing is told it until a replay.
        Paused = "paused",
    }
    /// The channel of what follows.
    FallbackChannel {
        /// SMS.
        Sms = "sms",
    }
    /// Why a message waits.
    Reason {
        /// For its turn.
        Turn = "turn",
        /// For the time that it was asked for.
        Scheduled = "scheduled",
        /// Until the recipient's quiet hours are over.
        QuietHours = "quiet_hours",
        /// Until the recipient may be sent to again.
        Cooldown = "cooldown",
        /// Until somebody has decided on a reply of the recipient's that may be an opt-out.
        Review = "review",
        /// Because it is one of a burst of first messages to neighbouring numbers.
        SuspiciousTraffic = "suspicious_traffic",
        /// To be tried again: Twilio did not process it.
        Retry = "retry",
        /// For another message to arrive, which makes it needless.
        Fallback = "fallback",
        /// Until the account is in order: Twilio takes nothing from it.
        Account = "account",
    }
    /// Where a status came from.
    StatusSource {
        /// The answer to the call.
        Api = "api",
        /// A status callback.
        Callback = "callback",
        /// Twilio was asked.
        Poll = "poll",
        /// Twilio Event Streams.
        EventStream = "event_stream",
    }
    /// Whether a batch goes on.
    BatchState {
        /// Something is still to be done.
        Running = "running",
        /// Nothing is left to be done.
        Done = "done",
        /// Called off.
        Canceled = "canceled",
    }
    /// The type of an event.
    EventType {
        /// A message's status changed.
        Delivery = "delivery",
        /// A message was received.
        Inbound = "inbound",
        /// A person opted out or in, or asks for review.
        Consent = "consent",
    }
    /// Where events begin.
    EventsFrom {
        /// At the oldest that is kept.
        Start = "start",
    }
}

impl Words for Language {
    const NAME: &'static str = "Language";
    const MEANING: &'static str = "A language that replies are read in.";
    const ALL: &'static [(Self, &'static str, &'static str)] = &{
        let mut words = [(Language::English, "", ""); Language::ALL.len()];
        let mut index = 0;
        while index < words.len() {
            let language = Language::ALL[index];
            words[index] = (language, language.code(), language.name());
            index += 1;
        }
        words
    };
}

impl utoipa::PartialSchema for Language {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        serde_json::from_value(<Self as Words>::schema()).expect("what describes words is a schema")
    }
}

impl utoipa::ToSchema for Language {}

impl From<Role> for domain::Role {
    fn from(word: Role) -> Self {
        match word {
            Role::Admin => domain::Role::Admin,
            Role::Master => domain::Role::Master,
            Role::Developer => domain::Role::Developer,
            Role::Sender => domain::Role::Sender,
            Role::Viewer => domain::Role::Viewer,
            Role::User => domain::Role::User,
        }
    }
}

impl From<ForwardEvent> for domain::ForwardEvent {
    fn from(word: ForwardEvent) -> Self {
        match word {
            ForwardEvent::Inbound => domain::ForwardEvent::Inbound,
            ForwardEvent::Status => domain::ForwardEvent::Status,
            ForwardEvent::Consent => domain::ForwardEvent::Consent,
        }
    }
}

impl From<ForwardFormat> for domain::ForwardFormat {
    fn from(word: ForwardFormat) -> Self {
        match word {
            ForwardFormat::Twilio => domain::ForwardFormat::Twilio,
            ForwardFormat::Standard => domain::ForwardFormat::Standard,
        }
    }
}

impl From<Channel> for twilio::Channel {
    fn from(word: Channel) -> Self {
        match word {
            Channel::Sms => twilio::Channel::Sms,
            Channel::Whatsapp => twilio::Channel::Whatsapp,
            Channel::Rcs => twilio::Channel::Rcs,
        }
    }
}

impl From<PageLanguage> for twilio::reply::Language {
    fn from(word: PageLanguage) -> Self {
        match word {
            PageLanguage::English => twilio::reply::Language::English,
            PageLanguage::Spanish => twilio::reply::Language::Spanish,
            PageLanguage::French => twilio::reply::Language::French,
            PageLanguage::Portuguese => twilio::reply::Language::Portuguese,
            PageLanguage::German => twilio::reply::Language::German,
        }
    }
}
