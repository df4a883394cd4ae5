//! Whether Twilio posts here what people write to the account's numbers, messaging services and WhatsApp senders.

use reqwest::Url;

use super::Found::{self, Failed, Warning, Well};
use crate::{
    app::accounts::Account,
    config::Config,
    domain::AccountSettings,
    twilio::client::{
        Client,
        inbound::{Configured, Inbound, Receiver},
    },
};

/// How many receivers that post elsewhere have a line of their own.
const LINES_MAX: usize = 20;

/// Where incoming messages are taken.
const PATH: &str = "/webhooks/twilio/inbound";

/// A line that all is well, or one for each receiver whose messages do not come here.
pub(super) async fn webhooks(config: &Config, account: &Account) -> Vec<Found> {
    let whose = format!("webhooks of {}", account.organization);
    let Some(public_url) = &config.public_url else {
        return vec![Warning(format!(
            "{whose}: not looked at, since there is no public URL to compare with"
        ))];
    };
    let here = format!("{public_url}{PATH}");
    let listed = match Client::new(&config.twilio_api_base_url) {
        Ok(client) => client.list_inbound(&account.settings.credentials()).await,
        Err(error) => return vec![Failed(format!("{whose}: {error}; check TWILIO_API_BASE_URL"))],
    };
    let configured = match listed {
        Ok(configured) => configured,
        Err(error) => {
            return vec![Warning(format!(
                "{whose}: Twilio's settings cannot be listed: {error}; look in Twilio's console whether messages are \
                 posted to {here}"
            ))];
        }
    };
    let (well, elsewhere): (Vec<_>, Vec<_>) =
        configured.into_iter().partition(|configured| leads_to(&configured.inbound, &here));
    if elsewhere.is_empty() && well.is_empty() {
        return vec![Warning(format!(
            "{whose}: the account has no number, messaging service or WhatsApp sender that people could write to"
        ))];
    }
    if elsewhere.is_empty() {
        return vec![Well(format!("{whose}: what people write is posted here, for {}", counted(&well)))];
    }
    let left_out = elsewhere.len().saturating_sub(LINES_MAX);
    let mut lines: Vec<Found> = elsewhere
        .iter()
        .take(LINES_MAX)
        .map(|configured| {
            let line = format!("{whose}: {}", complaint(configured, &here));
            if is_ours(&configured.receiver, &account.settings) { Failed(line) } else { Warning(line) }
        })
        .collect();
    if left_out > 0 {
        lines.push(Warning(format!("{whose}: and {left_out} more")));
    }
    lines
}

/// Whether messages come to `here`, in whichever way the URL is spelled.
fn leads_to(inbound: &Inbound, here: &str) -> bool {
    let place = |url: &str| {
        let url = Url::parse(url).ok()?;
        Some((url.origin().ascii_serialization(), url.path().to_owned()))
    };
    matches!(inbound, Inbound::Posted(url) if place(url).is_some() && place(url) == place(here))
}

/// Whether the organization sends by it, so that replies are sure to come to it.
fn is_ours(receiver: &Receiver, settings: &AccountSettings) -> bool {
    let AccountSettings { phone_number, whatsapp_number, messaging_service_sid, .. } = settings;
    match receiver {
        Receiver::Number(address) | Receiver::WhatsappSender(address) => {
            [phone_number, whatsapp_number].into_iter().flatten().any(|own| own.to_twilio() == *address)
        }
        Receiver::Service { sid, .. } => {
            messaging_service_sid.as_ref().is_some_and(|own| own.as_str() == sid)
        }
    }
}

fn complaint(Configured { receiver, inbound }: &Configured, here: &str) -> String {
    let what = match inbound {
        Inbound::Posted(url) => format!("what people write to {receiver} is posted to {}", shown(url)),
        Inbound::Application(sid) => {
            format!("what people write to {receiver} goes where the TwiML application {sid} says")
        }
        Inbound::Nowhere => format!("what people write to {receiver} is posted nowhere"),
    };
    format!("{what}, so that a STOP is not heard of here; let it be posted to {here} in Twilio's console")
}

/// A URL without what may be secret in it: the user's part and the query.
fn shown(url: &str) -> String {
    match Url::parse(url) {
        Ok(url) => format!("{}{}", url.origin().ascii_serialization(), url.path()),
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
