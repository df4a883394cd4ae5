//! Who acts on a keyword: Twilio, which then confirms it and keeps a block of its own, or we alone.
//!
//! It depends on the sender that the person wrote to. Twilio handles keywords for long codes and toll-free numbers, and
//! for RCS where the sender is in a messaging service. It does nothing for short codes and over WhatsApp, unless the
//! account is set up so: then [`KeywordHandlers`] names the sender.
//!
//! Sources: <https://help.twilio.com/articles/223134027>, and <https://help.twilio.com/articles/360058144374> for
//! toll-free numbers, where the network knows START and UNSTOP and no YES.

use std::collections::HashMap;

use super::super::outgoing::Sender;
use crate::twilio::{
    Address, BareAddress, Channel, MessagingServiceSid, address::is_toll_free, reply::Keyword,
};

/// Who acts on the keywords that a sender receives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeywordHandling {
    /// Twilio: all of its own keywords.
    Twilio,
    /// Twilio and the network of toll-free numbers, which YES does not open.
    TollFree,
    /// We alone. Twilio keeps no block that a keyword would set or lift.
    Ours,
}

/// What lifts a block on a toll-free number.
const TOLL_FREE_OPENS: [&str; 2] = ["START", "UNSTOP"];

impl KeywordHandling {
    /// Whether Twilio acts on `keyword`: it confirms it, and a word that opts out or in sets or lifts its block.
    pub fn covers(self, keyword: &Keyword) -> bool {
        match self {
            KeywordHandling::Twilio => keyword.twilio_acts,
            KeywordHandling::TollFree => {
                keyword.twilio_acts
                    && (!keyword.opts_in() || TOLL_FREE_OPENS.contains(&keyword.word.as_str()))
            }
            KeywordHandling::Ours => false,
        }
    }
}

/// How Twilio handles keywords on an installation's senders: as it does by default, but for some of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeywordHandlers {
    exceptions: HashMap<Sender, bool>,
}

/// Why a list of exceptions cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("default, or a list such as 12345=twilio,+15005550006=ours")]
pub struct InvalidKeywordHandlers;

impl std::str::FromStr for KeywordHandlers {
    type Err = InvalidKeywordHandlers;

    fn from_str(text: &str) -> Result<Self, InvalidKeywordHandlers> {
        if text == "default" {
            return Ok(Self::default());
        }
        let mut exceptions = HashMap::new();
        for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
            let (sender, who) = entry.split_once('=').ok_or(InvalidKeywordHandlers)?;
            let sender = sender.trim().parse().map_err(|_| InvalidKeywordHandlers)?;
            let is_twilio = match who.trim() {
                "twilio" => true,
                "ours" => false,
                _ => return Err(InvalidKeywordHandlers),
            };
            exceptions.insert(sender, is_twilio);
        }
        Ok(Self { exceptions })
    }
}

impl KeywordHandlers {
    /// Who acts on what `sender`, which is in `service` if in any, receives on `channel`. What is said of the sender goes
    /// before what is said of the service.
    pub fn of(
        &self,
        channel: Channel,
        sender: &BareAddress,
        service: Option<&MessagingServiceSid>,
    ) -> KeywordHandling {
        let address = Sender::Address(sender.clone().on(channel));
        let said = self
            .exceptions
            .get(&address)
            .or_else(|| service.and_then(|service| self.exceptions.get(&Sender::Service(service.clone()))));
        let by_default = handling(&sender.clone().on(channel), service.is_some());
        match (said, by_default) {
            (Some(false), _) => KeywordHandling::Ours,
            (Some(true), KeywordHandling::TollFree) => KeywordHandling::TollFree,
            (Some(true), _) => KeywordHandling::Twilio,
            (None, by_default) => by_default,
        }
    }
}

/// Who acts on what `sender` receives, unless the account says otherwise.
fn handling(sender: &Address, is_in_service: bool) -> KeywordHandling {
    match sender.channel() {
        Channel::Whatsapp => KeywordHandling::Ours,
        Channel::Rcs if is_in_service => KeywordHandling::Twilio,
        Channel::Rcs => KeywordHandling::Ours,
        Channel::Sms if is_toll_free(sender.bare()) => KeywordHandling::TollFree,
        Channel::Sms if sender.is_e164() || is_in_service => KeywordHandling::Twilio,
        Channel::Sms => KeywordHandling::Ours,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(handlers: &KeywordHandlers, sender: &str, service: Option<&str>) -> KeywordHandling {
        let address = Address::parse(sender).unwrap();
        let service = service.map(|service| MessagingServiceSid::parse(service).unwrap());
        handlers.of(address.channel(), address.bare(), service.as_ref())
    }

    const SERVICE: &str = "MGaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn the_kind_of_sender_decides_who_acts() {
        let handlers = "default".parse().unwrap();
        for (sender, service, who) in [
            ("+15005550006", None, KeywordHandling::Twilio),
            ("+447700900123", None, KeywordHandling::Twilio),
            ("+18005550199", None, KeywordHandling::TollFree),
            ("+18885550199", Some(SERVICE), KeywordHandling::TollFree),
            ("+18105550199", None, KeywordHandling::Twilio),
            ("+4980055501", None, KeywordHandling::Twilio),
            ("12345", None, KeywordHandling::Ours),
            ("12345", Some(SERVICE), KeywordHandling::Twilio),
            ("whatsapp:+15005550006", Some(SERVICE), KeywordHandling::Ours),
            ("rcs:brand_agent", None, KeywordHandling::Ours),
            ("rcs:brand_agent", Some(SERVICE), KeywordHandling::Twilio),
        ] {
            assert_eq!(of(&handlers, sender, service), who, "{sender} {service:?}");
        }
    }

    #[test]
    fn an_account_may_be_set_up_otherwise() {
        let list = format!("12345=twilio, +15005550006=ours,{SERVICE}=ours,+18005550199=twilio");
        let handlers: KeywordHandlers = list.parse().unwrap();
        for (sender, service, who) in [
            ("12345", None, KeywordHandling::Twilio),
            ("12345", Some(SERVICE), KeywordHandling::Twilio),
            ("+15005550006", None, KeywordHandling::Ours),
            ("whatsapp:+15005550006", None, KeywordHandling::Ours),
            ("+15005550007", Some(SERVICE), KeywordHandling::Ours),
            ("+18005550199", None, KeywordHandling::TollFree),
            ("+15005550007", None, KeywordHandling::Twilio),
        ] {
            assert_eq!(of(&handlers, sender, service), who, "{sender} {service:?}");
        }
        for wrong in ["12345", "12345=us", "=twilio"] {
            assert_eq!(wrong.parse::<KeywordHandlers>(), Err(InvalidKeywordHandlers), "{wrong}");
        }
    }
}
