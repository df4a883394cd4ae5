//! Whether the platform's public keys can be had, and which of them check tokens.

use std::fs;

use super::Found::{self, Failed, Warning, Well};
use crate::{
    config::Config,
    http::auth::{JwksUrl, KeySummary, PublicKeys},
};

/// A line for the keys that check tokens, and one for each that does not; nothing if no platform issues tokens.
pub(super) async fn public_keys(config: &Config) -> Vec<Found> {
    let (setting, summaries) = match (&config.jwks_url, &config.jwks_file) {
        (Some(url), _) => ("TEXTLEDGER_JWKS_URL", fetched(url).await),
        (None, Some(path)) => (
            "TEXTLEDGER_JWKS_FILE",
            match fs::read_to_string(path) {
                Ok(text) => {
                    PublicKeys::summaries(&text).map_err(|error| format!("TEXTLEDGER_JWKS_FILE {error}"))
                }
                // What cannot be read is told as a fault of the callers.
                Err(_) => return Vec::new(),
            },
        ),
        (None, None) => return Vec::new(),
    };
    match summaries {
        Ok(summaries) => lines(setting, &summaries),
        Err(error) => vec![Failed(format!(
            "public keys: {error}; until that is mended no token of the platform is taken: look whether {setting} is right, \
             and a JSON Web Key Set can be had there from this machine"
        ))],
    }
}

async fn fetched(url: &str) -> Result<Vec<KeySummary>, String> {
    let source = JwksUrl::new(url).map_err(|error| error.to_string())?;
    source.fetch_summaries().await.map_err(|error| error.to_string())
}

fn lines(setting: &str, summaries: &[KeySummary]) -> Vec<Found> {
    let name = |summary: &KeySummary| summary.id.clone().unwrap_or_else(|| "one without a kid".to_owned());
    let mut usable = Vec::new();
    let mut unused = Vec::new();
    for summary in summaries {
        match summary.usage {
            Ok(algorithm) => usable.push(format!("{} ({algorithm:?})", name(summary))),
            Err(reason) => unused.push(Warning(format!(
                "public keys: {} of {setting} checks no token: {reason}; if tokens are signed with it, have the platform \
                 publish a key for signatures with RS256, ES256 or EdDSA",
                name(summary)
            ))),
        }
    }
    let known = if usable.is_empty() {
        Failed(format!(
            "public keys: {setting} has none that checks tokens, so that none of the platform is taken; have it publish \
             RSA, P-256 or Ed25519 public keys for signatures"
        ))
    } else {
        Well(format!("public keys: tokens are checked with {}", usable.join(", ")))
    };
    std::iter::once(known).chain(unused).collect()
}
