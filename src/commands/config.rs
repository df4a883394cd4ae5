//! `textledger config`.

use std::{fmt, path::Path};

use clap::Args;
use secrecy::{ExposeSecret, SecretString};

use super::{Misuse, say};
use crate::{
    config::{
        self, Config, Given, Origin,
        setting::{self, Fallback, Secrecy, Setting, toml_text},
    },
    startup, telemetry,
};

/// What stands in place of a secret.
const MASK: &str = "********";

/// Print every setting with its default and meaning, as a TOML file that `--config` takes.
///
/// With --effective: what is in force here instead, secrets masked, and where each value came from.
#[derive(Args)]
pub(super) struct ConfigCommand {
    /// Print the values in force and where each came from: default, file, environment or secret file.
    #[arg(long)]
    effective: bool,
}

/// Where a value in force came from.
enum Source {
    Default,
    Given(Origin),
    SecretFile(String),
    OtherSetting(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::Default => f.write_str("default"),
            Source::Given(Origin::File) => f.write_str("file"),
            Source::Given(Origin::Environment) => f.write_str("environment"),
            Source::SecretFile(path) => write!(f, "secret file {path}"),
            Source::OtherSetting(name) => f.write_str(name),
        }
    }
}

impl ConfigCommand {
    pub(super) fn run(&self, file: Option<&Path>) -> anyhow::Result<()> {
        if !self.effective {
            if file.is_some() {
                return Err(Misuse("--config has an effect together with --effective only".to_owned()).into());
            }
            return say(setting::commented_file().trim_end());
        }
        let given = Given::load(file)?;
        let values: Vec<_> =
            setting::all().map(|setting| (setting, given.get(setting.name).map(owned))).collect();
        let config = Config::check(given)?;
        telemetry::start(&config.log).map_err(|error| Misuse(error.to_string()))?;
        for (setting, given) in values {
            say(line(setting, given, &config))?;
        }
        for account in &config.accounts {
            let settings = &account.settings;
            say(format!("# account of {}: {}", account.organization, settings.account_sid))?;
        }
        say("# An account that an administrator saved is used instead: GET /api/sms/settings shows it.")?;
        for unknown in &config.unknown {
            say(format!("# {unknown}"))?;
        }
        Ok(())
    }
}

fn owned((value, origin): (&SecretString, Origin)) -> (SecretString, Origin) {
    (value.expose_secret().trim().into(), origin)
}

/// The setting as it is in force: a line of TOML, or a comment if it has no value.
fn line(setting: &Setting, given: Option<(SecretString, Origin)>, config: &Config) -> String {
    let key = setting.key();
    let in_force = match (given, setting.default) {
        (Some((value, origin)), _) => Some((value, Source::Given(origin))),
        (None, Fallback::Value(value)) if setting.name != "TEXTLEDGER_STORE" => {
            Some((value.into(), Source::Default))
        }
        (None, _) => derived(setting.name, config),
    };
    let Some((value, source)) = in_force else { return format!("# {key}: none (default)") };
    let shown = match setting.secrecy {
        Secrecy::Open => value.expose_secret().to_owned(),
        Secrecy::PasswordInUrl => without_password(value.expose_secret()),
        Secrecy::Secret => MASK.to_owned(),
    };
    let unused = if setting.used { "" } else { "; not used by this version" };
    format!("{key} = {}  # {source}{unused}", toml_text(&shown))
}

/// The value of a setting that follows from others, or that the first start creates.
fn derived(name: &str, config: &Config) -> Option<(SecretString, Source)> {
    if let Some(path) = startup::secret_file(config, name) {
        let made = if path.exists() { "" } else { ", made at the first start" };
        return Some((MASK.into(), Source::SecretFile(format!("{}{made}", path.display()))));
    }
    let value = match name {
        "TEXTLEDGER_PUBLIC_URL" => format!("http://{}", config.listen),
        "TEXTLEDGER_STORE" => match &config.store {
            config::Store::Embedded(folder) => format!("embedded:{}", folder.display()),
            config::Store::Redis(address) => {
                return Some((address.url.clone(), Source::OtherSetting("REDIS_URL")));
            }
        },
        "TEXTLEDGER_DATA_DIR" => config.data_dir.display().to_string(),
        "TEXTLEDGER_PARTITIONS" => config.partitions.to_string(),
        "TEXTLEDGER_WORKERS" => config.workers.to_string(),
        _ => return None,
    };
    Some((value.into(), Source::Default))
}

/// The URL with what stands between the user's name and the host masked, and with every password behind its `?`.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (login, rest) = match rest.rsplit_once('@').filter(|_| !rest.starts_with('/')) {
        None => (String::new(), rest),
        Some((credentials, rest)) => {
            let user = credentials.split(':').next().unwrap_or_default();
            let user = if credentials.contains(':') { user } else { "" };
            (format!("{user}:{MASK}@"), rest)
        }
    };
    let (place, query) = rest.split_once('?').map_or((rest, None), |(place, query)| (place, Some(query)));
    let query = query.map(|query| {
        let masked = query.split('&').map(|parameter| match parameter.split_once('=') {
            Some((name, _)) if name.contains("pass") => format!("{name}={MASK}"),
            _ => parameter.to_owned(),
        });
        format!("?{}", masked.collect::<Vec<_>>().join("&"))
    });
    format!("{scheme}://{login}{place}{}", query.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_shown_without_its_password() {
        for (url, shown) in [
            ("redis://localhost:6379/1", "redis://localhost:6379/1"),
            ("redis://:hunter2@localhost", "redis://:********@localhost"),
            ("rediss://ada:hun@ter:2@localhost", "rediss://ada:********@localhost"),
            ("redis://hunter2@localhost", "redis://:********@localhost"),
            ("embedded:./data", "embedded:./data"),
            ("redis+unix:///a?db=1&password=hunter2@hunter2", "redis+unix:///a?db=1&password=********"),
            ("redis-cluster://:hunter2@one,:hunter2@two", "redis-cluster://:********@two"),
            (
                "redis-sentinel://ada:hunter2@one,two/m?sentinel_password=hunter2&db=1",
                "redis-sentinel://ada:********@one,two/m?sentinel_password=********&db=1",
            ),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }
}
