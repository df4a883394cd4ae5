//! `textledger consent link`.

use std::{path::Path, time::Duration};

use clap::Args;

use crate::{
    app::consents::link::{self, LIFE_DEFAULT},
    clock::{Clock, SystemClock},
    commands::{Misuse, configure, say, token},
    domain::Organization,
    phone, startup,
    twilio::reply::Language,
};

/// The page is the running service's: it needs the service's TEXTLEDGER_PUBLIC_URL and its master key, and no store. What is
/// chosen there counts as the person's own word, so send the link to that person alone.
#[derive(Args)]
#[command(after_help = "Examples:
  textledger consent link +14155552671
  textledger consent link +14155552671 --language es --ttl 7d")]
pub(super) struct Link {
    /// The person: a phone number or a WhatsApp user id.
    phone: String,
    /// The page's language, such as es; without it, the browser's.
    #[arg(long, value_parser = language)]
    language: Option<Language>,
    /// How long the link is good: a number and s, m, h or d; 30 days if left out.
    #[arg(long, value_parser = token::duration)]
    ttl: Option<Duration>,
    /// The organization.
    #[arg(long, default_value = "default", value_parser = Organization::parse)]
    org: Organization,
}

impl Link {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        let person = phone::person(&self.phone, config.default_region)
            .map_err(|error| Misuse(format!("{error}: give it in E.164 form, such as +14155552671")))?;
        let page_url = config.public_url.as_ref().ok_or_else(|| {
            Misuse(
                "a link begins with the public URL: set TEXTLEDGER_PUBLIC_URL as the service has it"
                    .to_owned(),
            )
        })?;
        let missing = startup::secret_file(&config, startup::MASTER_KEY).filter(|file| !file.exists());
        if let Some(file) = missing {
            return Err(Misuse(format!(
                "the service's master key is not in {}: run this where the service runs, or set TEXTLEDGER_MASTER_KEY",
                file.display()
            ))
            .into());
        }
        let life = self.ttl.unwrap_or(LIFE_DEFAULT);
        let link = link::Link::new(self.org, person, self.language, life, SystemClock.now_ms());
        say(link.url(page_url, &startup::master_keys(&config)?))
    }
}

fn language(code: &str) -> Result<Language, String> {
    let language = code.parse().ok().filter(|language| link::LANGUAGES.contains(language));
    language.ok_or_else(|| format!("expected one of {}", link::LANGUAGES.map(Language::code).join(", ")))
}
