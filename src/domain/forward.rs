//! Where an organization's application is told of what happens: of messages received, of statuses, of consent.

use std::collections::BTreeSet;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize, Serializer};

use super::{Event, UnixMs};

/// The most endpoints of an organization.
pub const ENDPOINTS_MAX: usize = 10;

/// What an endpoint can be told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardEvent {
    /// Messages that people send.
    Inbound,
    /// What becomes of messages sent.
    Status,
    /// Opt-outs and opt-ins.
    Consent,
}

impl ForwardEvent {
    /// What kind of event `event` is.
    pub fn of(event: &Event) -> Self {
        match event {
            Event::Inbound(_) => ForwardEvent::Inbound,
            Event::Delivery(_) => ForwardEvent::Status,
            Event::Consent(_) => ForwardEvent::Consent,
        }
    }
}

/// In which form an endpoint is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ForwardFormat {
    /// The form that Twilio posted, signed as Twilio signs.
    Twilio,
    /// JSON, signed as <https://www.standardwebhooks.com> says.
    Standard,
}

/// A URL of the application's. `Debug` shows no secret; what is serialized holds all of them, and is made only to be sealed.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ForwardEndpoint {
    /// Its name, which stays for as long as the URL does.
    pub id: String,
    /// The URL, which may hold a password.
    #[serde(serialize_with = "expose")]
    pub url: SecretString,
    /// What it is told of.
    pub events: BTreeSet<ForwardEvent>,
    /// How.
    pub format: ForwardFormat,
    /// Whether the TwiML that it answers a message with is what the writer is answered.
    #[serde(default)]
    pub reply: bool,
    /// What signs what it is told, in the standard format.
    #[serde(default)]
    pub secret: Option<SigningSecret>,
    /// What signs besides, during a rotation.
    #[serde(default)]
    pub former_secret: Option<FormerSecret>,
    /// Since when it is told of what happens.
    pub since: UnixMs,
    /// Whether its secret has just been made, and is shown.
    #[serde(skip)]
    pub is_secret_new: bool,
}

/// A secret that signs what an endpoint is told: `whsec_` and base64.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SigningSecret(#[serde(serialize_with = "expose")] pub SecretString);

/// A secret that still signs.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FormerSecret {
    /// The secret.
    pub secret: SigningSecret,
    /// Until when.
    pub until: UnixMs,
}

impl ForwardEndpoint {
    /// Whether it is told of such events.
    pub fn wants(&self, event: ForwardEvent) -> bool {
        self.events.contains(&event)
    }

    /// Whether it needs the form that Twilio posted for such events.
    pub fn needs_form(&self, event: ForwardEvent) -> bool {
        self.wants(event) && (self.format == ForwardFormat::Twilio || event == ForwardEvent::Inbound)
    }

    /// What signs at `now`, the newest first.
    pub fn secrets(&self, now: UnixMs) -> impl Iterator<Item = &SecretString> {
        let former = self.former_secret.as_ref().filter(move |former| now < former.until);
        self.secret.iter().chain(former.map(|former| &former.secret)).map(|SigningSecret(secret)| secret)
    }

    /// Its URL as it may be seen: without a password.
    pub fn shown_url(&self) -> String {
        shown(self.url.expose_secret())
    }

    /// Whether `other` is to the same URL, and is told the same.
    pub fn is_like(&self, other: &Self) -> bool {
        self.url.expose_secret() == other.url.expose_secret()
            && self.events == other.events
            && self.format == other.format
            && self.reply == other.reply
            && self.secret.as_ref().map(|SigningSecret(secret)| secret.expose_secret())
                == other.secret.as_ref().map(|SigningSecret(secret)| secret.expose_secret())
    }
}

/// `url` with three asterisks for what stands between its scheme and an `@` before the path.
fn shown(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..end].rfind('@') {
        Some(at) => format!("{scheme}://***{}", &rest[at..]),
        None => url.to_owned(),
    }
}

fn expose<S: Serializer>(secret: &SecretString, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(secret.expose_secret())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, expected) in [
            ("https://crm.example/hook?a=b@c", "https://crm.example/hook?a=b@c"),
            ("https://user:pa@ss@crm.example/hook", "https://***@crm.example/hook"),
            ("https://key@crm.example", "https://***@crm.example"),
        ] {
            assert_eq!(shown(url), expected);
        }
    }

    #[test]
    fn a_former_secret_signs_until_its_time_and_debug_shows_none() {
        let secret = |text: &str| SigningSecret(text.into());
        let endpoint = ForwardEndpoint {
            id: "f".to_owned(),
            url: "https://key:hunter2@crm.example".into(),
            events: BTreeSet::from([ForwardEvent::Status]),
            format: ForwardFormat::Standard,
            reply: false,
            secret: Some(secret("hunter3")),
            former_secret: Some(FormerSecret { secret: secret("hunter4"), until: UnixMs::new(10) }),
            since: UnixMs::new(1),
            is_secret_new: true,
        };
        let signing =
            |now| endpoint.secrets(UnixMs::new(now)).map(|secret| secret.expose_secret()).collect::<Vec<_>>();
        assert_eq!((signing(9), signing(10)), (vec!["hunter3", "hunter4"], vec!["hunter3"]));
        assert!(!format!("{endpoint:?}").contains("hunter"));
        let written = serde_json::to_string(&endpoint).unwrap();
        let read: ForwardEndpoint = serde_json::from_str(&written).unwrap();
        assert!(read.is_like(&endpoint) && !read.is_secret_new);
        assert!(!read.needs_form(ForwardEvent::Status) && !read.wants(ForwardEvent::Inbound));
    }
}
