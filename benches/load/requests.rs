//! The callbacks, signed and written down as HTTP before anything is measured.

use rand::{RngExt, SeedableRng, rngs::StdRng};
use textledger::twilio::{
    Form,
    signature::{self, Algorithm, SIGNATURE_HEADER, SigningKey},
};

/// The account that the service is configured with.
pub const ACCOUNT_SID: &str = "ACaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
/// Its token.
pub const AUTH_TOKEN: &str = "0123456789abcdef0123456789abcdef";
/// By which Twilio is told to reach the service.
pub const PUBLIC_URL: &str = "https://sms.example.com";
/// The sender of all messages.
pub const SENDER: &str = "+15005550006";

const STATUS: &str = "/webhooks/twilio/status";
const INBOUND: &str = "/webhooks/twilio/inbound";
const SEED: u64 = 1;

/// Messages whose first callbacks go before their second ones: as far apart as two callbacks are.
const BLOCK: usize = 1_000;

/// HTTP requests, ready to be written.
pub struct Callbacks {
    requests: Vec<Vec<u8>>,
}

/// Message SIDs and recipients, the same at every run.
pub fn messages(count: usize) -> Vec<(String, String)> {
    let mut random = StdRng::seed_from_u64(SEED);
    let message = |_| {
        let sid: u128 = random.random();
        let number: u32 = random.random_range(0..10_000_000);
        (format!("SM{sid:032x}"), format!("+1415{number:07}"))
    };
    (0..count).map(message).collect()
}

/// Writes requests as Twilio does.
pub struct Signer {
    key: SigningKey,
    /// By which Twilio was told to reach the service.
    public_url: String,
}

impl Callbacks {
    /// Signs `sent` and `delivered` for each of `count` messages.
    pub fn sign(count: usize) -> Self {
        Self::sign_from(0, count)
    }

    /// The same for `count` messages behind the first `skipped`.
    pub fn sign_from(skipped: usize, count: usize) -> Self {
        let signer = Signer::new(PUBLIC_URL);
        let mut requests = Vec::with_capacity(2 * count);
        for block in messages(skipped + count)[skipped..].chunks(BLOCK) {
            for status in ["sent", "delivered"] {
                requests.extend(block.iter().map(|(sid, to)| signer.callback(sid, to, status)));
            }
        }
        Self { requests }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.requests.len()
    }

    /// The request of this number.
    pub fn get(&self, number: usize) -> Option<&[u8]> {
        self.requests.get(number).map(Vec::as_slice)
    }
}

impl Signer {
    /// For a service that Twilio reaches by `public_url`.
    pub fn new(public_url: &str) -> Self {
        let key = SigningKey::new(Algorithm::HmacSha1, &AUTH_TOKEN.into());
        Self { key, public_url: public_url.to_owned() }
    }

    /// A status callback.
    pub fn callback(&self, sid: &str, to: &str, status: &str) -> Vec<u8> {
        let mut parameters = vec![
            ("ApiVersion", "2010-04-01"),
            ("MessageStatus", status),
            ("SmsSid", sid),
            ("SmsStatus", status),
            ("To", to),
            ("From", SENDER),
            ("MessageSid", sid),
            ("AccountSid", ACCOUNT_SID),
            ("MessagingServiceSid", "MGcccccccccccccccccccccccccccccccc"),
        ];
        if status == "delivered" {
            parameters.push(("RawDlrDoneDate", "2611221230"));
        }
        self.post(STATUS, parameters.into_iter().collect())
    }

    /// What a person has written, the message of this number.
    pub fn reply(&self, number: u64, from: &str, body: &str) -> Vec<u8> {
        let sid = format!("SM{:032x}", u128::MAX - u128::from(number));
        let parameters = [
            ("AccountSid", ACCOUNT_SID),
            ("MessageSid", &sid),
            ("SmsSid", &sid),
            ("From", from),
            ("To", SENDER),
            ("Body", body),
            ("NumMedia", "0"),
        ];
        self.post(INBOUND, parameters.into_iter().collect())
    }

    fn post(&self, target: &str, form: Form<'_>) -> Vec<u8> {
        let signature = signature::sign(&self.key, &format!("{}{target}", self.public_url), &form);
        let body = form.encode();
        format!(
            "POST {target} HTTP/1.1\r\nHost: sms.example.com\r\nUser-Agent: TwilioProxy/1.1\r\nAccept: */*\r\n\
             Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n{SIGNATURE_HEADER}: {signature}\r\n\
             I-Twilio-Idempotency-Token: 11111111-2222-3333-4444-555555555555\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .into_bytes()
    }
}

/// A STOP from each of `count` people.
pub fn stops(count: u64) -> Vec<Vec<u8>> {
    let signer = Signer::new(PUBLIC_URL);
    (0..count).map(|number| signer.reply(number, &format!("+1628{number:07}"), "STOP")).collect()
}
