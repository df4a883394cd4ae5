//! `textledger demo`: the service at work, against a simulated Twilio, over real HTTP.

mod line;
mod screen;
mod story;

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::Path,
    sync::Arc,
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use rand::RngExt;

use self::{screen::Screen, story::Story};
use super::{Misuse, StopSignals, block_on, say};
use crate::{
    clock::{Clock, SystemClock},
    config::Config,
    domain::{Organization, Role},
    http::auth::{self, Claims},
    simulator, startup,
    startup::Service,
    telemetry,
    twilio::AccountSid,
};

/// The sender in the demo: the one that Twilio's test credentials have.
const OUR_NUMBER: &str = "+15005550006";

/// The port to listen on, unless something else does.
const PORT: u16 = 8080;

/// How long the demo's token is good for, in seconds.
const TOKEN_LIFE_S: u64 = 24 * 60 * 60;

/// Everything is made anew and gone afterwards; the environment's settings and accounts are not used.
#[derive(Args)]
pub(super) struct Demo {
    /// Address and port to listen on; by default 127.0.0.1:8080, or any port if that is taken.
    #[arg(long)]
    listen: Option<SocketAddr>,
    /// End by itself after so many seconds, for scripts.
    #[arg(long, value_name = "SECONDS")]
    exit_after: Option<u64>,
}

/// Where the demo's parts are, and what opens them.
struct Stage {
    service_url: String,
    simulator: simulator::Handle,
    account_sid: String,
    token: String,
}

impl Demo {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        if config.is_some() {
            return Err(Misuse("the demo takes no --config: it is made anew each time".to_owned()).into());
        }
        telemetry::start("error").map_err(|error| Misuse(error.to_string()))?;
        let folder = tempfile::tempdir().context("cannot make a folder for the demo's store")?;
        let time = self.exit_after.map(Duration::from_secs);
        block_on(self.show(folder.path(), time))
    }

    async fn show(self, folder: &Path, time: Option<Duration>) -> anyhow::Result<()> {
        let mut stop = StopSignals::new()?;
        let random: u128 = rand::rng().random();
        let (account_sid, auth_token) = (format!("AC{random:032x}"), format!("{:032x}", !random));
        let account = AccountSid::parse(&account_sid)?;
        let simulator = simulator::start(simulator::Config::new(account, auth_token.clone().into())).await?;
        let environment = BTreeMap::from([
            ("TEXTLEDGER_LISTEN", self.listen.unwrap_or_else(free_address).to_string()),
            ("TEXTLEDGER_STORE", format!("embedded:{}", folder.display())),
            ("TWILIO_ACCOUNT_SID", account_sid.clone()),
            ("TWILIO_AUTH_TOKEN", auth_token),
            ("TWILIO_PHONE_NUMBER", OUR_NUMBER.to_owned()),
            ("TWILIO_WHATSAPP_NUMBER", OUR_NUMBER.to_owned()),
            ("TWILIO_API_BASE_URL", simulator.base_url()),
        ]);
        let config = Config::read(environment, "")?;
        let exp = SystemClock.now_ms().as_secs() + TOKEN_LIFE_S;
        let claims = Claims::new("demo", Role::Admin, Organization::default(), exp);
        let token = auth::mint(&startup::jwt_secret(&config)?, &claims);
        let service = Service::start(config, Arc::new(SystemClock)).await?;
        let service_url = format!("http://{}", service.address);
        simulator.set_webhook_url(&format!("{service_url}/webhooks/twilio/inbound"));
        let stage = Stage { service_url, simulator, account_sid, token };

        let shown = async {
            let mut screen = Screen::open(&stage).await?;
            screen.introduce(&stage)?;
            let story = Story::new(&stage);
            screen.follow(story.tell(), &stage).await
        };
        let ended = tokio::select! {
            shown = shown => shown,
            () = stop.next() => Ok(()),
            () = elapsed(time) => Ok(()),
        };
        let ended = ended.and_then(|()| say("\nStopping; what is under way is finished first."));
        service.stop().await?;
        stage.simulator.stop().await;
        ended
    }
}

/// Returns after `time`, or never.
async fn elapsed(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// The usual port if nothing listens on it, else one that the system picks.
fn free_address() -> SocketAddr {
    let usual = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    match TcpListener::bind(usual) {
        Ok(_) => usual,
        Err(_) => SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
    }
}
