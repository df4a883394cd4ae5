//! What the application is posted, and the posting.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::Sha256;

use super::Forwards;
use crate::{
    app::{Scope, accounts::Account, relays::Parameters},
    domain::{Event, EventId, ForwardEndpoint, Person, UnixMs, delivery::DeliveryEntry},
    public_host, store,
    twilio::{
        Address, BareAddress, Form, MessageSid, StatusCallback,
        poster::Posted,
        signature::{Algorithm, SigningKey},
        twiml,
    },
};

/// How long the application has for the answer to a message.
const REPLY_TIMEOUT: Duration = Duration::from_secs(8);

/// How long the endpoint that answers is left to whoever took the message: until its answer is there, or has not come.
const HELD: Duration = Duration::from_secs(12);

/// What the prefix of a secret is; behind it stands base64.
const SECRET_PREFIX: &str = "whsec_";

/// What is posted, and by which id: the same each time.
pub(super) struct Payload {
    id: String,
    body: Body,
}

enum Body {
    Form(Parameters),
    Json(String),
}

impl Payload {
    /// `event`, which the API shows as `shown`, with the parameters of the `form` by which Twilio told of it.
    pub(super) fn json(id: EventId, event: &Event, mut shown: Value, form: Option<Parameters>) -> Self {
        if let (Value::Object(object), Event::Inbound(_)) = (&mut shown, event) {
            let text = form.iter().flatten().find(|(name, _)| name == "Body").map(|(_, text)| text.clone());
            object.insert("body".to_owned(), json!(text));
            let parameters =
                form.map(|form| form.into_iter().map(|(name, value)| (name, Value::from(value))));
            object.insert("parameters".to_owned(), json!(parameters.map(Map::from_iter)));
        }
        Self { id: id_of(id, event), body: Body::Json(shown.to_string()) }
    }
}

/// By which id the application is told of `event`: of a message, it is known before the event is.
fn id_of(id: EventId, event: &Event) -> String {
    match event {
        Event::Inbound(entry) => entry.sid.to_string(),
        Event::Delivery(_) | Event::Consent(_) => id.to_string(),
    }
}

impl Scope<'_, Forwards> {
    /// `event` as Twilio posted it, under the name by which the application knows the message; `None` if that is not known any more.
    pub(super) async fn form_of(
        &self,
        account: &Account,
        id: EventId,
        event: &Event,
        form: Option<Parameters>,
    ) -> Result<Option<Payload>, store::Error> {
        let mut form = match (event, form) {
            (_, Some(form)) => form,
            (Event::Delivery(entry), None) => parameters_of(account, entry),
            (Event::Inbound(_) | Event::Consent(_), None) => return Ok(None),
        };
        if let Event::Delivery(DeliveryEntry { id: Some(id), sid, .. }) = event {
            self.relays.of(self.organization).rename_message(id, sid, &mut form).await?;
        }
        Ok(Some(Payload { id: id_of(id, event), body: Body::Form(form) }))
    }

    /// Posts `payload` to `endpoint`.
    pub(super) async fn post(
        &self,
        account: &Account,
        endpoint: &ForwardEndpoint,
        payload: &Payload,
    ) -> Posted {
        let (url, id) = (endpoint.url.expose_secret(), payload.id.as_str());
        match &payload.body {
            Body::Form(form) => {
                let form = Form::from_iter(form.iter().map(|(name, value)| (name.as_str(), value.as_str())));
                self.poster.post(&signing_key(account), url, &form, id).await
            }
            Body::Json(body) => {
                let now = self.core.now_ms();
                let timestamp = (now.get() / 1_000).to_string();
                let headers = [
                    ("webhook-signature", signatures(endpoint.secrets(now), id, &timestamp, body)),
                    ("webhook-timestamp", timestamp),
                    ("webhook-id", id.to_owned()),
                ];
                self.poster.post_json(url, &headers, body.clone()).await
            }
        }
    }

    /// Until when the endpoint that answers is left to whoever takes a message now; the past if there is none.
    pub(in crate::app) fn reply_held_until(&self) -> UnixMs {
        let account = self.accounts.find(self.organization);
        let answers =
            account.is_some_and(|account| account.settings.forward.iter().any(|endpoint| endpoint.reply));
        if answers { self.core.now_ms() + HELD } else { UnixMs::EPOCH }
    }

    /// What the application answers the message `sid` of `person` over `channel`, if it does so in time, says something, and the
    /// person may be written to once it has: an answer never follows an opt-out.
    pub async fn answer(&self, message: &Answerable) -> Option<String> {
        let account = self.accounts.find(self.organization)?;
        let endpoint = account.settings.forward.iter().find(|endpoint| endpoint.reply)?;
        let form = message.form.as_deref()?;
        let form = self.open_form(&message.sid, form).ok()?;
        let form = Form::from_iter(form.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        let (url, token) = (endpoint.url.expose_secret(), message.sid.as_str());
        let key = signing_key(&account);
        public_host::check_relay_url(url, self.core.settings.relay_private).ok()?;
        let (posted, answer) = self.poster.post_and_read(&key, url, &form, token, REPLY_TIMEOUT).await;
        if !posted.is_taken() {
            tracing::warn!(organization = %self.organization, endpoint = endpoint.id, %posted, "the application did not answer a message");
            return None;
        }
        if let Err(error) = self.note_told(&message.sid, &endpoint.id).await {
            // It is told once more, by the same id.
            tracing::warn!(organization = %self.organization, endpoint = endpoint.id, %error, "it could not be noted that the application was told of a message");
        }
        let answer = answer?;
        let document = match twiml::Document::read(&answer.content_type, &answer.body) {
            Ok(document) => document,
            Err(reason) => {
                tracing::warn!(organization = %self.organization, endpoint = endpoint.id, %reason, "the application's answer to a message is not handed on");
                return None;
            }
        };
        let may_be_written_to = self.may_be_written_to(message).await;
        (may_be_written_to && !document.is_silent).then_some(document.xml)
    }

    /// Whether nothing that the writer has said up to now forbids to answer them. Where that cannot be asked, it does.
    async fn may_be_written_to(&self, message: &Answerable) -> bool {
        let known = self.core.store.consent(self.organization, &Person::of(message.from.bare())).await;
        known.is_ok_and(|known| known.consent.may_be_answered(message.from.channel(), message.to.bare()))
    }
}

/// A message that the application may answer. `Debug` is left out: it names people.
pub struct Answerable {
    /// The message.
    pub sid: MessageSid,
    /// Who wrote it.
    pub from: Address,
    /// Our sender.
    pub to: Address,
    /// The form by which Twilio told of it, sealed.
    pub form: Option<String>,
}

fn signing_key(account: &Account) -> SigningKey {
    SigningKey::new(Algorithm::HmacSha1, &account.credentials.auth_token)
}

/// A status as Twilio posts it, of what is known of it.
fn parameters_of(account: &Account, entry: &DeliveryEntry) -> Parameters {
    let address = |bare: &Option<BareAddress>| bare.clone().map(|bare| bare.on(entry.channel));
    StatusCallback {
        account_sid: account.credentials.account_sid.clone(),
        message_sid: entry.sid.clone(),
        status: entry.status.clone(),
        error_code: entry.error_code,
        error_message: None,
        channel_status_code: None,
        channel_status_message: None,
        to: address(&entry.to),
        from: address(&entry.from),
        channel: entry.channel,
        messaging_service_sid: None,
        raw_dlr_done_date: None,
        other: entry.raw.clone(),
    }
    .to_parameters()
}

/// The signatures of `body` with each of `secrets`, as <https://www.standardwebhooks.com> has them.
fn signatures<'a>(
    secrets: impl Iterator<Item = &'a SecretString>,
    id: &str,
    timestamp: &str,
    body: &str,
) -> String {
    let signed = secrets.map(|secret| {
        let text = secret.expose_secret();
        let key = STANDARD.decode(text.strip_prefix(SECRET_PREFIX).unwrap_or(text)).unwrap_or_default();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key may have any length");
        mac.update(format!("{id}.{timestamp}.{body}").as_bytes());
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    });
    signed.collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of the specification: <https://github.com/standard-webhooks/standard-webhooks>.
    #[test]
    fn what_is_signed_is_signed_as_in_the_specification() {
        let secret: SecretString = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".into();
        let (id, timestamp) = ("msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330");
        let body = r#"{"test": 2432232314}"#;
        let expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";
        assert_eq!(signatures([&secret].into_iter(), id, timestamp, body), expected);
        let both = signatures([&secret, &secret].into_iter(), id, timestamp, body);
        assert_eq!(both, format!("{expected} {expected}"));
    }
}
