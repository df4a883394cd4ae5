//! What each user wants, on which number: the toggles of an account page, and the person's own STOP and START.
//!
//! A STOP is never written into anybody's preferences. What counts for a channel follows from the two whenever it is
//! asked for: the later of the user's toggle and the word that came from the phone. So neither can miss the other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Consents,
    record::{Author, Outcome, Record},
};
use crate::{
    app::{DECISIONS_MAX, Scope, audit, contended},
    domain::{
        Actor, Consent, Person, UnixMs,
        audit::{Entry, Facts},
        consent::{ChannelConsent, ConsentChannel, ConsentSource, ConsentState, NoConsent},
        rights::{self, Verdict},
    },
    store::{self, DocumentChange, Kind, documents::DOCUMENTS_MAX},
    twilio::{BareAddress, Channel, address::mask},
};

/// How often within a day a user may turn a channel on or give a number. Each change is kept for ever, in the audit and in the
/// person's history, so that there has to be an end; and nobody changes their mind so often. To turn a channel off or to
/// take the number away is never refused: nobody can do so more often than the other.
pub const OWN_CHANGES_MAX: u64 = 20;

/// The day of [`OWN_CHANGES_MAX`], from the first change on.
pub const OWN_CHANGES_PERIOD: Duration = Duration::from_secs(24 * 60 * 60);

/// A user's preferences as they are stored.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct StoredPreferences {
    phone_number: Option<BareAddress>,
    sms: Toggle,
    whatsapp: Toggle,
    updated_at: Option<UnixMs>,
}

/// A choice, and when it was made; nobody has chosen if that is missing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Toggle {
    enabled: bool,
    at: Option<UnixMs>,
}

/// A user's preferences.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preferences {
    /// The user.
    pub user_id: String,
    /// Their number, in E.164.
    pub phone_number: Option<BareAddress>,
    /// Whether they get SMS; unless they chose, they do.
    pub sms_enabled: bool,
    /// Whether they get WhatsApp messages; unless they chose, they do not.
    pub whatsapp_enabled: bool,
    /// What is known of the number's consent.
    pub consent: Consent,
    /// When they were last changed here.
    pub updated_at: Option<UnixMs>,
}

/// A change of preferences; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PreferencesChange {
    /// Another number, in E.164, or none.
    pub phone_number: Option<Option<BareAddress>>,
    /// SMS on or off.
    pub sms_enabled: Option<bool>,
    /// WhatsApp on or off.
    pub whatsapp_enabled: Option<bool>,
}

/// Why preferences were not changed.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The person has opted out of the channel from their phone, and only they can take that back.
    #[error("the recipient has opted out")]
    NoConsent {
        /// Why.
        reason: NoConsent,
        /// On which channel.
        channel: Channel,
    },
    /// Another user has the number.
    #[error("the number belongs to another user")]
    NumberTaken,
    /// Nobody vouches that the number is the user's own.
    #[error("the number is not confirmed as the user's own")]
    NumberUnconfirmed,
    /// The user has changed their own preferences too often.
    #[error("you have changed your preferences {OWN_CHANGES_MAX} times within a day")]
    TooOften,
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
}

impl Toggle {
    /// What counts: this, or the person's own word if that is later.
    fn with(self, default: bool, known: &ChannelConsent) -> bool {
        let chosen = if self.at.is_some() { self.enabled } else { default };
        let is_later = known.at > self.at;
        match (known.state, known.source) {
            (ConsentState::OptedOut, _) => false,
            (ConsentState::OptedIn, Some(source)) if source.is_the_persons() && is_later => true,
            _ => chosen,
        }
    }
}

impl StoredPreferences {
    fn preferences(self, user_id: &str, consent: Consent) -> Preferences {
        Preferences {
            user_id: user_id.to_owned(),
            sms_enabled: self.sms.with(true, &consent.sms),
            whatsapp_enabled: self.whatsapp.with(false, &consent.whatsapp),
            phone_number: self.phone_number,
            consent,
            updated_at: self.updated_at,
        }
    }
}

impl Scope<'_, Consents> {
    /// The preferences of `user`; those of one who never chose are the defaults.
    pub async fn preferences(&self, user: &str) -> Result<Preferences, store::Error> {
        let (_, stored) = self.stored_preferences(user).await?;
        let consent = self.consent_of(stored.phone_number.as_ref()).await?;
        Ok(stored.preferences(user, consent))
    }

    /// Changes the preferences of `user`. Turning a channel off is an opt-out of its number; turning it on takes such an
    /// opt-out back, and no other. A number belongs to one user; one who changes their own preferences gets a number only
    /// if it is `vouched_for`. If something changes, `entry` is added to the audit in the same step.
    pub async fn change_preferences(
        &self,
        user: &str,
        change: &PreferencesChange,
        author: Author<'_>,
        vouched_for: Option<&BareAddress>,
        entry: &Entry,
    ) -> Result<Preferences, ChangeError> {
        let mut is_counted = author.actor != Actor::User;
        for _ in 0..DECISIONS_MAX {
            let (before, mut stored) = self.stored_preferences(user).await?;
            let known = stored.clone();
            let mut owners = Vec::new();
            if let Some(phone_number) = &change.phone_number {
                let former = std::mem::replace(&mut stored.phone_number, phone_number.clone());
                owners = self.owner_changes(user, former.as_ref(), phone_number.as_ref()).await?;
                let is_vouched_for = former == *phone_number || vouched_for == phone_number.as_ref();
                if phone_number.is_some() && author.actor == Actor::User && !is_vouched_for {
                    return Err(ChangeError::NumberUnconfirmed);
                }
            }
            let consent = self.consent_of(stored.phone_number.as_ref()).await?;
            let (now, mut records) = (self.core.now_ms(), Vec::new());
            let is_renumbered = stored.phone_number != known.phone_number;
            let (mut is_changed, mut adds) = (is_renumbered, is_renumbered && stored.phone_number.is_some());
            let wishes = [
                (change.sms_enabled, &mut stored.sms, Channel::Sms, ConsentChannel::Sms),
                (change.whatsapp_enabled, &mut stored.whatsapp, Channel::Whatsapp, ConsentChannel::Whatsapp),
            ];
            for (wanted, toggle, channel, consent_channel) in wishes {
                let Some(enabled) = wanted else { continue };
                let known = consent.on(channel);
                if enabled && let Some(reason) = refused_for_good(known, author.actor) {
                    return Err(ChangeError::NoConsent { reason, channel });
                }
                let is_chosen = toggle.at.is_some() && toggle.enabled == enabled;
                *toggle = Toggle { enabled, at: Some(now) };
                let is_opted_out = known.state == ConsentState::OptedOut;
                let phone = stored.phone_number.as_ref().filter(|_| enabled == is_opted_out);
                if !is_chosen || phone.is_some() {
                    is_changed = true;
                    adds |= enabled;
                }
                if let Some(phone) = phone {
                    let state = if enabled { ConsentState::OptedIn } else { ConsentState::OptedOut };
                    let record = Record {
                        phone: phone.clone(),
                        channel: consent_channel,
                        state,
                        source: ConsentSource::Preferences,
                        evidence: None,
                        at: None,
                    };
                    records.push((channel, record));
                }
            }
            if adds && !std::mem::replace(&mut is_counted, true) {
                let name = format!("changes of preferences by user {user}");
                let counted = self
                    .core
                    .store
                    .count(self.organization, &name, OWN_CHANGES_MAX, OWN_CHANGES_PERIOD)
                    .await?;
                if counted.is_none() {
                    let only_off = PreferencesChange {
                        phone_number: None,
                        sms_enabled: change.sms_enabled.filter(|enabled| !enabled),
                        whatsapp_enabled: change.whatsapp_enabled.filter(|enabled| !enabled),
                    };
                    if only_off != PreferencesChange::default() {
                        Box::pin(self.change_preferences(user, &only_off, author, None, entry)).await?;
                    }
                    return Err(ChangeError::TooOften);
                }
            }
            let facts = Facts { number_changed: Some(is_renumbered), ..entry.facts.clone() };
            let entry = is_changed.then(|| entry.clone().with(facts));
            stored.updated_at = Some(now);
            let text = store::encode(&stored);
            let preferences = DocumentChange {
                kind: Kind::Preferences,
                name: user,
                before: before.as_deref(),
                after: Some(&text),
            };
            let changes: Vec<_> =
                [preferences].into_iter().chain(owners.iter().map(OwnerChange::document)).collect();
            let is_made =
                self.core.store.change_with_entry(self.organization, &changes, None, entry.as_ref()).await?;
            if !is_made {
                continue;
            }
            entry.iter().for_each(|entry| audit::log(self.organization, entry));
            for (channel, record) in records {
                // The person may have said STOP since: that stays.
                match self.apply_record(&record, author, None, |_| true).await? {
                    Outcome::Changed(_) | Outcome::Unchanged(_) => {}
                    Outcome::Kept(_) => {
                        return Err(ChangeError::NoConsent { reason: NoConsent::OptedOut, channel });
                    }
                }
            }
            return Ok(self.preferences(user).await?);
        }
        Err(contended().into())
    }

    /// Erases the preferences in which a number stands that `is_theirs`: how many they were, and how many more cannot be read.
    pub(in crate::app) async fn erase_preferences(
        &self,
        is_theirs: impl Fn(&BareAddress) -> bool,
    ) -> Result<(usize, usize), store::Error> {
        let (mut erased, mut unreadable, mut after) = (0, 0, None);
        loop {
            let store = &self.core.store;
            let page = store
                .documents(self.organization, Kind::Preferences, after.as_deref(), DOCUMENTS_MAX)
                .await?;
            for (user, text) in &page {
                match store::decode::<StoredPreferences>("preferences", text) {
                    Err(_) => unreadable += 1,
                    Ok(stored) if stored.phone_number.as_ref().is_some_and(&is_theirs) => {
                        erased += usize::from(self.erase_preferences_of(user, &is_theirs).await?);
                    }
                    Ok(_) => {}
                }
            }
            after = match page.into_iter().last() {
                Some((user, _)) => Some(user),
                None => return Ok((erased, unreadable)),
            };
        }
    }

    /// The same of one user, and with them that the number is that user's; whether there was something.
    async fn erase_preferences_of(
        &self,
        user: &str,
        is_theirs: impl Fn(&BareAddress) -> bool,
    ) -> Result<bool, store::Error> {
        for _ in 0..DECISIONS_MAX {
            let (text, stored) = self.stored_preferences(user).await?;
            let Some(number) = stored.phone_number.filter(&is_theirs) else { return Ok(false) };
            let kind = Kind::Preferences;
            let preferences = DocumentChange { kind, name: user, before: text.as_deref(), after: None };
            let owner = self.owner(&number).await?.filter(|owner| owner == user);
            let owner = owner.map(|owner| OwnerChange {
                number: Person::of(&number),
                before: Some(owner),
                after: None,
            });
            let changes: Vec<_> =
                [preferences].into_iter().chain(owner.iter().map(OwnerChange::document)).collect();
            if self.core.store.change_documents(self.organization, &changes).await? {
                return Ok(true);
            }
        }
        Err(contended())
    }

    /// Makes the number that stands in the preferences of `user` theirs, unless it is somebody's. Version 0.1.0 let several
    /// users have one number: it is now that of whoever of them comes first here.
    pub(super) async fn own_number(&self, user: &str) -> Result<(), store::Error> {
        for _ in 0..DECISIONS_MAX {
            let (text, stored) = self.stored_preferences(user).await?;
            let Some(number) = &stored.phone_number else { return Ok(()) };
            match self.owner(number).await? {
                Some(owner) if owner == user => return Ok(()),
                Some(owner) => {
                    tracing::warn!(
                        organization = %self.organization, user, owner, number = mask(number.as_str()),
                        "a number stands in the preferences of two users, and belongs to one: let the other have theirs changed"
                    );
                    return Ok(());
                }
                None => {}
            }
            let owner =
                OwnerChange { number: Person::of(number), before: None, after: Some(user.to_owned()) };
            let (kind, text) = (Kind::Preferences, text.as_deref());
            let unchanged = DocumentChange { kind, name: user, before: text, after: text };
            if self.core.store.change_documents(self.organization, &[unchanged, owner.document()]).await? {
                return Ok(());
            }
        }
        Err(contended())
    }

    /// What changes of the owners of numbers when `user` gives up `former` and takes `number`.
    async fn owner_changes(
        &self,
        user: &str,
        former: Option<&BareAddress>,
        number: Option<&BareAddress>,
    ) -> Result<Vec<OwnerChange>, ChangeError> {
        let mut changes = Vec::new();
        if let Some(number) = number {
            match self.owner(number).await? {
                Some(owner) if owner != user => return Err(ChangeError::NumberTaken),
                Some(_) => {}
                None => changes.push(OwnerChange {
                    number: Person::of(number),
                    before: None,
                    after: Some(user.to_owned()),
                }),
            }
        }
        if let Some(former) = former.filter(|former| Some(Person::of(former)) != number.map(Person::of))
            && let Some(owner) = self.owner(former).await?.filter(|owner| owner == user)
        {
            changes.push(OwnerChange { number: Person::of(former), before: Some(owner), after: None });
        }
        Ok(changes)
    }

    /// The user in whose preferences `number` stands.
    async fn owner(&self, number: &BareAddress) -> Result<Option<String>, store::Error> {
        let person = Person::of(number);
        self.core.store.document(self.organization, Kind::NumberOwner, person.as_str()).await
    }

    /// The text that is stored, and what it says.
    async fn stored_preferences(
        &self,
        user: &str,
    ) -> Result<(Option<String>, StoredPreferences), store::Error> {
        let text = self.core.store.document(self.organization, Kind::Preferences, user).await?;
        let stored = match &text {
            Some(text) => store::decode("preferences", text)?,
            None => StoredPreferences::default(),
        };
        Ok((text, stored))
    }

    async fn consent_of(&self, phone: Option<&BareAddress>) -> Result<Consent, store::Error> {
        match phone {
            Some(phone) => self.consent(phone).await,
            None => Ok(Consent::default()),
        }
    }
}

/// Whose a number was, and whose it is then.
struct OwnerChange {
    number: Person,
    before: Option<String>,
    after: Option<String>,
}

impl OwnerChange {
    fn document(&self) -> DocumentChange<'_> {
        DocumentChange {
            kind: Kind::NumberOwner,
            name: self.number.as_str(),
            before: self.before.as_deref(),
            after: self.after.as_deref(),
        }
    }
}

/// Why turning the channel on is refused to `actor`, or would not help.
fn refused_for_good(known: &ChannelConsent, actor: Actor) -> Option<NoConsent> {
    match rights::judge(known, actor, ConsentState::OptedIn) {
        Verdict::OptedOutByPerson => Some(NoConsent::OptedOut),
        Verdict::Allowed | Verdict::SaidByPerson if !known.blocks.is_empty() => {
            Some(NoConsent::BlockedByTwilio)
        }
        Verdict::Allowed | Verdict::SaidByPerson => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_opt_out_always_wins_and_else_the_later_word_does(
            chosen: bool,
            default: bool,
            chosen_at in prop::option::of((0..4_u64).prop_map(UnixMs::new)),
            state in 0..3_usize,
            said_at in prop::option::of((0..4_u64).prop_map(UnixMs::new)),
        ) {
            let toggle = Toggle { enabled: chosen, at: chosen_at };
            let state = [ConsentState::Unknown, ConsentState::OptedIn, ConsentState::OptedOut][state];
            let known = ChannelConsent {
                state,
                source: Some(ConsentSource::Keyword),
                at: said_at,
                ..ChannelConsent::default()
            };
            let enabled = toggle.with(default, &known);
            let own = if chosen_at.is_some() { chosen } else { default };
            match state {
                ConsentState::OptedOut => prop_assert!(!enabled),
                ConsentState::OptedIn if said_at > chosen_at => prop_assert!(enabled),
                _ => prop_assert_eq!(enabled, own),
            }
        }
    }
}
