//! Twilio's own list of who has opted out of which sender, kept by the keywords people text.
//!
//! The list can be changed by nothing else: not by the API, and not by words that only an application knows, such as
//! JOIN. It covers SMS, MMS and RCS together. On WhatsApp keywords do nothing, unless Twilio's Advanced Opt-Out is on,
//! which shows as `OptOutType` in the incoming message.
//!
//! Sources: <https://help.twilio.com/articles/223134027>,
//! <https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out>,
//! <https://www.twilio.com/docs/api/errors/21610>.

use std::collections::{BTreeSet, HashMap, HashSet};

use crate::twilio::{Address, Channel, MessagingServiceSid, address::is_toll_free};

const OPT_OUT_WORDS: &[&str] =
    &["STOP", "STOPALL", "UNSUBSCRIBE", "END", "QUIT", "CANCEL", "REVOKE", "OPTOUT"];
const OPT_IN_WORDS: &[&str] = &["START", "YES", "UNSTOP"];

/// What opens a toll-free number again, where the network knows no YES.
const TOLL_FREE_OPT_IN_WORDS: &[&str] = &["START", "UNSTOP"];

/// What a message does to the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyword {
    /// The sender is blocked for the person.
    OptOut,
    /// The block is lifted.
    OptIn,
}

impl Keyword {
    /// What an incoming message to `sender` is for Twilio: the word alone counts, in any letter case.
    pub fn of(sender: &Address, body: &str, opt_out_type: Option<&str>) -> Option<Self> {
        match opt_out_type {
            Some("STOP") => return Some(Keyword::OptOut),
            Some("START") => return Some(Keyword::OptIn),
            Some(_) => return None,
            None => {}
        }
        // Short codes have no keywords until they are configured, and alphanumeric senders receive nothing.
        if sender.channel() == Channel::Whatsapp || !sender.is_e164() {
            return None;
        }
        let word = body.trim();
        let is_one_of = |words: &[&str]| words.iter().any(|other| other.eq_ignore_ascii_case(word));
        if is_one_of(OPT_OUT_WORDS) {
            Some(Keyword::OptOut)
        } else if is_one_of(if is_toll_free(sender.bare()) { TOLL_FREE_OPT_IN_WORDS } else { OPT_IN_WORDS }) {
            Some(Keyword::OptIn)
        } else {
            None
        }
    }
}

/// What a person opted out of: one sender, or the whole messaging service that the sender is in.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Scope {
    Sender(Address),
    Service(MessagingServiceSid),
}

/// The list, and which senders are in which messaging service.
#[derive(Debug, Default)]
pub struct Blocks {
    service_of: HashMap<Address, MessagingServiceSid>,
    pools: HashMap<MessagingServiceSid, BTreeSet<Address>>,
    blocked: HashSet<(Scope, Address)>,
}

impl Blocks {
    /// Puts `sender` into the pool of `service`; a sender is in one pool at a time.
    pub fn join(&mut self, sender: &Address, service: &MessagingServiceSid) {
        if self.service_of.get(sender) == Some(service) {
            return;
        }
        if let Some(before) = self.service_of.insert(sender.clone(), service.clone())
            && let Some(pool) = self.pools.get_mut(&before)
        {
            pool.remove(sender);
        }
        self.pools.entry(service.clone()).or_default().insert(sender.clone());
    }

    /// The messaging service that `sender` is in.
    pub fn service_of(&self, sender: &Address) -> Option<&MessagingServiceSid> {
        self.service_of.get(sender)
    }

    /// The sender that `service` chooses on `channel`. A service that has none yet is given one of its own.
    pub fn choose_sender(&mut self, service: &MessagingServiceSid, channel: Channel) -> Address {
        let mut pool = self.pools.get(service).into_iter().flatten();
        if let Some(sender) = pool.find(|sender| sender.channel() == channel) {
            return sender.clone();
        }
        let digits = u32::from_str_radix(&service.as_str()[26..], 16).unwrap_or_default() % 10_000;
        let sender = Address::new(channel, &format!("+1500556{digits:04}")).expect("a number is an address");
        self.join(&sender, service);
        sender
    }

    /// Notes what `person` texted to `sender`.
    pub fn note(&mut self, person: &Address, sender: &Address, keyword: Keyword) {
        let (person, sender) = (merged(person), merged(sender));
        let service = self.service_of(&sender).cloned().map(Scope::Service);
        match keyword {
            Keyword::OptOut => {
                let scope = service.unwrap_or(Scope::Sender(sender));
                self.blocked.insert((scope, person));
            }
            Keyword::OptIn => {
                let scopes = service.into_iter().chain([Scope::Sender(sender)]);
                for scope in scopes {
                    self.blocked.remove(&(scope, person.clone()));
                }
            }
        }
    }

    /// Whether a message to `person` is refused: from `sender`, from any sender in its messaging service, or from
    /// any in the pool of `service`.
    pub fn is_blocked(
        &self,
        person: &Address,
        sender: Option<&Address>,
        service: Option<&MessagingServiceSid>,
    ) -> bool {
        if self.blocked.is_empty() {
            return false;
        }
        let person = merged(person);
        let holds = |scope: Scope| self.blocked.contains(&(scope, person.clone()));
        let sender = sender.map(merged);
        let service = service.or_else(|| self.service_of(sender.as_ref()?));
        let pool = service.and_then(|service| self.pools.get(service)).into_iter().flatten();
        service.is_some_and(|service| holds(Scope::Service(service.clone())))
            || sender.iter().chain(pool).any(|sender| holds(Scope::Sender(merged(sender))))
    }
}

/// `address` with RCS taken for SMS: they share their blocks.
fn merged(address: &Address) -> Address {
    match address.channel() {
        Channel::Sms | Channel::Whatsapp => address.clone(),
        Channel::Rcs => Address::new(Channel::Sms, address.bare()).expect("it was an address before"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Address {
        Address::parse(text).unwrap()
    }

    fn service() -> MessagingServiceSid {
        MessagingServiceSid::parse(&format!("MG{}", "c".repeat(32))).unwrap()
    }

    #[test]
    fn the_word_alone_is_a_keyword_in_any_case_and_only_on_sms() {
        let of = |sender: &str, body: &str, kind| Keyword::of(&address(sender), body, kind);
        for word in ["STOP", "stop", "StopAll", "Revoke", "optout", " quit\n"] {
            assert_eq!(of("+15005550006", word, None), Some(Keyword::OptOut), "{word}");
        }
        for word in ["start", "YES", "unstop"] {
            assert_eq!(of("+15005550006", word, None), Some(Keyword::OptIn), "{word}");
        }
        for text in ["STOP please", "stop.", "JOIN", "subscribe", "help", "stop texting me", ""] {
            assert_eq!(of("+15005550006", text, None), None, "{text}");
        }
        assert_eq!(of("whatsapp:+15005550006", "STOP", None), None);
        assert_eq!(of("12345", "STOP", None), None);
        assert_eq!(of("whatsapp:+15005550006", "basta", Some("STOP")), Some(Keyword::OptOut));
        assert_eq!(of("+15005550006", "STOP", Some("HELP")), None);
    }

    #[test]
    fn a_block_is_between_one_person_and_one_sender() {
        let mut blocks = Blocks::default();
        let (person, sender) = (address("+14155550100"), address("+15005550006"));
        blocks.note(&person, &sender, Keyword::OptOut);
        assert!(blocks.is_blocked(&person, Some(&sender), None));
        assert!(blocks.is_blocked(&address("rcs:+14155550100"), Some(&sender), None));
        assert!(!blocks.is_blocked(&person, Some(&address("+15005550016")), None));
        assert!(!blocks.is_blocked(&address("+14155550101"), Some(&sender), None));
        let (person_there, sender_there) =
            (address("whatsapp:+14155550100"), address("whatsapp:+15005550006"));
        assert!(!blocks.is_blocked(&person_there, Some(&sender_there), None));
        blocks.note(&person, &sender, Keyword::OptIn);
        assert!(!blocks.is_blocked(&person, Some(&sender), None));
    }

    #[test]
    fn a_block_covers_the_whole_service_of_the_sender() {
        let mut blocks = Blocks::default();
        let person = address("+14155550100");
        let (one, other) = (address("+15005550006"), address("+15005550016"));
        blocks.join(&one, &service());
        blocks.join(&other, &service());
        blocks.note(&person, &one, Keyword::OptOut);
        assert!(blocks.is_blocked(&person, None, Some(&service())));
        assert!(blocks.is_blocked(&person, Some(&other), None));
        blocks.note(&person, &other, Keyword::OptIn);
        assert!(!blocks.is_blocked(&person, None, Some(&service())));
        assert!(!blocks.is_blocked(&person, Some(&one), None));
    }

    #[test]
    fn a_sender_takes_its_block_along_into_a_service() {
        let mut blocks = Blocks::default();
        let (person, sender) = (address("+14155550100"), address("+15005550006"));
        blocks.note(&person, &sender, Keyword::OptOut);
        blocks.join(&sender, &service());
        assert!(blocks.is_blocked(&person, None, Some(&service())));
        blocks.note(&person, &sender, Keyword::OptIn);
        assert!(!blocks.is_blocked(&person, None, Some(&service())));
    }

    #[test]
    fn a_service_without_senders_is_given_one_and_keeps_it() {
        let mut blocks = Blocks::default();
        let sender = blocks.choose_sender(&service(), Channel::Sms);
        assert!(sender.is_e164());
        assert_eq!(blocks.choose_sender(&service(), Channel::Sms), sender);
        assert_eq!(blocks.choose_sender(&service(), Channel::Whatsapp).channel(), Channel::Whatsapp);
        assert_eq!(blocks.service_of(&sender), Some(&service()));
    }
}
