//! Links by which a person sees and changes their own consent, with no account and no password.
//!
//! All that its page needs to know is in the link, as one token: sealed, so that no phone number stands in a URL or a log,
//! and so that nobody makes a link, or makes another of one, who has no master key. Whoever has a link acts for the person,
//! as whoever holds their phone does; so it is for one person of one organization, and expires.

use std::time::Duration;

use secrecy::ExposeSecret;

use crate::{
    domain::{Organization, UnixMs},
    sealing::MasterKeys,
    twilio::{BareAddress, reply::Language},
};

/// How long a link is good unless its maker says otherwise: less than the 45 days for which a number that was given up goes to
/// nobody else in the US (47 CFR 52.15(f)(1)(ii)), so that its next owner gets no page of the former one's.
pub const LIFE_DEFAULT: Duration = Duration::from_secs(30 * 24 * 60 * 60);

/// The shortest life of a link: expiry is kept in minutes.
pub const LIFE_MIN: Duration = MINUTE;

/// The longest life of a link: for one at the foot of a letter that is looked up much later.
pub const LIFE_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Where the page is, below the public URL.
pub const PATH: &str = "/consent/";

/// The languages that the page is written in; whoever reads none of them gets the first.
pub const LANGUAGES: [Language; 5] =
    [Language::English, Language::Spanish, Language::French, Language::Portuguese, Language::German];

/// What a token is sealed for, so that nothing else that is sealed can be taken for one.
const CONTEXT: &str = "consent link";

/// The unit in which a token tells when it expires.
const MINUTE: Duration = Duration::from_secs(60);

/// A link: whom it is for, and how long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Whose messages it is about.
    pub organization: Organization,
    /// The person.
    pub person: BareAddress,
    /// The language that its maker knows the person to read.
    pub language: Option<Language>,
    /// Until when it is good: a full minute.
    pub expires_at: UnixMs,
}

impl Link {
    /// A link that is good for `life` from `now` on, rounded up to a full minute.
    pub fn new(
        organization: Organization,
        person: BareAddress,
        language: Option<Language>,
        life: Duration,
        now: UnixMs,
    ) -> Self {
        Self { organization, person, language, expires_at: (now + life).ceil(MINUTE) }
    }

    /// The link's URL below `page_url`, which ends without a slash.
    pub fn url(&self, page_url: &str, keys: &MasterKeys) -> String {
        format!("{page_url}{PATH}{}", self.token(keys))
    }

    /// The token. Its last character is a letter or a digit, because programs that make links clickable leave out a dash at
    /// the end.
    pub fn token(&self, keys: &MasterKeys) -> String {
        let plain = self.plain();
        // Each is sealed with another nonce, and of 64 last characters two are no letter and no digit.
        let mut tokens = std::iter::repeat_with(|| keys.seal(CONTEXT, &plain));
        tokens.find(|token| token.ends_with(is_last)).expect("the tokens do not come to an end")
    }

    /// Reads what [`Link::token`] wrote, whatever sentence it ended; `None` if it is no token of ours. Whether the link is
    /// still good is told by [`Link::expires_at`].
    pub fn read(token: &str, keys: &MasterKeys) -> Option<Self> {
        let token = token.trim_end_matches(|last| !is_last(last));
        let plain = keys.open(CONTEXT, token).ok()?;
        Self::of_plain(plain.expose_secret())
    }

    /// What is sealed: two letters of the language or zeros, four bytes of expiry, and the organization, of which the usual
    /// one is left out, and the person with a slash between them. As short as that, since a link is texted.
    fn plain(&self) -> Vec<u8> {
        let language = self.language.map_or("\0\0", Language::code);
        let minutes = self.expires_at.get() / MINUTE.as_millis() as u64;
        let minutes = u32::try_from(minutes).unwrap_or(u32::MAX).to_be_bytes();
        let is_usual = self.organization == Organization::default();
        let organization = if is_usual { "" } else { self.organization.as_str() };
        [language.as_bytes(), &minutes, organization.as_bytes(), b"/", self.person.as_bytes()].concat()
    }

    fn of_plain(plain: &[u8]) -> Option<Self> {
        let (language, rest) = plain.split_first_chunk::<2>()?;
        let (minutes, rest) = rest.split_first_chunk::<4>()?;
        let (organization, person) = std::str::from_utf8(rest).ok()?.split_once('/')?;
        Some(Self {
            organization: match organization {
                "" => Organization::default(),
                name => Organization::parse(name).ok()?,
            },
            person: person.parse().ok()?,
            language: std::str::from_utf8(language).ok().and_then(|code| code.parse().ok()),
            expires_at: UnixMs::EPOCH + MINUTE * u32::from_be_bytes(*minutes),
        })
    }
}

/// Whether a token may end in `character`.
fn is_last(character: char) -> bool {
    character.is_ascii_alphanumeric()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OLD: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
    const NEW: &str = "AQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQEBAQE=";

    fn keys(text: &str) -> MasterKeys {
        MasterKeys::parse(text).unwrap()
    }

    fn link(organization: &str, person: &str) -> Link {
        let organization = Organization::parse(organization).unwrap();
        let now = UnixMs::new(1_769_860_800_000);
        Link::new(organization, person.parse().unwrap(), Some(Language::Spanish), LIFE_DEFAULT, now)
    }

    #[test]
    fn a_link_is_short_enough_to_be_texted_and_shows_no_number() {
        let url = link("default", "+14155552671").url("https://sms.example.com", &keys(OLD));
        // docs/http.md tells this length.
        assert_eq!(url.len(), "https://sms.example.com/consent/".len() + 75);
        assert!(!url.contains("5552671"), "{url}");
    }

    #[test]
    fn a_link_outlives_the_key_that_sealed_it_until_that_is_taken_away() {
        let link = link("acme", "+14155552671");
        let token = link.token(&keys(OLD));
        assert_eq!(Link::read(&token, &keys(&format!("{NEW},{OLD}"))), Some(link));
        assert_eq!(Link::read(&token, &keys(NEW)), None);
    }

    #[test]
    fn what_was_sealed_for_something_else_is_no_link() {
        let sealed = keys(OLD).seal("settings/default", &link("acme", "+14155552671").plain());
        assert_eq!(Link::read(&sealed, &keys(OLD)), None);
    }

    #[test]
    fn a_link_expires_at_a_full_minute_that_is_not_before_its_time() {
        let now = UnixMs::new(1_769_860_800_001);
        let link = Link::new(Organization::default(), "+14155552671".parse().unwrap(), None, LIFE_MIN, now);
        assert_eq!(link.expires_at, UnixMs::new(1_769_860_920_000));
    }

    proptest! {
        #[test]
        fn a_token_is_read_as_it_was_written_and_with_any_change_not_at_all(
            organization in "[a-zA-Z0-9._-]{1,64}",
            person in "\\+[1-9][0-9]{6,14}|[A-Z]{2}\\.[0-9A-Za-z]{1,30}",
            minutes: u32,
            language in 0..=Language::ALL.len(),
            at: prop::sample::Index,
            end in "[.,;:)]?-?",
        ) {
            let keys = keys(OLD);
            let link = Link {
                organization: Organization::parse(&organization).unwrap(),
                person: person.parse().unwrap(),
                language: Language::ALL.get(language).copied(),
                expires_at: UnixMs::EPOCH + MINUTE * minutes,
            };
            let token = link.token(&keys);
            prop_assert!(token.ends_with(is_last));
            prop_assert_eq!(Link::read(&format!("{token}{end}"), &keys), Some(link));
            let mut changed = token.into_bytes();
            let byte = at.get(&changed);
            let other = if *byte == b'A' { b'B' } else { b'A' };
            let at = at.index(changed.len());
            changed[at] = other;
            prop_assert_eq!(Link::read(std::str::from_utf8(&changed).unwrap(), &keys), None);
        }

        #[test]
        fn no_text_is_a_token(text in "\\PC{0,120}") {
            prop_assert_eq!(Link::read(&text, &keys(OLD)), None);
        }
    }
}
