//! Twilio's stand-in: a server that answers like `api.twilio.com` and posts signed webhooks, for tests and for trying
//! things out without an account.
//!
//! It is a model and not a script. A message that is accepted lives: it takes the statuses that one at Twilio would
//! take, in time, and each is told by a callback. A STOP blocks, and a send to whoever sent it is refused. What goes
//! wrong is chosen by the recipient's number or by [`Faults`].
//!
//! * `model` knows and decides everything, without input or output; `create`, `plan`, `blocks` and `list`
//!   are parts of it, `message`, `errors` and `faults` its vocabulary.
//! * `exchange` gives it time and posts what falls due by `post`, obeying `overrides`; `inbound` and
//!   `replies` are the two ways of a conversation.
//! * `api` and `control` are its HTTP: Twilio's, and its own under `/simulator`; `update`, `media`, `lookup` and
//!   `senders` answer parts of the former.
//!
//! Twilio confirms STOP, START and HELP on SMS by messages of its own; they are not modelled, so that every message
//! in the model is one that the application caused.

mod api;
mod blocks;
mod control;
mod create;
mod errors;
mod exchange;
mod faults;
mod inbound;
mod list;
mod lookup;
mod media;
mod message;
mod model;
mod overrides;
mod plan;
mod post;
mod replies;
mod senders;
mod update;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use actix_web::{App, HttpServer, dev::ServerHandle, web};
use secrecy::SecretString;
use tokio::{sync::watch, time::error::Elapsed};

use self::{api::Api, exchange::Exchange, model::Model, post::Poster};
pub use self::{
    exchange::InboundError,
    faults::{Faults, InvalidFaults},
    inbound::{Inbound, InvalidInbound},
    message::{Callback, Direction, Message},
    post::{Answer, Attempt, Outcome, Parameters},
    senders::{Senders, Service},
};
use crate::twilio::{
    AccountSid,
    credentials::ApiKey,
    signature::{Algorithm, SigningKey},
};

/// Threads that answer requests.
const WORKERS: usize = 2;

/// How long an idle connection is kept: longer than clients use one again, or a request could meet its end and be a lost answer
/// that nobody has asked for.
const KEEP_ALIVE: Duration = Duration::from_secs(75);

/// The present. A stand-in for Twilio lives in real time, and imports nothing that could tell another.
#[expect(clippy::disallowed_methods, reason = "Twilio does not take our clock either")]
fn now() -> jiff::Timestamp {
    jiff::Timestamp::now()
}

/// What a simulator is started with. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens; port 0 picks one.
    pub listen: SocketAddr,
    /// The account that messages are sent through.
    pub account_sid: AccountSid,
    /// The account's token: it signs webhooks, and admits to the API.
    pub auth_token: SecretString,
    /// API keys that admit to the API as well.
    pub api_keys: Vec<ApiKey>,
    /// Which other accounts there are.
    pub other_accounts: OtherAccounts,
    /// Where messages from people go.
    pub webhook_url: Option<String>,
    /// Whether only the sender of Twilio's test credentials, +15005550006, may send (21606 otherwise).
    pub strict: bool,
    /// What SIDs and draws start from; without one they can not be foretold.
    pub seed: Option<u64>,
}

/// The accounts beside the one that messages are sent through: they can be looked at and have no messages, so that a service
/// of several organizations can be given an account for each. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub enum OtherAccounts {
    /// These, each with its token. Whoever claims another one is refused, as by Twilio.
    Known(Vec<(AccountSid, SecretString)>),
    /// Any, by whatever token but 32 times f: for tests of many accounts.
    Any,
}

impl Config {
    /// An account on this machine and any free port, without a webhook.
    pub fn new(account_sid: AccountSid, auth_token: SecretString) -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            account_sid,
            auth_token,
            api_keys: Vec::new(),
            other_accounts: OtherAccounts::Known(Vec::new()),
            webhook_url: None,
            strict: false,
            seed: None,
        }
    }
}

/// Why a simulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// It can not listen there.
    #[error("the simulator can not listen on {address}: {source}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The webhook's URL is not valid.
    #[error("the simulator's webhook URL must be an http or https URL")]
    WebhookUrl,
}

/// Starts a simulator; it runs on the present runtime until its handle is stopped or dropped.
pub async fn start(config: Config) -> Result<Handle, StartError> {
    let Config { listen, account_sid, auth_token, api_keys, other_accounts, webhook_url, strict, seed } =
        config;
    if webhook_url.as_deref().is_some_and(|url| !create::is_web_url(url)) {
        return Err(StartError::WebhookUrl);
    }
    let poster = Poster::new(SigningKey::new(Algorithm::HmacSha1, &auth_token));
    let model = Model::new(account_sid.clone(), seed);
    let exchange = Arc::new(Exchange::new(account_sid, model, poster, webhook_url));
    let api = web::Data::new(Api::new(exchange.clone(), auth_token, api_keys, other_accounts, strict));

    let of_app = web::Data::from(exchange.clone());
    let app = move || {
        App::new()
            .app_data(api.clone())
            .app_data(of_app.clone())
            .configure(api::configure)
            .configure(control::configure)
            .default_service(web::to(api::not_found))
    };
    let listen_failed = |source| StartError::Listen { address: listen, source };
    let server = HttpServer::new(app).workers(WORKERS).keep_alive(KEEP_ALIVE).disable_signals();
    let server = server.bind(listen).map_err(listen_failed)?;
    let address = server.addrs().first().copied().unwrap_or(listen);
    exchange.set_base_url(format!("http://{address}"));
    let running = server.run();
    let server = running.handle();
    tokio::spawn(running);
    Ok(Handle { address, exchange, server })
}

/// A simulator that runs. Dropping it stops it.
pub struct Handle {
    address: SocketAddr,
    exchange: Arc<Exchange>,
    server: ServerHandle,
}

impl Handle {
    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stands in the place of `https://api.twilio.com`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every message, those from people included, in the order in which they were accepted or received.
    pub fn messages(&self) -> Vec<Message> {
        self.exchange.model().messages().map(|(_, message)| message.clone()).collect()
    }

    /// Changes its value whenever a message does.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.exchange.changes()
    }

    /// Waits until `condition` holds for [`Handle::messages`], at most for `deadline`.
    pub async fn wait_until(
        &self,
        deadline: Duration,
        mut condition: impl FnMut(&[Message]) -> bool,
    ) -> Result<(), Elapsed> {
        let mut changes = self.changes();
        tokio::time::timeout(deadline, async {
            while !condition(&self.messages()) {
                changes.changed().await.expect("the exchange, which is borrowed, holds the sender");
            }
        })
        .await
    }

    /// Waits until every message has come to its end and its callbacks are through, at most for `deadline`.
    pub async fn wait_idle(&self, deadline: Duration) -> Result<(), Elapsed> {
        tokio::time::timeout(deadline, self.exchange.idle()).await
    }

    /// Has a person send a message: the webhook is posted, and what it answered is given back.
    pub async fn receive(&self, inbound: &Inbound) -> Result<Answer, InboundError> {
        self.exchange.receive(inbound).await
    }

    /// Sends messages from people to `url` from now on.
    pub fn set_webhook_url(&self, url: &str) {
        self.exchange.set_webhook_url(url.to_owned());
    }

    /// Gives the account other numbers, messaging services and WhatsApp senders.
    pub fn set_senders(&self, senders: Senders) {
        self.exchange.set_senders(senders);
    }

    /// Replaces all faults.
    pub fn set_faults(&self, faults: Faults) {
        self.exchange.model().set_faults(faults);
    }

    /// Starts over: no messages, no opt-outs, no faults, no senders that were given.
    pub async fn restart(&self) {
        self.exchange.restart().await;
    }

    /// Stops it: callbacks that are not through are given up.
    pub async fn stop(self) {
        self.server.stop(false).await;
        self.exchange.end_era().await;
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        // Both take effect when they are called; what they return would only wait for it.
        drop(self.server.stop(false));
        drop(self.exchange.end_era());
    }
}
