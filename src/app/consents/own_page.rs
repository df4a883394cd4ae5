//! The page on which a person sees what they get and changes it: what it shows, and what their word there does.

use std::time::Duration;

use super::{
    Consents,
    link::Link,
    preferences::{OWN_CHANGES_MAX, OWN_CHANGES_PERIOD},
    record::{Author, Outcome, Record},
};
use crate::{
    app::Scope,
    domain::{
        AccountSettings, Consent, Person, UnixMs,
        audit::{Action, Entry, Facts, Masked, Subject},
        category,
        consent::{
            ChannelConsent, ConsentChannel, ConsentSource, ConsentState, NoConsent, RequiredOptIn, Route,
        },
    },
    store,
    twilio::{Address, BareAddress, Channel, reply::Language},
};

/// Nobody has told the service by which URL browsers reach it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a link needs the public URL, and none is configured")]
pub struct NoPageUrl;

/// What a person gets on a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gets {
    /// What is sent to them.
    Messages,
    /// All but what advertises: WhatsApp's own stop of marketing.
    AllButMarketing,
    /// Nothing until somebody has read a reply of theirs that may be an opt-out.
    NothingYet,
    /// Nothing.
    Nothing,
}

/// What became of a wish on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnWish {
    /// It is recorded.
    Recorded,
    /// It was known already.
    Known,
    /// It is the next of too many opt-ins within a day, and nothing has changed.
    TooOften,
}

/// How a person stands on a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// The channel.
    pub channel: ConsentChannel,
    /// What they get from the organization's usual sender.
    pub gets: Gets,
    /// Their wish.
    pub wish: ConsentState,
    /// Since when they get that, if it follows from their wish.
    pub since: Option<UnixMs>,
    /// Whether Twilio refuses to send to them from some sender, until they text START to it.
    pub is_blocked: bool,
    /// The blocked senders, where Twilio said which, and messaging services by their SIDs.
    pub blocked_senders: Vec<String>,
}

/// The counter of the opt-ins of `person` on their page.
pub(in crate::app) fn counter_of(person: &Person) -> String {
    format!("opt-ins by link of {}", person.as_str())
}

impl Scope<'_, Consents> {
    /// A link for `person`, and its URL.
    pub fn link(
        &self,
        person: BareAddress,
        language: Option<Language>,
        life: Duration,
    ) -> Result<(Link, String), NoPageUrl> {
        let page_url = self.core.settings.page_url.as_ref().ok_or(NoPageUrl)?;
        let link = Link::new(self.organization.clone(), person, language, life, self.core.now_ms());
        let url = link.url(page_url, &self.core.keys);
        Ok((link, url))
    }

    /// How `person` stands on each channel that they can be reached on, if `account` sends.
    pub async fn subscriptions(
        &self,
        person: &BareAddress,
        account: Option<&AccountSettings>,
    ) -> Result<Vec<Subscription>, store::Error> {
        let consent = self.consent(person).await?;
        let required = self.core.settings.required_opt_in;
        // Who is known by a user id of WhatsApp's alone has no number to get an SMS at.
        let channels = if Person::of(person).has_number() {
            &[Channel::Sms, Channel::Whatsapp][..]
        } else {
            &[Channel::Whatsapp]
        };
        Ok(channels.iter().map(|channel| subscription(&consent, *channel, account, required)).collect())
    }

    /// Records what a person wishes on their page, as their own word, and writes it down in the audit if it is new. What waits
    /// for a person who opts out is refused. They may opt in as often as users may change their preferences
    /// ([`OWN_CHANGES_MAX`]), for the same reason; an opt-out is always taken.
    pub async fn record_own_wish(
        &self,
        person: &BareAddress,
        channel: ConsentChannel,
        wish: ConsentState,
    ) -> Result<OwnWish, store::Error> {
        let known = self.consent(person).await?;
        let is_on = |of: ConsentChannel| channel == ConsentChannel::All || channel == of;
        let adds = is_on(ConsentChannel::Sms) && is_news(&known.sms, wish)
            || is_on(ConsentChannel::Whatsapp) && is_news(&known.whatsapp, wish);
        if wish == ConsentState::OptedIn && adds {
            let name = counter_of(&Person::of(person));
            let (max, period) = (OWN_CHANGES_MAX, OWN_CHANGES_PERIOD);
            if self.core.store.count(self.organization, &name, max, period).await?.is_none() {
                return Ok(OwnWish::TooOften);
            }
        }
        let source = ConsentSource::Link;
        let facts = Facts {
            channel: Some(channel.as_str().to_owned()),
            state: Some(wish.as_str().to_owned()),
            source: Some(source.as_str().to_owned()),
            ..Facts::default()
        };
        let entry = Entry::of_person(Action::ConsentChange).with(facts);
        let entry = entry.about(Subject::Person(Masked::of(person)));
        let record = Record { phone: person.clone(), channel, state: wish, source, evidence: None, at: None };
        let is_news = |known: &ChannelConsent| is_news(known, wish);
        let outcome = self.apply_record(&record, Author::PERSON, Some(&entry), is_news).await?;
        Ok(match outcome {
            Outcome::Changed(_) => OwnWish::Recorded,
            // None is kept from a person's own word.
            Outcome::Unchanged(_) | Outcome::Kept(_) => OwnWish::Known,
        })
    }
}

impl Consents {
    /// The link of a token; `None` if it is none of ours.
    pub fn read_link(&self, token: &str) -> Option<Link> {
        Link::read(token, &self.core.keys)
    }
}

/// How a person of this consent stands on `channel`, if `account` sends. What they get is what a message of no particular
/// kind would not be refused.
fn subscription(
    consent: &Consent,
    channel: Channel,
    account: Option<&AccountSettings>,
    required: RequiredOptIn,
) -> Subscription {
    let known = consent.on(channel);
    let route = Route {
        channel,
        from: account.and_then(|account| account.sender(channel)).map(Address::bare),
        service: account.and_then(|account| account.messaging_service_sid.as_ref()),
        category: None,
    };
    let refusal = consent.refusal(&route, required);
    let advertises = Route { category: Some(category::MARKETING), ..route };
    let gets = match refusal {
        None if consent.is_under_review(channel.into()) => Gets::NothingYet,
        None if consent.refusal(&advertises, required).is_some() => Gets::AllButMarketing,
        None => Gets::Messages,
        Some(NoConsent::OptedOut) if known.source == Some(ConsentSource::Twilio63033) => {
            Gets::AllButMarketing
        }
        Some(NoConsent::OptedOut | NoConsent::BlockedByTwilio | NoConsent::NotOptedIn) => Gets::Nothing,
    };
    Subscription {
        channel: channel.into(),
        gets,
        wish: known.state,
        since: known.at.filter(|_| refusal != Some(NoConsent::BlockedByTwilio) && gets != Gets::NothingYet),
        is_blocked: !known.blocks.is_empty(),
        blocked_senders: known.blocks.names().map(str::to_owned).collect(),
    }
}

/// Whether `wish` says more than what is known. A person's opt-out does where somebody else recorded one, since then only
/// they take it back, and where WhatsApp's stop was about marketing alone; their opt-in does where a reply of theirs is in
/// doubt.
fn is_news(known: &ChannelConsent, wish: ConsentState) -> bool {
    let is_persons_own = known.source.is_some_and(ConsentSource::is_the_persons);
    let is_marketing_alone = known.source == Some(ConsentSource::Twilio63033);
    match wish {
        ConsentState::OptedOut => known.state != wish || !is_persons_own || is_marketing_alone,
        ConsentState::OptedIn | ConsentState::Unknown | ConsentState::Review => {
            known.state != wish || !known.reviews.is_empty()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domain::consent::{Blocks, Reviews};

    use ConsentSource::{Api, Keyword, Link, Twilio63033};
    use ConsentState::{OptedIn, OptedOut, Unknown};

    fn known(state: ConsentState, source: Option<ConsentSource>) -> ChannelConsent {
        ChannelConsent { state, source, ..ChannelConsent::default() }
    }

    #[test]
    fn an_opt_out_becomes_the_persons_own_and_is_recorded_once() {
        for (state, source, wish, expected) in [
            (Unknown, None, OptedOut, true),
            (OptedIn, Some(Api), OptedOut, true),
            (OptedOut, Some(Api), OptedOut, true),
            (OptedOut, Some(Twilio63033), OptedOut, true),
            (OptedOut, Some(Keyword), OptedOut, false),
            (OptedOut, Some(Link), OptedOut, false),
            (OptedOut, Some(Keyword), OptedIn, true),
            (OptedIn, Some(Link), OptedIn, false),
        ] {
            assert_eq!(
                is_news(&known(state, source), wish),
                expected,
                "{wish:?} after {state:?} by {source:?}"
            );
        }
    }

    #[test]
    fn a_person_gets_what_a_send_would_not_refuse() {
        let gets = |known: ChannelConsent, required| {
            let consent = Consent { whatsapp: known, ..Consent::default() };
            subscription(&consent, Channel::Whatsapp, None, required).gets
        };
        let blocked: Blocks = serde_json::from_str("true").unwrap();
        let review = json!([{ "message_sid": format!("SM{}", "a".repeat(32)), "at": 1, "until": 2 }]);
        let in_doubt: Reviews = serde_json::from_value(review).unwrap();
        for (known, required, expected) in [
            (known(Unknown, None), RequiredOptIn::None, Gets::Messages),
            (known(Unknown, None), RequiredOptIn::Marketing, Gets::AllButMarketing),
            (known(OptedIn, Some(Link)), RequiredOptIn::Marketing, Gets::Messages),
            (known(Unknown, None), RequiredOptIn::All, Gets::Nothing),
            (known(OptedIn, Some(Link)), RequiredOptIn::All, Gets::Messages),
            (known(OptedOut, Some(Keyword)), RequiredOptIn::None, Gets::Nothing),
            (known(OptedOut, Some(Twilio63033)), RequiredOptIn::None, Gets::AllButMarketing),
            (
                ChannelConsent { reviews: in_doubt, ..known(OptedIn, Some(Link)) },
                RequiredOptIn::None,
                Gets::NothingYet,
            ),
            (
                ChannelConsent { blocks: blocked, ..known(OptedIn, Some(Link)) },
                RequiredOptIn::None,
                Gets::Nothing,
            ),
        ] {
            assert_eq!(gets(known.clone(), required), expected, "{known:?}");
        }
    }
}
