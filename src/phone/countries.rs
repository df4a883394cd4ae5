//! To which countries messages may go, and to which kinds of numbers they never do: what a number costs to send to is
//! known from its country and its kind.

use std::{
    str::FromStr,
    sync::{LazyLock, PoisonError},
};

use phonenumber::{PhoneNumber, Type, metadata::DATABASE};

use super::{COUNTRY_CODE_DIGITS_MAX, InvalidRegion, Region};
use crate::twilio::{BareAddress, address::is_e164};

/// Calling codes of no country: satellite networks, and international numbers of premium rate, shared cost, personal and
/// company numbers. They are the dearest of all to send to.
const CODES_OF_NO_COUNTRY: [u16; 8] = [808, 870, 878, 881, 882, 883, 888, 979];

/// Numbers that Twilio's test credentials take, which the plan of numbers lists among personal numbers.
///
/// Source: <https://www.twilio.com/docs/iam/test-credentials#test-sms-messages-parameters-To>.
const TEST_NUMBERS: &str = "+1500555";

/// The United States with their territories, and Canada: carriers there charge alike, and senders there send to all. The
/// other countries under `+1` charge many times as much.
const UNITED_STATES_AND_CANADA: [&str; 7] = ["US", "CA", "PR", "VI", "GU", "AS", "MP"];

/// Countries that messages may go to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Countries {
    /// Every one.
    All,
    /// Those that are listed.
    Only(Vec<Region>),
}

impl FromStr for Countries {
    type Err = InvalidRegion;

    fn from_str(text: &str) -> Result<Self, InvalidRegion> {
        if text.eq_ignore_ascii_case("all") {
            return Ok(Self::All);
        }
        text.split(',').map(|code| code.trim().parse()).collect::<Result<_, _>>().map(Self::Only)
    }
}

impl Countries {
    /// The countries that `numbers` and `region` are of; `None` if there are none. The United States and Canada count as
    /// one. A short code or a name is of no country.
    pub fn of<'a>(
        numbers: impl IntoIterator<Item = &'a BareAddress>,
        region: Option<Region>,
    ) -> Option<Self> {
        let mut regions: Vec<Region> = region.into_iter().collect();
        for number in numbers.into_iter().filter_map(Destination::of) {
            match number.region() {
                Some(region) => regions.push(region),
                None => regions.extend(number.possible_regions()),
            }
        }
        let north_america: Vec<Region> =
            UNITED_STATES_AND_CANADA.iter().filter_map(|code| code.parse().ok()).collect();
        if regions.iter().any(|region| north_america.contains(region)) {
            regions.extend(north_america);
        }
        (!regions.is_empty()).then_some(Self::Only(regions))
    }

    /// Whether messages may go to `number`. Of a number that no country is known to have given out, its calling code is
    /// looked at: Twilio has the last word on whether it exists.
    pub fn include(&self, number: &Destination<'_>) -> bool {
        let Self::Only(regions) = self else { return true };
        let possible = number.possible_regions();
        let listed = possible.iter().filter(|region| regions.contains(region)).count();
        // Most calling codes are of one country, and then nothing more has to be known of the number.
        listed > 0
            && (listed == possible.len() || number.region().is_none_or(|region| regions.contains(&region)))
    }
}

/// A number as a destination of messages.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    number: &'a str,
    /// 0 if it has none that is known.
    calling_code: u16,
}

impl<'a> Destination<'a> {
    /// What `number` is; `None` if it is a short code, a name or a user id.
    pub fn of(number: &'a BareAddress) -> Option<Self> {
        let number = number.as_str();
        if !is_e164(number) {
            return None;
        }
        // No code is the beginning of another one.
        let codes =
            (1..=COUNTRY_CODE_DIGITS_MAX).filter_map(|digits| number.get(1..=digits)?.parse::<u16>().ok());
        let calling_code = codes.into_iter().find(|code| DATABASE.region(code).is_some());
        Some(Self { number, calling_code: calling_code.unwrap_or_default() })
    }

    /// Whether messages never go to numbers of its kind.
    pub fn is_of_refused_kind(&self) -> bool {
        if CODES_OF_NO_COUNTRY.contains(&self.calling_code) {
            return true;
        }
        // The library forgets leading zeros when it tells a kind, and landlines have them in some countries.
        let parsed = self.parsed().filter(|parsed| parsed.national().zeros() == 0);
        !self.number.starts_with(TEST_NUMBERS)
            && parsed.is_some_and(|parsed| is_refused(parsed.number_type(&DATABASE)))
    }

    /// The countries of its calling code.
    fn possible_regions(&self) -> Vec<Region> {
        let regions = DATABASE.region(&self.calling_code).unwrap_or_default();
        regions.into_iter().filter_map(|code| code.parse().ok()).collect()
    }

    /// The country that has given it out.
    fn region(&self) -> Option<Region> {
        self.parsed()?.country().id().map(Region)
    }

    fn parsed(&self) -> Option<PhoneNumber> {
        LazyLock::force(&PATTERNS_KEPT);
        phonenumber::parse(None, self.number).ok()
    }
}

/// Compiled patterns of the plan of numbers that are kept: with the library's own hundred, numbers of a dozen countries in
/// turn have them compiled again and again, which takes a thousand times as long as to look at one.
const PATTERNS_MAX: usize = 1_000;

/// Sees to it that [`PATTERNS_MAX`] are kept.
static PATTERNS_KEPT: LazyLock<()> = LazyLock::new(|| {
    let cache = DATABASE.cache();
    cache.lock().unwrap_or_else(PoisonError::into_inner).set_capacity(PATTERNS_MAX);
});

/// Whether messages never go to numbers of this kind: who has one is paid by who sends, or is no person.
fn is_refused(kind: Type) -> bool {
    match kind {
        Type::PremiumRate
        | Type::SharedCost
        | Type::PersonalNumber
        | Type::Pager
        | Type::Uan
        | Type::Voicemail => true,
        Type::FixedLine
        | Type::Mobile
        | Type::FixedLineOrMobile
        | Type::TollFree
        | Type::Voip
        | Type::Emergency
        | Type::ShortCode
        | Type::StandardRate
        | Type::Carrier
        | Type::NoInternational
        | Type::Unknown => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(text: &str) -> BareAddress {
        text.parse().unwrap()
    }

    fn is_included(countries: &Countries, to: &str) -> bool {
        countries.include(&Destination::of(&number(to)).unwrap())
    }

    fn is_refused_kind(to: &str) -> bool {
        Destination::of(&number(to)).unwrap().is_of_refused_kind()
    }

    fn home(numbers: &[&str], region: Option<&str>) -> Option<Countries> {
        let numbers: Vec<BareAddress> = numbers.iter().map(|text| number(text)).collect();
        Countries::of(&numbers, region.map(|region| region.parse().unwrap()))
    }

    #[test]
    fn a_list_of_countries_includes_their_numbers_and_no_others() {
        let countries: Countries = "us, GB".parse().unwrap();
        for (to, expected) in [
            ("+14155550100", true),
            ("+442079460958", true),
            ("+16137827274", false),
            ("+18765550100", false),
            ("+4915112345678", false),
            // No number that is given out, with the code of a country that is listed.
            ("+19995550100", true),
            ("+49100000000", false),
        ] {
            assert_eq!(is_included(&countries, to), expected, "{to}");
            assert!(is_included(&Countries::All, to));
        }
        assert_eq!("ALL".parse(), Ok(Countries::All));
        for wrong in ["", "US,", "USA", "US GB", "all,US"] {
            assert!(wrong.parse::<Countries>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_countries_of_senders_are_those_of_their_numbers() {
        let includes = |home: &Option<Countries>, to| is_included(home.as_ref().unwrap(), to);
        for sender in ["+14155550100", "+16137827274", "+15005550006", "+18005550199"] {
            let home = home(&[sender], None);
            for to in ["+12125550100", "+16137827274", "+17875550100", "+15005550001", "+19995550100"] {
                assert!(includes(&home, to), "{sender} {to}");
            }
            for to in ["+18765550100", "+442079460958", "+5511987654321"] {
                assert!(!includes(&home, to), "{sender} {to}");
            }
        }
        let both = home(&["+442079460958", "12345", "ACME"], Some("DE"));
        assert!(includes(&both, "+447400123456") && includes(&both, "+4915112345678"));
        assert!(!includes(&both, "+14155550100"));
        assert_eq!(home(&["12345", "ACME"], None), None);
    }

    #[test]
    fn numbers_of_dear_kinds_are_refused_and_those_of_people_are_not() {
        for dear in [
            "+19005550100",
            "+449098790000",
            "+8816123456789",
            "+882161234567",
            "+8701234567",
            "+979123456789",
            "+447012345678",
            "+33892123456",
            // Shared cost.
            "+33884012345",
            "+80812345678",
        ] {
            assert!(is_refused_kind(dear), "{dear}");
        }
        for person in [
            "+14155550100",
            "+15005550001",
            "+15005550006",
            "+18005550100",
            "+447400123456",
            "+442079460958",
            "+4915112345678",
            "+4930901820",
            "+390892123456",
            "+5511987654321",
            "+551187654321",
            "+5215512345678",
            "+525512345678",
            "+5491123456789",
            "+541123456789",
            "+919876543210",
            "+8613812345678",
            "+79161234567",
            "+22507012345",
        ] {
            assert!(!is_refused_kind(person), "{person}");
        }
        for other in ["12345", "ACME", "US.444555666"] {
            assert!(Destination::of(&number(other)).is_none(), "{other}");
        }
    }
}
