//! The simulated Twilio of a test, and a service that sends through it.

use std::sync::Arc;

use textledger::{
    clock::SystemClock,
    simulator::{self, Config, Direction, Handle, Message, OtherAccounts},
    twilio::{AccountSid, credentials::ApiKey},
};

use super::{
    DEADLINE,
    leftovers::Ending,
    service::{ACCOUNT_SID, AUTH_TOKEN, On, TestService},
};

/// An API key that Twilio takes in place of the token.
pub const API_KEY_SID: &str = "SKaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
pub const API_KEY_SECRET: &str = "api-key-secret-of-32-characters-";

/// A service and the Twilio that it talks to.
pub struct World {
    pub service: TestService,
    pub twilio: Handle,
    /// How it is ended, if it is a story's.
    ending: Option<Ending>,
}

impl World {
    /// Starts both, on a fresh store.
    pub async fn start(on: On) -> Self {
        Self::start_with(on, &[]).await
    }

    /// Starts both, on a fresh store, the service with further settings.
    pub async fn start_with(on: On, settings: &[(&str, &str)]) -> Self {
        let account = AccountSid::parse(ACCOUNT_SID).unwrap();
        let api_key = ApiKey { sid: API_KEY_SID.to_owned(), secret: API_KEY_SECRET.into() };
        let config = Config {
            seed: Some(1),
            api_keys: vec![api_key],
            other_accounts: OtherAccounts::Any,
            ..Config::new(account, AUTH_TOKEN.into())
        };
        let twilio = simulator::start(config).await.unwrap();
        let base_url = twilio.base_url();
        let settings = [&[("TWILIO_API_BASE_URL", base_url.as_str())], settings].concat();
        let service = TestService::start_with(on, &settings).await;
        twilio.set_webhook_url(&service.url("/webhooks/twilio/inbound"));
        Self { service, twilio, ending: None }
    }

    /// Starts both for a story, which has to end by [`World::finish`].
    pub async fn story(on: On, settings: &[(&str, &str)]) -> Self {
        let mut world = Self::start_with(on, settings).await;
        world.ending = Some(Ending::of(world.service.settings(), Arc::new(SystemClock)));
        world
    }

    /// Ends a story: waits until nothing is left to be done, stops the service, and looks into its store. Nothing may be
    /// left but what the story names: the ids of messages that still wait.
    pub async fn finish(mut self, left: &[&str]) {
        let mut ending = self.ending.take().expect("a story is begun by World::story");
        self.settle().await;
        ending.settled(&self.service.url(""), left).await;
        assert_eq!(self.service.stop().await, Some(0));
        ending.reached(left).await;
    }

    /// Has a person write, and returns what the webhook answered: status and body.
    pub async fn write(&self, from: &str, text: &str) -> (u16, String) {
        let to = if from.starts_with("whatsapp:") { "whatsapp:+15005550006" } else { "+15005550006" };
        self.write_to(to, from, text).await
    }

    /// Has a person write to the sender `to`, and returns what the webhook answered: status and body.
    pub async fn write_to(&self, to: &str, from: &str, text: &str) -> (u16, String) {
        self.write_with(&serde_json::json!({ "from": from, "to": to, "body": text })).await
    }

    /// Has a person write what is in `inbound`, with any parameters of Twilio's.
    pub async fn write_with(&self, inbound: &serde_json::Value) -> (u16, String) {
        let answer = reqwest::Client::new()
            .post(format!("{}/simulator/inbound", self.twilio.base_url()))
            .json(inbound)
            .send()
            .await
            .unwrap();
        let answer: serde_json::Value = answer.json().await.unwrap();
        (answer["status"].as_u64().unwrap() as u16, answer["body"].as_str().unwrap_or_default().to_owned())
    }

    /// Sends a message through the account without the service's knowing, and returns its SID.
    pub async fn send_elsewhere(&self, to: &str) -> String {
        let url = format!("{}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json", self.twilio.base_url());
        let form = [("To", to), ("From", "+15005550006"), ("Body", "from elsewhere")];
        let request = reqwest::Client::new().post(url).basic_auth(ACCOUNT_SID, Some(AUTH_TOKEN)).form(&form);
        let message: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
        message["sid"].as_str().unwrap().to_owned()
    }

    /// Makes things go wrong at Twilio from now on.
    pub async fn fault(&self, faults: serde_json::Value) {
        let url = format!("{}/simulator/faults", self.twilio.base_url());
        let answer = reqwest::Client::new().post(url).json(&faults).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// Waits until Twilio has told everything that it has to tell.
    pub async fn settle(&self) {
        self.twilio.wait_idle(DEADLINE).await.expect("Twilio's callbacks come to an end");
    }

    /// How many messages to `to` Twilio has accepted.
    pub fn accepted_for(&self, to: &str) -> usize {
        self.bodies_for(to).len()
    }

    /// The texts of these, in the order in which Twilio took them.
    pub fn bodies_for(&self, to: &str) -> Vec<String> {
        let is_to =
            |message: &&Message| message.direction == Direction::OutboundApi && message.to.to_twilio() == to;
        self.twilio.messages().iter().filter(is_to).map(|message| message.body.clone()).collect()
    }
}
