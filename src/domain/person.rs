//! Who a number or another address belongs to: what consent, limits and histories go by.
//!
//! One person's number is not always spelled in one way. WhatsApp names people of three countries by another number than
//! the one that is dialled, so that a STOP over WhatsApp comes from another address than the next message is sent to. An
//! address is sent to and shown as it was given; who it belongs to is asked of [`Person`].

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::twilio::{BareAddress, address::is_e164};

/// A person, by the one address that stands for all spellings of it. `Debug` masks the middle.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "BareAddress")]
pub struct Person(BareAddress);

impl Person {
    /// Who `address` belongs to.
    pub fn of(address: &BareAddress) -> Self {
        let spelled = usual_spelling(address).and_then(|number| number.try_into().ok());
        Self(spelled.unwrap_or_else(|| address.clone()))
    }

    /// The address that stands for all of the person's.
    pub fn address(&self) -> &BareAddress {
        &self.0
    }

    /// Every address that is the person's: the one that stands for all of them first.
    pub fn spellings(&self) -> Vec<BareAddress> {
        let other = other_spelling(&self.0).and_then(|number| number.try_into().ok());
        std::iter::once(self.0.clone()).chain(other).collect()
    }

    /// Whether the person is known by a number, and not only by a short code or an id.
    pub fn has_number(&self) -> bool {
        is_e164(&self.0)
    }

    /// The text of [`Person::address`]: the person's name in a store.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl From<BareAddress> for Person {
    fn from(address: BareAddress) -> Self {
        Self::of(&address)
    }
}

impl fmt::Debug for Person {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The usual spelling of a number that has two, if `address` is the other one.
fn usual_spelling(address: &str) -> Option<String> {
    let number = address.strip_prefix('+').filter(|_| is_e164(address))?;
    if let Some(national) = number.strip_prefix("55") {
        // Brazil put a 9 before the eight digits of its mobile numbers, of which the first is 6 to 9.
        let (area, subscriber) = national.split_at_checked(2)?;
        let is_mobile = subscriber.len() == 8 && subscriber.starts_with(['6', '7', '8', '9']);
        return is_mobile.then(|| format!("+55{area}9{subscriber}"));
    }
    // Mexico put a 1 before mobile numbers that were called from abroad, Argentina a 9. Both have ten digits of their own.
    for (with_digit, country) in [("521", "52"), ("549", "54")] {
        if let Some(national) = number.strip_prefix(with_digit).filter(|national| national.len() == 10) {
            return Some(format!("+{country}{national}"));
        }
    }
    None
}

/// The spelling that WhatsApp has of the number `address`, if it has another one.
fn other_spelling(address: &str) -> Option<String> {
    let number = address.strip_prefix('+').filter(|_| is_e164(address))?;
    let spelled = if let Some(national) = number.strip_prefix("55") {
        let (area, subscriber) = national.split_at_checked(2)?;
        format!("+55{area}{}", subscriber.strip_prefix('9').filter(|number| number.len() == 8)?)
    } else if let Some(national) = number.strip_prefix("52") {
        format!("+521{national}")
    } else {
        format!("+549{}", number.strip_prefix("54")?)
    };
    usual_spelling(&spelled).filter(|usual| usual == address).map(|_| spelled)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn person(text: &str) -> Person {
        Person::of(&text.parse().unwrap())
    }

    /// A person: every spelling of the number, the usual one first.
    fn spellings() -> impl Strategy<Value = Vec<String>> {
        prop_oneof![
            ("[1-9]{2}", "[6-9][0-9]{7}")
                .prop_map(|(area, number)| vec![format!("+55{area}9{number}"), format!("+55{area}{number}")]),
            "[2-9][0-9]{9}".prop_map(|number| vec![format!("+52{number}"), format!("+521{number}")]),
            "[1-8][0-9]{9}".prop_map(|number| vec![format!("+54{number}"), format!("+549{number}")]),
            "[1-9]{2}[2-5][0-9]{7}".prop_map(|number| vec![format!("+55{number}")]),
            "\\+(1|44|39|506|595)[1-9][0-9]{8}".prop_map(|number| vec![number]),
            "[1-9][0-9]{4}".prop_map(|code| vec![code]),
            "[A-Z]{2}\\.[0-9]{6,15}".prop_map(|user| vec![user]),
        ]
    }

    proptest! {
        #[test]
        fn all_spellings_of_a_person_are_one_and_another_person_is_another(
            one in spellings(),
            other in spellings(),
        ) {
            for spelling in &one {
                let known = person(spelling);
                prop_assert_eq!(known.as_str(), &one[0]);
                let all: Vec<String> = known.spellings().into_iter().map(String::from).collect();
                prop_assert_eq!(&all, &one);
                prop_assert_eq!(one == other, person(spelling) == person(&other[0]));
            }
        }

        #[test]
        fn the_person_of_a_persons_address_is_the_same(text in "\\+?[0-9]{3,16}|\\PC{1,20}") {
            let person = person(&text);
            prop_assert_eq!(Person::of(person.address()), person);
        }
    }

    #[test]
    fn a_number_of_another_length_or_kind_has_one_spelling() {
        for text in [
            "+551187654321 ",
            "551187654321",
            "+551137654321",
            "+5511887654321",
            "+52187654321",
            "+52187654321098",
            "+549112345678",
            "+15218765432",
            "521",
        ] {
            assert_eq!(person(text).as_str(), text);
        }
        assert_eq!(person("+551187654321").as_str(), "+5511987654321");
        assert_eq!(person("+5215512345678").as_str(), "+525512345678");
        assert_eq!(person("+5491123456789").as_str(), "+541123456789");
    }

    #[test]
    fn a_person_is_written_down_as_a_text_and_shown_masked() {
        let person = person("+551187654321");
        let text = serde_json::to_string(&person).unwrap();
        assert_eq!(text, "\"+5511987654321\"");
        assert_eq!(serde_json::from_str::<Person>("\"+551187654321\"").unwrap(), person);
        assert_eq!(format!("{person:?}"), "+5511***4321");
    }
}
