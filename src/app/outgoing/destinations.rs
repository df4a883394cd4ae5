//! Which numbers may be sent to at all: by their country, and by their kind.
//!
//! Unless the operator lists countries, SMS goes to those that the organization's senders are of. Nobody earns by a
//! WhatsApp message that others send, so only a list holds for WhatsApp too. Which senders a messaging service has, and of
//! which countries, Twilio alone knows: what it sends may go anywhere, unless there is a list.

use std::sync::Arc;

use super::Steps;
use crate::{
    app::{Scope, accounts::Account},
    domain::outgoing::NotAllowed,
    phone::countries::{Countries, Destination},
    twilio::{Address, Channel},
};

/// Where an organization's messages may go.
pub(super) struct Destinations<'a> {
    /// As the operator listed them.
    listed: Option<&'a Countries>,
    /// The account, whose numbers have a country.
    account: Option<Arc<Account>>,
    /// The countries of a sender that is not the account's usual one, and of numbers without `+`.
    further: Option<Countries>,
    /// A messaging service chooses the sender.
    is_by_service: bool,
}

impl Scope<'_, Steps> {
    /// Where messages from `from` may go; `None` if a messaging service chooses the sender.
    pub(super) fn destinations(&self, from: Option<&Address>) -> Destinations<'_> {
        let account = self.accounts.find(self.organization);
        let is_usual = |from: &&Address| {
            account.as_ref().is_some_and(|account| account.settings.numbers().any(|number| number == *from))
        };
        let other = from.filter(|from| !is_usual(from)).map(Address::bare);
        let settings = &self.core.settings;
        let further = Countries::of(other, settings.default_region);
        let listed = settings.limits.countries.as_ref();
        Destinations { listed, account, further, is_by_service: from.is_none() }
    }
}

impl Destinations<'_> {
    /// Why nothing may be sent to `to`, if nothing may.
    pub(super) fn not_allowed(&self, to: &Address) -> Option<NotAllowed> {
        let number = Destination::of(to.bare())?;
        let is_allowed = match self.listed {
            Some(listed) => listed.include(&number),
            None if to.channel() == Channel::Whatsapp || self.is_by_service => true,
            None => self.is_of_senders(&number).unwrap_or(true),
        };
        if !is_allowed {
            return Some(NotAllowed::Country);
        }
        number.is_of_refused_kind().then_some(NotAllowed::NumberType)
    }

    /// Whether `to` is of a country that the organization's senders are of.
    pub(super) fn is_at_home(&self, to: &Address) -> bool {
        Destination::of(to.bare()).and_then(|number| self.is_of_senders(&number)).unwrap_or(false)
    }

    /// The same of a number; `None` if the senders are of no known country.
    fn is_of_senders(&self, number: &Destination<'_>) -> Option<bool> {
        let of_account = self.account.as_ref().and_then(|account| account.home.as_ref());
        let home: Vec<&Countries> = of_account.into_iter().chain(&self.further).collect();
        (!home.is_empty()).then(|| home.iter().any(|countries| countries.include(number)))
    }
}
