//! Words of the domain as the document tells them: the domain itself knows no document.
#![allow(dead_code, reason = "they are read by their schemas alone")]

use utoipa::ToSchema;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$word_doc:meta])* $word:ident),+ $(,)? })+) => {
        $($(#[$doc])*
        #[derive(ToSchema)]
        #[schema(rename_all = "snake_case")]
        pub enum $name { $($(#[$word_doc])* $word),+ })+
    };
}

words! {
    /// Where a message travels.
    Channel {
        /// SMS and MMS.
        Sms,
        /// WhatsApp.
        Whatsapp,
        /// RCS.
        Rcs,
    }
    /// Channels that consent knows.
    ConsentChannel {
        /// SMS, MMS and RCS.
        Sms,
        /// WhatsApp.
        Whatsapp,
        /// Every channel.
        All,
    }
    /// What is known of a person's wish.
    ConsentState {
        /// Never asked; may be sent to.
        Unknown,
        /// May be sent to.
        OptedIn,
        /// Must not be sent to.
        OptedOut,
    }
    /// What a consent event tells.
    ConsentEventState {
        /// The person opted in.
        OptedIn,
        /// The person opted out.
        OptedOut,
        /// A reply that may be an opt-out waits for a person to read it.
        Review,
    }
    /// Why a message waits.
    Reason {
        /// For its turn.
        Turn,
        /// For the time that it was asked for.
        Scheduled,
        /// Until the recipient's quiet hours are over.
        QuietHours,
        /// Until the recipient may be sent to again.
        Cooldown,
        /// To be tried again: Twilio did not process it.
        Retry,
        /// For another message to arrive, which makes it needless.
        Fallback,
    }
    /// Who told of a status.
    StatusSource {
        /// The answer to the call.
        Api,
        /// A status callback.
        Callback,
        /// Twilio was asked.
        Poll,
        /// Twilio Event Streams.
        EventStream,
    }
    /// Whether a batch goes on.
    BatchState {
        /// Something is still to be done.
        Running,
        /// Nothing is left to be done.
        Done,
        /// Called off.
        Canceled,
    }
    /// Where events begin.
    From {
        /// At the oldest that is kept.
        Start,
    }
}

/// What Twilio knows of a number's line.
#[derive(ToSchema)]
pub struct Line {
    /// `mobile`, `landline`, `fixedVoip`, `nonFixedVoip`, `tollFree` and so on.
    pub r#type: Option<String>,
    /// Who runs it.
    pub carrier_name: Option<String>,
    /// The country of a mobile network.
    pub mobile_country_code: Option<String>,
    /// The mobile network.
    pub mobile_network_code: Option<String>,
    /// Why Twilio does not know.
    pub error_code: Option<u32>,
}

/// Webhooks whose signature was refused.
#[derive(ToSchema)]
pub struct Refusals {
    /// Newest first.
    pub refusals: Vec<Refusal>,
}

/// A webhook whose signature was refused.
#[derive(ToSchema)]
pub struct Refusal {
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// Its method.
    pub method: String,
    /// Its path.
    pub path: String,
    /// The account that it claims to come from, if that is known.
    pub account_sid: Option<String>,
    /// Who sent it.
    pub peer: Option<String>,
    /// Its `Host` header.
    pub host: Option<String>,
    /// Why it was refused.
    pub reason: String,
    /// What is wrong, if that was found out.
    pub cause: Option<String>,
    /// The same in words.
    pub detail: Option<String>,
    /// What to change.
    pub mend: Option<String>,
}
