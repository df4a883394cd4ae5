//! Small texts under names, changed by comparing: what the verbs keep that is neither a message nor a consent. What a text means is its owner's business.

use std::time::Duration;

use async_trait::async_trait;

use super::Error;
use crate::domain::{Organization, audit::Entry};

/// The most documents that one call of [`Documents::documents`] returns.
pub const DOCUMENTS_MAX: usize = 500;

/// What kind of document it is; names are unique within a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Settings of the organization of that name; of the installation.
    Settings,
    /// Settings of the organization of that name that are not in force: nobody has proven yet that the account is theirs;
    /// of the installation.
    PendingSettings,
    /// Which organization the account of that SID belongs to; of the installation.
    Account,
    /// Counts the changes of settings, or of API keys; of the installation.
    Revision,
    /// Preferences of the user of that name.
    Preferences,
    /// Whose number that is: the user in whose preferences it stands.
    NumberOwner,
    /// A change of the preferences of the user of that name, which waits for a code to be confirmed.
    Confirmation,
    /// A request with an `Idempotency-Key`, and its answer.
    Request,
    /// What a batch is about.
    Batch,
    /// The messages of a batch, some at a time.
    Members,
    /// A status that is to be told to the caller's own URL.
    Relay,
    /// That what earlier versions kept has been brought into the form of this one.
    Upgrade,
    /// When the person of that name was last told how to get help.
    HelpAnswers,
    /// A reply that was put under review, with its words and what was decided; by its SID.
    Review,
    /// Which replies may be under review, in the order in which they came.
    OpenReview,
    /// An API key, by organization and SID; of the installation.
    ApiKey,
    /// When the API key of that SID was last used.
    ApiKeyUse,
    /// That a message may be held as one of a burst, and to which block: by what its number begins with, and its id.
    HeldTraffic,
    /// What was decided on blocks of numbers.
    TrafficDecisions,
    /// That nothing is sent to the person on the channel of that name, since their messages fail.
    Suppression,
    /// Why the queue of an account, or of a sender, rests.
    Pause,
    /// How far the endpoint of that name has been told.
    Forward,
    /// A form that Twilio posted, until the application has been told of it; by what it tells of.
    Posted,
    /// The key of the pseudonyms of erased persons; of the installation.
    PseudonymKey,
}

impl Kind {
    /// The word in keys.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Settings => "settings",
            Kind::PendingSettings => "pending_settings",
            Kind::Account => "account",
            Kind::Revision => "revision",
            Kind::Preferences => "preferences",
            Kind::NumberOwner => "number_owner",
            Kind::Confirmation => "confirmation",
            Kind::Request => "request",
            Kind::Batch => "batch",
            Kind::Members => "members",
            Kind::Relay => "relay",
            Kind::Upgrade => "upgrade",
            Kind::HelpAnswers => "help_answers",
            Kind::Review => "review",
            Kind::OpenReview => "open_review",
            Kind::ApiKey => "api_key",
            Kind::ApiKeyUse => "api_key_use",
            Kind::HeldTraffic => "held_traffic",
            Kind::TrafficDecisions => "traffic_decisions",
            Kind::Suppression => "suppression",
            Kind::Pause => "pause",
            Kind::Forward => "forward",
            Kind::Posted => "posted",
            Kind::PseudonymKey => "pseudonym_key",
        }
    }

    /// Whether documents of this kind are listed: what is not needs no list to be kept.
    pub fn is_listed(self) -> bool {
        matches!(
            self,
            Kind::Settings
                | Kind::PendingSettings
                | Kind::Preferences
                | Kind::Review
                | Kind::OpenReview
                | Kind::ApiKey
                | Kind::HeldTraffic
                | Kind::Suppression
                | Kind::Pause
        )
    }

    /// Whether documents of this kind are kept in one place with those of all such kinds, so that
    /// [`Documents::change_documents`] can change several in one step.
    pub fn is_kept_together(self) -> bool {
        match self {
            Kind::Settings
            | Kind::PendingSettings
            | Kind::Account
            | Kind::Revision
            | Kind::Preferences
            | Kind::NumberOwner
            | Kind::ApiKey => true,
            Kind::Confirmation
            | Kind::Request
            | Kind::Batch
            | Kind::Members
            | Kind::Relay
            | Kind::Upgrade
            | Kind::HelpAnswers
            | Kind::Review
            | Kind::OpenReview
            | Kind::ApiKeyUse
            | Kind::HeldTraffic
            | Kind::TrafficDecisions
            | Kind::Suppression
            | Kind::Pause
            | Kind::Forward
            | Kind::Posted
            | Kind::PseudonymKey => false,
        }
    }
}

/// A change of one document: `after` is put in the place of `before`, `None` standing for no document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DocumentChange<'a> {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: &'a str,
    /// What has to be there.
    pub before: Option<&'a str>,
    /// What is there afterwards; the same as `before` if the others may only change while this stays as it is.
    pub after: Option<&'a str>,
}

/// See the [module](self), and the store's promises.
#[async_trait]
pub trait Documents {
    /// The document `name`.
    async fn document(
        &self,
        organization: &Organization,
        kind: Kind,
        name: &str,
    ) -> Result<Option<String>, Error>;

    /// Changes one document, or several of kinds that are kept together ([`Kind::is_kept_together`]), each named once, and
    /// keeps them for `keep` or for ever. Adds `entry` to the audit in the same step, so that there is never the one without
    /// the other. Returns whether every `before` was there; if not, nothing is written.
    async fn change_with_entry(
        &self,
        organization: &Organization,
        changes: &[DocumentChange<'_>],
        keep: Option<Duration>,
        entry: Option<&Entry>,
    ) -> Result<bool, Error>;

    /// Puts `after` in the place of `before`, `None` standing for no document, and keeps it for `keep` or for ever.
    /// Returns whether `before` was there; if not, nothing is written.
    async fn change_document(
        &self,
        organization: &Organization,
        kind: Kind,
        name: &str,
        before: Option<&str>,
        after: Option<&str>,
        keep: Option<Duration>,
    ) -> Result<bool, Error> {
        let change = DocumentChange { kind, name, before, after };
        self.change_with_entry(organization, &[change], keep, None).await
    }

    /// Changes several documents of kinds that are kept together, or none of them, and keeps them for ever.
    async fn change_documents(
        &self,
        organization: &Organization,
        changes: &[DocumentChange<'_>],
    ) -> Result<bool, Error> {
        self.change_with_entry(organization, changes, None, None).await
    }

    /// The documents of a kind that is listed, by name, behind `after` or from the first, at most `limit` and
    /// [`DOCUMENTS_MAX`] of them. There are fewer only if there are no more: those that have ended hide none behind them.
    async fn documents(
        &self,
        organization: &Organization,
        kind: Kind,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Vec<(String, String)>, Error>;
}
