//! Which numbers may be sent to at all: by their country, and by their kind.
//!
//! Unless the operator lists countries, SMS goes to those that the organization's senders are of. Nobody earns by a
//! WhatsApp message that others send, so only a list holds for WhatsApp too.

use super::Steps;
use crate::{
    app::Scope,
    domain::outgoing::NotAllowed,
    phone::countries::{Countries, Destination},
    twilio::{Address, Channel},
};

/// Where an organization's messages may go.
pub(super) struct Destinations<'a> {
    /// As the operator listed them.
    listed: Option<&'a Countries>,
    /// The countries that the organization's senders are of, if any is known.
    home: Option<Countries>,
}

impl Scope<'_, Steps> {
    /// Where messages from `from` may go, which is one of the organization's senders if it is named.
    pub(super) fn destinations(&self, from: Option<&Address>) -> Destinations<'_> {
        let account = self.accounts.find(self.organization);
        let of_account = account.iter().flat_map(|account| {
            [Channel::Sms, Channel::Whatsapp]
                .into_iter()
                .filter_map(|channel| account.settings.sender(channel))
        });
        let senders = of_account.chain(from).map(Address::bare);
        let settings = &self.core.settings;
        Destinations {
            listed: settings.limits.countries.as_ref(),
            home: Countries::of(senders, settings.default_region),
        }
    }
}

impl Destinations<'_> {
    /// Why nothing may be sent to `to`, if nothing may.
    pub(super) fn not_allowed(&self, to: &Address) -> Option<NotAllowed> {
        let number = Destination::of(to.bare())?;
        if number.is_of_refused_kind {
            return Some(NotAllowed::NumberType);
        }
        let is_allowed = match (self.listed, &self.home) {
            (Some(listed), _) => listed.include(&number),
            (None, Some(home)) => to.channel() == Channel::Whatsapp || home.include(&number),
            (None, None) => true,
        };
        (!is_allowed).then_some(NotAllowed::Country)
    }

    /// Whether `to` is of a country that the organization's senders are of, too.
    pub(super) fn is_at_home(&self, to: &Address) -> bool {
        let number = Destination::of(to.bare());
        number.zip(self.home.as_ref()).is_some_and(|(number, home)| home.include(&number))
    }
}
