//! `textledger token`.

use std::{path::Path, time::Duration};

use clap::Args;

use super::{Misuse, configure, jwt_secret, say};
use crate::{
    clock::{Clock, SystemClock},
    config,
    domain::{Organization, Role},
    http::auth::Claims,
    startup,
};

/// The longest life of a token.
const TTL_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);

/// Works beside a running service, with the service's settings. With neither TEXTLEDGER_JWT_SECRET nor a secret in the
/// data folder, one is created there, and a line on standard error says so.
///
/// Example: curl -H "Authorization: Bearer $(textledger token --role sender)" …
#[derive(Args)]
pub(super) struct Token {
    /// What the bearer may do: admin, master, developer, sender, viewer or user.
    #[arg(long, value_parser = role)]
    role: Role,
    /// Who the bearer is.
    #[arg(long, default_value = "cli")]
    user: String,
    /// The organization.
    #[arg(long, default_value = "default", value_parser = Organization::parse)]
    org: Organization,
    /// How long the token is good for: a number and s, m, h or d. A service with TEXTLEDGER_JWT_MAX_AGE takes none that is
    /// good for longer.
    #[arg(long, default_value = "1h", value_parser = duration)]
    ttl: Duration,
}

impl Token {
    pub(super) fn run(&self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        if self.user.is_empty() {
            return Err(Misuse("--user must not be empty".to_owned()).into());
        }
        let secret = jwt_secret(&config)?;
        let exp = SystemClock.now_ms().as_secs() + self.ttl.as_secs();
        let claims = Claims::new(&self.user, self.role, self.org.clone(), exp);
        say(startup::token_rules(&config).mint(&secret, &claims))
    }
}

pub(super) fn role(text: &str) -> Result<Role, String> {
    Role::parse(text).ok_or_else(|| format!("expected one of {}", Role::ALL.map(Role::as_str).join(", ")))
}

/// Reads `90s`, `15m`, `1h`, `30d`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wanted = || "expected a number and s, m, h or d, such as 1h, of at most 366d".to_owned();
    let duration = config::duration(text).ok_or_else(wanted)?;
    if duration.is_zero() || duration > TTL_MAX { Err(wanted()) } else { Ok(duration) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_a_number_and_a_unit() {
        assert_eq!(duration("90s"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("2d"), Ok(Duration::from_secs(172_800)));
        for wrong in ["", "h", "1", "1w", "0s", "-1h", "1.5h", "99999999999999999999d", "367d", "é"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
