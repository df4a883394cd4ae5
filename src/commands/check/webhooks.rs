//! Whether Twilio posts here what people write to the account's numbers, messaging services and WhatsApp senders.

use reqwest::Url;

use super::Found::{self, Failed, Warning, Well};
use crate::{
    app::accounts::Account,
    config::Config,
    domain::AccountSettings,
    twilio::{
        Address, Channel,
        client::{
            Client,
            inbound::{Configured, Inbound, List, Listed, Receiver},
        },
    },
};

/// How many receivers that post elsewhere have a line of their own.
const LINES_MAX: usize = 20;

/// Where incoming messages are taken.
const PATH: &str = "/webhooks/twilio/inbound";

/// Where status callbacks are taken.
const STATUS_PATH: &str = "/webhooks/twilio/status";

/// Where messages can come to.
struct Urls {
    inbound: String,
    status: String,
}

/// A line that all is well, or one for each receiver whose messages do not come here; and one for each list
/// that could not be read, and each sender of the settings that is in no list.
pub(super) async fn webhooks(config: &Config, account: &Account) -> Vec<Found> {
    let whose = format!("webhooks of {}", account.organization);
    let Some(public_url) = &config.public_url else {
        return vec![Warning(format!(
            "{whose}: not looked at, since there is no public URL to compare with"
        ))];
    };
    let urls = Urls { inbound: format!("{public_url}{PATH}"), status: format!("{public_url}{STATUS_PATH}") };
    let settings: &AccountSettings = &account.settings;
    let listed = match Client::new(&config.twilio_api_base_url) {
        Ok(client) => client.list_inbound(&settings.credentials()).await,
        Err(error) => return vec![Failed(format!("{whose}: {error}; check TWILIO_API_BASE_URL"))],
    };
    let unlisted = unlisted(&listed, settings);
    let Listed { configured, unread, .. } = listed;
    // Nobody can write to a service without senders. That ours has none is a mistake of its own, which must
    // not hide another.
    let (well, elsewhere): (Vec<_>, Vec<_>) = configured
        .into_iter()
        .filter(|configured| !is_empty(&configured.receiver) || is_ours(&configured.receiver, settings))
        .partition(|configured| leads_to(&configured.inbound, &urls.inbound));

    let is_any_service_unread =
        unread.iter().any(|(list, _)| matches!(list, List::Services | List::OfService { .. }));
    let mut lines: Vec<Found> = elsewhere
        .iter()
        .map(|configured| {
            // A service that could not be read may decide otherwise for its senders than they say themselves.
            let is_sure = matches!(configured.receiver, Receiver::Service { .. }) || !is_any_service_unread;
            let is_failure = is_sure && is_ours(&configured.receiver, settings);
            complaint(&whose, configured, &urls, is_failure)
        })
        .collect();
    // What fails is told in any case, however many others there are.
    lines.sort_by_key(|line| !matches!(line, Failed(_)));
    let left_out = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    if left_out > 0 {
        lines.push(Warning(format!("{whose}: and {left_out} more")));
    }
    if elsewhere.is_empty() && !well.is_empty() {
        lines.push(Well(format!("{whose}: what people write is posted here, for {}", counted(&well))));
    }
    lines.extend(unlisted.into_iter().map(|address| {
        Warning(format!(
            "{whose}: {address} is none of the account's senders that take messages, so where replies to it \
             go is not known; if it is of another account, a sandbox or an RCS sender, look in Twilio's \
             console whether messages to it are posted to {}",
            urls.inbound
        ))
    }));
    lines.extend(unread.iter().map(|(list, error)| {
        Warning(format!(
            "{whose}: {list} cannot be listed: {error}; look in Twilio's console whether messages to them \
             are posted to {}",
            urls.inbound
        ))
    }));
    if lines.is_empty() {
        lines.push(Warning(format!(
            "{whose}: the account has no number, messaging service or WhatsApp sender that people could \
             write to"
        )));
    }
    lines
}

/// The senders of the settings that are in no list, where the list that would have them could be read.
fn unlisted(listed: &Listed, settings: &AccountSettings) -> Vec<String> {
    let is_unread = |channel: Channel| {
        listed.unread.iter().any(|(list, _)| match list {
            List::Numbers | List::ShortCodes => channel == Channel::Sms,
            List::WhatsappSenders => channel == Channel::Whatsapp,
            List::Services | List::OfService { .. } => channel == Channel::Rcs,
        })
    };
    own_addresses(settings)
        .filter(|own| !listed.known.contains(&own.to_twilio()) && !is_unread(own.channel()))
        .map(Address::to_twilio)
        .collect()
}

/// Whether messages come to `here`.
fn leads_to(inbound: &Inbound, here: &str) -> bool {
    matches!(inbound, Inbound::Posted(url) if is_same_place(url, here))
}

/// Whether two URLs are one place, in whichever way they are spelled.
fn is_same_place(one: &str, other: &str) -> bool {
    let place = |url: &str| {
        let url = Url::parse(url).ok()?;
        Some((url.origin().ascii_serialization(), url.path().to_owned()))
    };
    place(one).is_some() && place(one) == place(other)
}

/// Whether it is a service that has no senders.
fn is_empty(receiver: &Receiver) -> bool {
    matches!(receiver, Receiver::Service { senders, .. } if senders.is_empty())
}

/// The senders that the organization sends by, unless a send names another.
fn own_addresses(settings: &AccountSettings) -> impl Iterator<Item = &Address> {
    [&settings.phone_number, &settings.whatsapp_number].into_iter().flatten()
}

/// Whether the organization sends by it, so that replies are sure to come to it.
fn is_ours(receiver: &Receiver, settings: &AccountSettings) -> bool {
    let mut own = own_addresses(settings).map(Address::to_twilio);
    match receiver {
        Receiver::Number(address) | Receiver::WhatsappSender(address) => own.any(|own| own == *address),
        Receiver::Service { sid, senders, .. } => {
            settings.messaging_service_sid.as_ref().is_some_and(|own| own.as_str() == sid)
                || own.any(|own| senders.contains(&own))
        }
    }
}

/// The line about a receiver whose messages do not come to the URL of incoming messages.
fn complaint(whose: &str, configured: &Configured, urls: &Urls, is_failure: bool) -> Found {
    let Configured { receiver, inbound } = configured;
    let here = &urls.inbound;
    let line = format!("{whose}: what people write to {receiver}");
    let place = match inbound {
        // The application may well post here, so that this is no failure.
        Inbound::Application(sid) => {
            return Warning(format!(
                "{line} goes where the TwiML application {sid} says; look there in Twilio's console whether \
                 it is posted to {here}"
            ));
        }
        // The service knows an incoming message by what is in it, so that nothing is lost.
        Inbound::Posted(url) if is_same_place(url, &urls.status) => {
            return Warning(format!(
                "{line} is posted to the URL of status callbacks, {}; it is taken as an incoming message \
                 there, and told as a mistake; let it be posted to {here} in Twilio's console",
                urls.status
            ));
        }
        Inbound::Posted(url) => format!("to {}", shown(url)),
        Inbound::Nowhere => "nowhere".to_owned(),
    };
    let line = format!(
        "{line} is posted {place}, so that a STOP is not heard of here; let it be posted to {here} in \
         Twilio's console"
    );
    if is_failure { Failed(line) } else { Warning(line) }
}

/// A URL without what may be secret in it: all but its host. Some providers have the secret in the path.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => {
            let path = if matches!(url.path(), "" | "/") { "" } else { "/…" };
            format!("{}{path}", url.origin().ascii_serialization())
        }
        Err(_) => "something that is no URL".to_owned(),
    }
}

/// How many of each kind there are, in words.
fn counted(configured: &[Configured]) -> String {
    let count = |of: fn(&Receiver) -> bool, one: &str| {
        let count = configured.iter().filter(|configured| of(&configured.receiver)).count();
        (count > 0).then(|| if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") })
    };
    let kinds = [
        count(|receiver| matches!(receiver, Receiver::Number(_)), "number"),
        count(|receiver| matches!(receiver, Receiver::Service { .. }), "messaging service"),
        count(|receiver| matches!(receiver, Receiver::WhatsappSender(_)), "WhatsApp sender"),
    ];
    kinds.into_iter().flatten().collect::<Vec<_>>().join(", ")
}
