//! `textledger simulator`.

use std::net::SocketAddr;

use clap::Args;
use secrecy::SecretString;
use serde_json::json;

use super::{Misuse, StopSignals, block_on, say};
use crate::{
    simulator::{self, OtherAccounts, StartError},
    telemetry,
    twilio::AccountSid,
};

/// Point an application's Twilio SDK, or textledger's TWILIO_API_BASE_URL, at the address it prints.
///
/// A recipient whose last five digits are a 30xxx or 63xxx error code ends undelivered with that code;
/// +15005550001 and its like answer as Twilio's test credentials do. POST /simulator/inbound has a person write,
/// POST /simulator/faults makes things go wrong, POST /simulator/senders gives the account other numbers,
/// messaging services and WhatsApp senders, GET /simulator/messages shows what was sent. Accounts given by --account can be
/// looked at, so that textledger takes them for further organizations; any other one is refused.
#[derive(Args)]
pub(super) struct Simulator {
    /// Address and port to listen on; port 0 picks one.
    #[arg(long, default_value = "127.0.0.1:8081")]
    listen: SocketAddr,
    /// The account that there is.
    #[arg(long, default_value = "AC00000000000000000000000000000000", value_parser = AccountSid::parse)]
    account_sid: AccountSid,
    /// The account's auth token. Better in the environment, where a process list does not show it.
    #[arg(long, env = "TWILIO_AUTH_TOKEN", hide_env_values = true, default_value = DEFAULT_TOKEN)]
    auth_token: SecretString,
    /// Another account that there is, and its token; may be given several times.
    #[arg(long = "account", value_name = "SID:TOKEN", value_parser = other_account)]
    other_accounts: Vec<(AccountSid, SecretString)>,
    /// Where messages from people go, for example http://127.0.0.1:8080/webhooks/twilio/inbound.
    #[arg(long)]
    webhook_url: Option<String>,
    /// Let only +15005550006 send, as Twilio's test credentials do.
    #[arg(long)]
    strict: bool,
    /// Make SIDs and faults the same at every start.
    #[arg(long)]
    seed: Option<u64>,
}

/// The token of an account that exists only here.
const DEFAULT_TOKEN: &str = "00000000000000000000000000000000";

/// Reads an account and its token.
fn other_account(text: &str) -> Result<(AccountSid, SecretString), String> {
    let (sid, token) = text.split_once(':').ok_or("expected an account's SID, a colon and its token")?;
    Ok((AccountSid::parse(sid).map_err(|error| error.to_string())?, token.into()))
}

impl Simulator {
    pub(super) fn run(self) -> anyhow::Result<()> {
        telemetry::start("info").map_err(|error| Misuse(error.to_string()))?;
        block_on(async {
            let config = simulator::Config {
                listen: self.listen,
                other_accounts: OtherAccounts::Known(self.other_accounts),
                webhook_url: self.webhook_url,
                strict: self.strict,
                seed: self.seed,
                ..simulator::Config::new(self.account_sid, self.auth_token)
            };
            let mut stop = StopSignals::new()?;
            let simulator = match simulator::start(config).await {
                Err(error @ StartError::WebhookUrl) => return Err(Misuse(error.to_string()).into()),
                started => started?,
            };
            say(json!({ "event": "listening", "address": simulator.address().to_string() }))?;
            stop.next().await;
            simulator.stop().await;
            Ok(())
        })
    }
}
