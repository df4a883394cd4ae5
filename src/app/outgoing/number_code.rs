//! Confirms that a number is a user's own: a code is sent to it, and only who reads it there can tell it.
//!
//! The change of preferences that names the number waits until the code is told, for a few minutes. The code leaves as any
//! message does, so that consent and all limits hold for it, and is kept as a fingerprint alone. How often a code may be
//! told and sent is bounded, so that nobody guesses one and nobody is pestered by a stranger who types their number.

use std::time::Duration;

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::{
    Outgoing,
    content::Content,
    send::{Send, SendError, Sent},
};
use crate::{
    app::{
        Core, DECISIONS_MAX, Scope,
        consents::{
            preferences::{ChangeError, Preferences, PreferencesChange},
            record::Author,
        },
        contended,
    },
    domain::{
        Organization, Outbound, Person, UnixMs,
        audit::{Action, Entry, Facts, Masked, Origin, Subject},
    },
    store::{self, Kind},
    twilio::{BareAddress, Channel},
};

/// How long a code is good for.
const CODE_LIFE: Duration = Duration::from_secs(10 * 60);

/// Codes there are: six digits.
const CODES: u32 = 1_000_000;

/// How often a code may be told wrong: then another one is needed.
const TRIES_MAX: u32 = 5;

/// Codes for one user, and to one number, in [`SENT_PERIOD`].
const SENT_MAX: u64 = 3;

/// See [`SENT_MAX`].
pub const SENT_PERIOD: Duration = Duration::from_secs(60 * 60);

/// What the history says that a code's message is about.
const CATEGORY: &str = "number_confirmation";

/// A change of preferences that waits for a code, as it is stored.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Pending {
    /// The code's fingerprint.
    code: String,
    phone_number: BareAddress,
    sms_enabled: Option<bool>,
    whatsapp_enabled: Option<bool>,
    until: UnixMs,
    /// How often a code has been told.
    tries: u32,
}

/// A code that has been sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CodeSent {
    /// Until when it is good.
    pub until: UnixMs,
    /// When its message leaves, if something holds it back.
    pub held_until: Option<UnixMs>,
}

/// Why no code was sent.
#[derive(Debug, thiserror::Error)]
pub enum CodeError {
    /// Too many have been sent for the user or to the number.
    #[error("{SENT_MAX} codes were sent within an hour")]
    TooMany,
    /// The message with the code was not sent.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// Why a code does not confirm anything.
#[derive(Debug, thiserror::Error)]
pub enum ConfirmError {
    /// None is expected: none was asked for, or it is too old, or was told wrong too often.
    #[error("no code is expected: it was never asked for, is too old, or was told wrong too often")]
    NotExpected,
    /// It is another one.
    #[error("the code is wrong; it may be told {tries_left} more times")]
    Wrong {
        /// How often it may still be told.
        tries_left: u32,
    },
    /// It is right, and the change is refused all the same.
    #[error(transparent)]
    Refused(#[from] ChangeError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

/// The counter of codes to `phone_number`.
pub(in crate::app) fn counter_of(phone_number: &BareAddress) -> String {
    format!("codes to {}", phone_number.as_str())
}

/// Forgets the change of preferences that waits for the code in `outbound`, if there was one in it.
pub(in crate::app) async fn forget_confirmation(
    core: &Core,
    organization: &Organization,
    outbound: &Outbound,
) -> Result<(), store::Error> {
    let user = outbound.user_id.as_ref().filter(|_| outbound.category.as_deref() == Some(CATEGORY));
    let Some(user) = user else { return Ok(()) };
    let kind = Kind::Confirmation;
    let Some(text) = core.store.document(organization, kind, user).await? else { return Ok(()) };
    let pending: Pending = store::decode("a confirmation", &text)?;
    if Person::of(&pending.phone_number) == outbound.recipient() {
        core.store.change_document(organization, kind, user, Some(&text), None, None).await?;
    }
    Ok(())
}

impl Scope<'_, Outgoing> {
    /// Sends a code to `phone_number`; who tells it to [`Scope::confirm_number`] makes `change`, which names that number.
    pub async fn send_number_code(
        &self,
        user: &str,
        phone_number: &BareAddress,
        change: &PreferencesChange,
        by: &Origin,
    ) -> Result<CodeSent, CodeError> {
        for counted in [format!("codes for user {user}"), counter_of(phone_number)] {
            let count = self.core.store.count(self.organization, &counted, SENT_MAX, SENT_PERIOD).await?;
            if count.is_none() {
                return Err(CodeError::TooMany);
            }
        }
        let code = format!("{:06}", rand::rng().random_range(0..CODES));
        let mut pending = Pending {
            code: self.core.keys.fingerprint(&self.context(user, phone_number), code.as_bytes()),
            phone_number: phone_number.clone(),
            sms_enabled: change.sms_enabled,
            whatsapp_enabled: change.whatsapp_enabled,
            until: self.core.now_ms() + CODE_LIFE,
            tries: 0,
        };
        // Stored before it is sent, so that nobody is told a code that is not known here.
        let stored = self.expect(user, &pending).await?;
        let sent = self.send_code(user, phone_number, &code, by).await?;
        let held_until = sent.held.map(|(until, _)| until);
        if let Some(held_until) = held_until {
            pending.until = held_until + CODE_LIFE;
            // Unless it has been replaced meanwhile.
            self.replace(user, Some(&stored), Some(&pending)).await?;
        }
        Ok(CodeSent { until: pending.until, held_until })
    }

    /// Makes the change that waits for `code`, if it is the right one, and adds `entry` to the audit with it.
    pub async fn confirm_number(
        &self,
        user: &str,
        code: &str,
        author: Author<'_>,
        entry: Entry,
    ) -> Result<Preferences, ConfirmError> {
        for _ in 0..DECISIONS_MAX {
            let (stored, pending) = self.pending(user).await?;
            let (Some(stored), Some(mut pending)) = (stored, pending) else {
                return Err(ConfirmError::NotExpected);
            };
            if pending.until <= self.core.now_ms() || pending.tries >= TRIES_MAX {
                return Err(ConfirmError::NotExpected);
            }
            // Counted before it is compared, so that codes that are told at the same moment count like others.
            pending.tries += 1;
            if !self.replace(user, Some(&stored), Some(&pending)).await? {
                continue;
            }
            let Pending { phone_number, sms_enabled, whatsapp_enabled, tries, .. } = &pending;
            let context = self.context(user, phone_number);
            if !self.core.keys.is_fingerprint(&pending.code, &context, code.as_bytes()) {
                return Err(ConfirmError::Wrong { tries_left: TRIES_MAX - tries });
            }
            let change = PreferencesChange {
                phone_number: Some(Some(phone_number.clone())),
                sms_enabled: *sms_enabled,
                whatsapp_enabled: *whatsapp_enabled,
            };
            let consents = self.consents.of(self.organization);
            let entry = entry.with(Facts { phone: Some(Masked::of(phone_number)), ..Facts::default() });
            let preferences =
                consents.change_preferences(user, &change, author, Some(phone_number), &entry).await?;
            // Used up; a code that has been asked for meanwhile stays.
            self.replace(user, Some(&store::encode(&pending)), None).await?;
            return Ok(preferences);
        }
        Err(contended().into())
    }

    async fn send_code(
        &self,
        user: &str,
        phone_number: &BareAddress,
        code: &str,
        by: &Origin,
    ) -> Result<Sent, SendError> {
        let facts = Facts { phone: Some(Masked::of(phone_number)), ..Facts::default() };
        let entry = by.entry(Action::PreferencesSendCode).about(Subject::User(user.to_owned())).with(facts);
        let body = format!(
            "{code} is your code. It confirms this number for your notifications and is good for 10 minutes. If you did \
             not ask for it, ignore this."
        );
        self.send(Send {
            to: phone_number.clone().on(Channel::Sms),
            from: None,
            messaging_service_sid: None,
            content: Content { body: Some(body), ..Content::default() },
            send_at: None,
            category: Some(CATEGORY.to_owned()),
            user_id: Some(user.to_owned()),
            status_callback: None,
            id: None,
            entry,
        })
        .await
    }

    /// Stores `pending` in the place of what the user was to confirm before, and returns it as it is stored.
    async fn expect(&self, user: &str, pending: &Pending) -> Result<String, store::Error> {
        for _ in 0..DECISIONS_MAX {
            let (before, _) = self.pending(user).await?;
            if self.replace(user, before.as_deref(), Some(pending)).await? {
                return Ok(store::encode(pending));
            }
        }
        Err(contended())
    }

    async fn replace(
        &self,
        user: &str,
        before: Option<&str>,
        after: Option<&Pending>,
    ) -> Result<bool, store::Error> {
        let keep = after.map(|after| after.until.since(self.core.now_ms()));
        let after = after.map(store::encode);
        let (kind, after) = (Kind::Confirmation, after.as_deref());
        self.core.store.change_document(self.organization, kind, user, before, after, keep).await
    }

    /// The text that is stored, and what it says.
    async fn pending(&self, user: &str) -> Result<(Option<String>, Option<Pending>), store::Error> {
        let text = self.core.store.document(self.organization, Kind::Confirmation, user).await?;
        let pending = text.as_ref().map(|text| store::decode("a confirmation", text)).transpose()?;
        Ok((text, pending))
    }

    /// What a code is bound to, so that it confirms nothing else.
    fn context(&self, user: &str, phone_number: &BareAddress) -> String {
        format!("code/{}/{}/{user}", self.organization, phone_number.as_str())
    }
}
