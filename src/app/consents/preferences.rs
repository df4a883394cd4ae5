//! What each user wants, on which number: the toggles of an account page, and the person's own STOP and START.
//!
//! A STOP is never written into anybody's preferences. What counts for a channel follows from the two whenever it is
//! asked for: the later of the user's toggle and the word that came from the phone. So neither can miss the other.

use serde::{Deserialize, Serialize};

use super::{Consents, record::Record};
use crate::{
    app::{DECISIONS_MAX, Scope, contended},
    domain::{
        Consent, UnixMs,
        consent::{ChannelConsent, ConsentChannel, ConsentSource, ConsentState, NoConsent},
    },
    store::{self, Kind},
    twilio::{BareAddress, Channel},
};

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
    /// opt-out back, and no other.
    pub async fn change_preferences(
        &self,
        user: &str,
        change: &PreferencesChange,
        actor: &str,
    ) -> Result<Preferences, ChangeError> {
        for _ in 0..DECISIONS_MAX {
            let (before, mut stored) = self.stored_preferences(user).await?;
            if let Some(phone_number) = &change.phone_number {
                stored.phone_number.clone_from(phone_number);
            }
            let consent = self.consent_of(stored.phone_number.as_ref()).await?;
            let (now, mut records) = (self.core.now_ms(), Vec::new());
            let wishes = [
                (change.sms_enabled, &mut stored.sms, Channel::Sms, ConsentChannel::Sms),
                (change.whatsapp_enabled, &mut stored.whatsapp, Channel::Whatsapp, ConsentChannel::Whatsapp),
            ];
            for (wanted, toggle, channel, consent_channel) in wishes {
                let Some(enabled) = wanted else { continue };
                let known = consent.on(channel);
                if enabled && let Some(reason) = refused_for_good(known) {
                    return Err(ChangeError::NoConsent { reason, channel });
                }
                *toggle = Toggle { enabled, at: Some(now) };
                let is_opted_out = known.state == ConsentState::OptedOut;
                if let Some(phone) = &stored.phone_number
                    && enabled == is_opted_out
                {
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
            stored.updated_at = Some(now);
            let text = store::encode(&stored);
            let (kind, before) = (Kind::Preferences, before.as_deref());
            if !self
                .core
                .store
                .change_document(self.organization, kind, user, before, Some(&text), None)
                .await?
            {
                continue;
            }
            for (channel, record) in records {
                // The person may have said STOP since: that stays.
                let allowed = |consent: &Consent| {
                    record.state == ConsentState::OptedOut || refused_for_good(consent.on(channel)).is_none()
                };
                let (known, _) = self.apply_record(&record, actor, allowed).await?;
                if let Some(reason) = refused_for_good(known.on(channel)).filter(|_| !allowed(&known)) {
                    return Err(ChangeError::NoConsent { reason, channel });
                }
            }
            return Ok(self.preferences(user).await?);
        }
        Err(contended().into())
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

/// Why turning the channel on would not help, if it would not.
fn refused_for_good(known: &ChannelConsent) -> Option<NoConsent> {
    match (known.state, known.source) {
        // What administrators recorded or imported was most often the person's word too; they can take it back.
        (ConsentState::OptedOut, source) if source != Some(ConsentSource::Preferences) => {
            Some(NoConsent::OptedOut)
        }
        _ if !known.blocks.is_empty() => Some(NoConsent::BlockedByTwilio),
        _ => None,
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
