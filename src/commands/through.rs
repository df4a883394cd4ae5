//! How a command reaches what an organization has: in the store, or through a running service.

use anyhow::anyhow;
use clap::Args;

use super::{
    actor,
    remote::{self, Remote},
};
use crate::{
    app::App,
    config::{Config, Store},
    domain::Organization,
    startup,
};

#[derive(Args)]
pub(super) struct Through {
    /// The organization.
    #[arg(long, default_value = "default", value_parser = Organization::parse)]
    org: Organization,
    /// Go through the running service at this URL, in place of opening the store. An embedded store that a service has
    /// open can be reached in no other way. The token for it is signed with the service's own key, which has to be in
    /// the settings here too.
    #[arg(long, value_parser = remote::url)]
    url: Option<remote::Url>,
}

/// Where it is.
pub(super) enum Place {
    Here(Box<App>, Organization),
    There(Remote),
}

impl Through {
    /// Opens the store, or finds the service that `actor` then asks.
    pub(super) async fn open(self, config: &Config, actor: &str) -> anyhow::Result<Place> {
        if let Some(url) = self.url {
            return Ok(Place::There(Remote::new(&url, self.org, actor, config)?));
        }
        match startup::open_app(config).await {
            Ok(app) => Ok(Place::Here(Box::new(app), self.org)),
            Err(error) if startup::is_in_use(&error) => {
                Err(anyhow!("{error}; or go through it with --url http://{}", config.listen))
            }
            Err(error) => Err(error),
        }
    }

    /// The same, but makes no store where there is none.
    pub(super) async fn open_to_read(self, config: &Config) -> anyhow::Result<Place> {
        match &config.store {
            Store::Embedded(folder) if self.url.is_none() && !folder.exists() => {
                Err(anyhow!("there is no store in {}: check TEXTLEDGER_STORE", folder.display()))
            }
            _ => self.open(config, &actor::of_process()).await,
        }
    }
}
