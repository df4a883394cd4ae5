//! The settings by which callers are known: what signs tokens, what tokens must say, and the keys of services.

use std::{ops::RangeInclusive, time::Duration};

use secrecy::{ExposeSecret, SecretString};

use super::{Reader, duration};
use crate::domain::{ApiKey, Role, SecretHash};

/// The shortest secret that signs tokens, in bytes.
pub const JWT_SECRET_BYTES_MIN: usize = 32;

/// How often public keys may be fetched: often enough for a new key to be known, and not so often that it is a burden.
const JWKS_REFRESHES: RangeInclusive<Duration> = Duration::from_secs(30)..=Duration::from_secs(24 * 60 * 60);

impl Reader {
    pub(super) fn jwt_secret(&mut self) -> Option<SecretString> {
        let secret = self.given.get("TEXTLEDGER_JWT_SECRET")?.0.clone();
        // White space around it is nothing that has to be guessed.
        if secret.expose_secret().trim().len() < JWT_SECRET_BYTES_MIN {
            let wanted = format!(
                "a text of at least {JWT_SECRET_BYTES_MIN} bytes, such as openssl rand -hex 32 prints"
            );
            self.fault("TEXTLEDGER_JWT_SECRET", &wanted);
        }
        Some(secret)
    }

    pub(super) fn jwks_url(&mut self) -> Option<String> {
        let url = self.text("TEXTLEDGER_JWKS_URL")?;
        if self.text("TEXTLEDGER_JWKS_FILE").is_some() {
            let fault = "TEXTLEDGER_JWKS_URL and TEXTLEDGER_JWKS_FILE are both given: leave one of them out";
            self.faults.push(fault.to_owned());
        }
        // Whoever could change the answer on its way could sign any token.
        let is_loopback = |rest: &str| {
            let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
            let port = |rest: &str| rest.is_empty() || rest.starts_with(':');
            ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| host.strip_prefix(name).is_some_and(port))
        };
        if !url.starts_with("https://") && !url.strip_prefix("http://").is_some_and(is_loopback) {
            self.fault(
                "TEXTLEDGER_JWKS_URL",
                "a URL such as https://id.example.com/.well-known/jwks.json; http:// only on this machine",
            );
        }
        Some(url)
    }

    pub(super) fn jwks_refresh(&mut self) -> Duration {
        self.read_or_default("TEXTLEDGER_JWKS_REFRESH", "a time from 30s to 1d, such as 5m", |text| {
            duration(text).filter(|interval| JWKS_REFRESHES.contains(interval))
        })
    }

    pub(super) fn jwt_max_age(&mut self) -> Option<Duration> {
        let age = duration(&self.text("TEXTLEDGER_JWT_MAX_AGE")?).filter(|age| !age.is_zero());
        if age.is_none() {
            self.fault("TEXTLEDGER_JWT_MAX_AGE", "a time such as 12h or 30d");
        }
        age
    }

    pub(super) fn api_keys(&mut self) -> Vec<ApiKey> {
        let listed = self.secret("TEXTLEDGER_API_KEYS").unwrap_or_default();
        let entries = listed.expose_secret().split(',').map(str::trim).filter(|entry| !entry.is_empty());
        let keys: Vec<Option<ApiKey>> = entries.map(ApiKey::parse).collect();
        if keys.iter().any(Option::is_none) {
            let roles = Role::ALL.map(Role::as_str).join(", ");
            self.fault(
                "TEXTLEDGER_API_KEYS",
                &format!(
                    "a list of name:role:sha256hex or name:role:sha256hex:organization, where a role is one of {roles}, \
                     the hash that of the key, and the name not the SID of a stored key"
                ),
            );
        }
        let keys: Vec<ApiKey> = keys.into_iter().flatten().collect();
        let empty = SecretHash::of("");
        for key in keys.iter().filter(|key| key.matches(&empty)) {
            self.faults.push(format!(
                "TEXTLEDGER_API_KEYS has the hash of an empty text for {} of {}: everybody would have that key",
                key.name, key.organization
            ));
        }
        for (index, key) in keys.iter().enumerate() {
            if let Some(other) = keys[..index].iter().find(|other| other.has_hash_of(key)) {
                self.faults.push(format!(
                    "TEXTLEDGER_API_KEYS has one hash for {} of {} and for {} of {}, so that it does not tell who calls: \
                     give each a key of its own",
                    other.name, other.organization, key.name, key.organization
                ));
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn read(name: &'static str, value: &str) -> Result<Config, String> {
        Config::read([(name, value.to_owned())].into(), "").map_err(|faults| faults.to_string())
    }

    #[test]
    fn a_secret_of_less_than_32_bytes_signs_no_token() {
        let name = "TEXTLEDGER_JWT_SECRET";
        assert!(read(name, &"s".repeat(JWT_SECRET_BYTES_MIN)).unwrap().jwt_secret.is_some());
        for short in ["s".repeat(JWT_SECRET_BYTES_MIN - 1), format!("{:40}", "short")] {
            let faults = read(name, &short).unwrap_err();
            assert!(
                faults.starts_with("TEXTLEDGER_JWT_SECRET must be a text of at least 32 bytes"),
                "{faults}"
            );
        }
    }

    #[test]
    fn a_key_is_one_callers_alone() {
        let name = "TEXTLEDGER_API_KEYS";
        let (one, two) = ("1".repeat(64), "2".repeat(64));
        let keys = read(name, &format!("crm:sender:{one}, crm:admin:{two}:acme,")).unwrap().api_keys;
        let organizations: Vec<&str> = keys.iter().map(|key| key.organization.as_str()).collect();
        assert_eq!(organizations, ["default", "acme"]);
        for other in ["crm:sender:{one}:acme", "crm:admin:{one}", "erp:sender:{one}"] {
            let faults =
                read(name, &format!("crm:sender:{one},{}", other.replace("{one}", &one))).unwrap_err();
            assert!(
                faults.contains("one hash for crm of default and for") && !faults.contains(&one),
                "{faults}"
            );
        }
        let faults = read(name, &format!("crm:sender:{}", String::from(SecretHash::of("")))).unwrap_err();
        assert!(faults.contains("of an empty text for crm of default"), "{faults}");
        for wrong in ["crm:sender:{one}:", "crm:sender:{one}:a b", "crm@acme", "crm:acme:sender:{one}"] {
            let faults = read(name, &wrong.replace("{one}", &one)).unwrap_err();
            assert!(
                faults.contains("name:role:sha256hex:organization") && !faults.contains(&one),
                "{faults}"
            );
        }
    }

    #[test]
    fn public_keys_are_fetched_over_https_or_from_this_machine() {
        let name = "TEXTLEDGER_JWKS_URL";
        for url in
            ["https://id.example/keys", "http://127.0.0.1:9/keys", "http://localhost", "http://[::1]:9/"]
        {
            assert_eq!(read(name, url).unwrap().jwks_url.as_deref(), Some(url));
        }
        for url in
            ["http://id.example/keys", "http://localhost.id.example", "http://127.0.0.1@id.example", "id"]
        {
            assert!(read(name, url).unwrap_err().starts_with("TEXTLEDGER_JWKS_URL must be "), "{url}");
        }
        let both =
            [(name, "https://id.example".to_owned()), ("TEXTLEDGER_JWKS_FILE", "keys.json".to_owned())];
        let faults = Config::read(both.into(), "").unwrap_err().to_string();
        assert!(faults.contains("are both given"), "{faults}");
    }

    #[test]
    fn how_often_keys_are_fetched_and_how_long_tokens_last_has_bounds() {
        assert_eq!(read("TEXTLEDGER_JWKS_REFRESH", "30s").unwrap().jwks_refresh, Duration::from_secs(30));
        assert_eq!(read("TEXTLEDGER_JWT_MAX_AGE", "2m").unwrap().jwt_max_age, Some(Duration::from_secs(120)));
        for (name, wrong) in [
            ("TEXTLEDGER_JWKS_REFRESH", "29s"),
            ("TEXTLEDGER_JWKS_REFRESH", "25h"),
            ("TEXTLEDGER_JWT_MAX_AGE", "0s"),
            ("TEXTLEDGER_JWT_MAX_AGE", "long"),
        ] {
            assert!(read(name, wrong).unwrap_err().starts_with(name), "{name}={wrong}");
        }
    }
}
