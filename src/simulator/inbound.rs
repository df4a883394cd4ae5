//! A message from a person: what is asked of the simulator, and the webhook it makes of it.
//!
//! Source: <https://www.twilio.com/docs/messaging/guides/webhook-request>.

use serde_json::Value;

use super::{
    create::is_web_url,
    media,
    message::{API_VERSION, Message},
    model::Incoming,
    post::Parameters,
};
use crate::twilio::{AccountSid, Address, Channel, MessagingServiceSid, address::InvalidAddress};

/// A message that a person is to send.
#[derive(Clone, PartialEq, Eq)]
pub struct Inbound {
    /// The person.
    pub from: Address,
    /// The sender it goes to.
    pub to: Address,
    /// The text.
    pub body: String,
    /// Further parameters of the webhook, under Twilio's names; they win over those the simulator makes.
    pub parameters: Parameters,
    /// Where the webhook goes, if not where all others go.
    pub webhook_url: Option<String>,
}

/// Why a JSON document does not describe a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInbound {
    /// It is no JSON object.
    #[error("the message is not a JSON object")]
    NotAnObject,
    /// A field is needed.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A field must be an address, and its value is not one.
    #[error("{name} is no address: {reason}")]
    Address {
        /// The field.
        name: &'static str,
        /// What is wrong with it.
        reason: InvalidAddress,
    },
    /// A field is neither text nor a number nor a boolean.
    #[error("{0} must be text")]
    NotText(String),
    /// The webhook's URL is not valid.
    #[error("webhook_url must be an http or https URL")]
    WebhookUrl,
}

impl Inbound {
    /// A message without anything special.
    pub fn new(from: Address, to: Address, body: &str) -> Self {
        Self { from, to, body: body.to_owned(), parameters: Vec::new(), webhook_url: None }
    }

    /// Reads `from`, `to`, `body` and `webhook_url`; every other field is a parameter of the webhook.
    pub fn from_json(json: &Value) -> Result<Self, InvalidInbound> {
        let fields = json.as_object().ok_or(InvalidInbound::NotAnObject)?;
        let (mut from, mut to, mut body, mut webhook_url) = (None, None, String::new(), None);
        let mut parameters = Parameters::new();
        for (name, value) in fields {
            let value = match value {
                Value::Null => continue,
                Value::String(text) => text.clone(),
                Value::Number(_) | Value::Bool(_) => value.to_string(),
                Value::Array(_) | Value::Object(_) => return Err(InvalidInbound::NotText(name.clone())),
            };
            match name.as_str() {
                "from" => from = Some(value),
                "to" => to = Some(value),
                "body" => body = value,
                "webhook_url" => webhook_url = Some(value),
                _ => parameters.push((name.clone(), value)),
            }
        }
        if webhook_url.as_deref().is_some_and(|url| !is_web_url(url)) {
            return Err(InvalidInbound::WebhookUrl);
        }
        let address = |name: &'static str, text: Option<String>| {
            let text = text.ok_or(InvalidInbound::Missing(name))?;
            Address::parse(&text).map_err(|reason| InvalidInbound::Address { name, reason })
        };
        Ok(Self { from: address("from", from)?, to: address("to", to)?, body, parameters, webhook_url })
    }

    /// What the model is to know of it.
    pub fn to_incoming(&self) -> Incoming {
        let service = self.get("MessagingServiceSid").map(MessagingServiceSid::parse);
        Incoming {
            from: self.from.clone(),
            to: self.to.clone(),
            body: self.body.clone(),
            num_media: self.get("NumMedia").and_then(|number| number.parse().ok()).unwrap_or(0),
            opt_out_type: self.get("OptOutType").map(str::to_owned),
            messaging_service_sid: service.and_then(Result::ok),
        }
    }

    /// The webhook's parameters, once the model has made `message` of it. Its media files are at the API, at `base_url`.
    pub fn webhook_parameters(
        &self,
        account_sid: &AccountSid,
        message: &Message,
        base_url: &str,
    ) -> Parameters {
        let sid = message.sid.as_str();
        let mut parameters = Parameters::new();
        let mut add = |name: &str, value: &str| {
            if self.get(name).is_none() {
                parameters.push((name.to_owned(), value.to_owned()));
            }
        };
        if self.from.channel() == Channel::Sms {
            // Twilio sends what it knows of the place, and an empty value where it knows nothing.
            for (side, address) in [("To", &self.to), ("From", &self.from)] {
                add(&format!("{side}Country"), if address.bare().starts_with("+1") { "US" } else { "" });
                for part in ["State", "City", "Zip"] {
                    add(&format!("{side}{part}"), "");
                }
            }
        }
        if self.from.channel() == Channel::Whatsapp {
            add("ProfileName", "Simulated Person");
            match self.from.bare().strip_prefix('+') {
                Some(digits) => add("WaId", digits),
                None => add("ExternalUserId", &self.from.to_twilio()),
            }
            add("MessageType", "text");
        }
        for (index, file) in media::of(message).enumerate() {
            let url = format!("{base_url}{}", media::path(message, &file, account_sid));
            add(&format!("MediaContentType{index}"), media::CONTENT_TYPE);
            add(&format!("MediaUrl{index}"), &url);
        }
        add("SmsMessageSid", sid);
        add("NumMedia", &message.num_media.to_string());
        add("SmsSid", sid);
        add("SmsStatus", message.status.as_str());
        add("Body", &self.body);
        add("To", &self.to.to_twilio());
        if let Some(service) = &message.messaging_service_sid {
            add("MessagingServiceSid", service.as_str());
        }
        add("NumSegments", &message.num_segments.to_string());
        add("MessageSid", sid);
        add("AccountSid", account_sid.as_str());
        add("From", &self.from.to_twilio());
        add("ApiVersion", API_VERSION);
        parameters.extend(self.parameters.iter().cloned());
        parameters
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn further_fields_are_parameters() {
        let inbound = Inbound::from_json(&json!({
            "from": "+14155550100", "to": "+15005550006", "body": "Hi", "NumMedia": 1, "Forwarded": true,
            "MediaUrl0": "https://a.example/1", "Nothing": null,
        }))
        .unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(inbound.to_incoming().num_media, 1);
        let mut parameters = inbound.parameters;
        parameters.sort();
        let expected = [("Forwarded", "true"), ("MediaUrl0", "https://a.example/1"), ("NumMedia", "1")];
        assert_eq!(parameters, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (json, complaint) in [
            (json!([]), "the message is not a JSON object"),
            (json!({ "to": "+1" }), "from is missing"),
            (json!({ "from": "+1" }), "to is missing"),
            (json!({ "from": "", "to": "+1" }), "from is no address: the address is empty"),
            (json!({ "from": "+1", "to": "+2", "MediaUrl0": [] }), "MediaUrl0 must be text"),
            (
                json!({ "from": "+1", "to": "+2", "webhook_url": "x" }),
                "webhook_url must be an http or https URL",
            ),
        ] {
            assert_eq!(Inbound::from_json(&json).err().unwrap().to_string(), complaint);
        }
    }
}
