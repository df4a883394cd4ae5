//! What is given, by whom: the environment and the file, before it is checked.
//!
//! Every value is kept as a secret, and only one whose setting holds none is given out as a plain text: so no secret is shown by
//! a fault or in the log before anybody has looked at it.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use secrecy::{ExposeSecret, SecretString};

use super::{
    Invalid, account,
    setting::{self, Secrecy},
};

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The TOML file.
    File,
    /// The environment.
    Environment,
}

/// A variable of the environment that looks like a setting and is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownVariable {
    /// Its name.
    pub name: String,
    /// The setting whose name is nearest.
    pub nearest: &'static str,
}

impl fmt::Display for UnknownVariable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not a setting and has no effect; did you mean {}?", self.name, self.nearest)
    }
}

/// The values that were given, by setting. What is empty counts as not given, as in a compose file with an unset variable.
#[derive(Debug, Default)]
pub struct Given {
    values: BTreeMap<&'static str, (SecretString, Origin)>,
    /// The file's `[[accounts]]`, if it says anything of them.
    pub(super) accounts: Option<Vec<account::Table>>,
    pub(super) faults: Vec<String>,
    pub(super) unknown: Vec<UnknownVariable>,
}

impl Given {
    /// Reads the process's environment and `file`, if one is named here or in `TEXTLEDGER_CONFIG`.
    pub fn load(file: Option<&Path>) -> Result<Self, Invalid> {
        let environment = setting::names().filter_map(|name| Some((name, std::env::var(name).ok()?.into())));
        let environment: BTreeMap<&'static str, SecretString> = environment.collect();
        let named = environment.get("TEXTLEDGER_CONFIG").map(ExposeSecret::expose_secret);
        let named = named.filter(|path| !path.trim().is_empty());
        let file = file.map(Path::to_owned).or_else(|| named.map(PathBuf::from));
        let text: SecretString = match &file {
            None => SecretString::default(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| {
                    Invalid(vec![format!("cannot read the configuration file {}: {error}", path.display())])
                })?
                .into(),
        };
        let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let unknown = variables.filter_map(|name| unknown(&name)).collect();
        Ok(Self { unknown, ..Self::read(environment, text.expose_secret()) })
    }

    /// Reads settings by name, and those that they leave out from a TOML text.
    pub fn read(environment: BTreeMap<&'static str, SecretString>, file: &str) -> Self {
        let mut given = Self::default();
        given.add_file(file);
        let environment = environment.into_iter().map(|(name, value)| (name, (value, Origin::Environment)));
        given.values.extend(environment);
        given.values.retain(|_, (value, _)| !value.expose_secret().trim().is_empty());
        given.read_files();
        given
    }

    /// Reads the secrets that are given as files: the value is the file's text without the end of its last line.
    fn read_files(&mut self) {
        for (name, file) in setting::all().filter_map(|setting| Some((setting.name, setting.file?))) {
            let Some((path, origin)) = self.values.remove(file) else { continue };
            if self.values.contains_key(name) {
                self.faults.push(format!("{name} and {file} are both given: leave one of them out"));
                continue;
            }
            let path = path.expose_secret().trim();
            match std::fs::read_to_string(path).map(SecretString::from) {
                Ok(text) if text.expose_secret().trim().is_empty() => {
                    self.faults.push(format!("{file}: {path} is empty, and must hold the value of {name}"));
                }
                Ok(text) => {
                    let text = text.expose_secret();
                    let text = text.strip_suffix('\n').unwrap_or(text);
                    let text = text.strip_suffix('\r').unwrap_or(text);
                    self.values.insert(name, (text.into(), origin));
                }
                Err(error) => {
                    let mend = "name a file that this process may read";
                    self.faults.push(format!("{file}: cannot read {path}: {error}; {mend}"));
                }
            }
        }
    }

    /// The value that `name` was given, and by whom.
    pub fn get(&self, name: &str) -> Option<(&SecretString, Origin)> {
        self.values.get(name).map(|(value, origin)| (value, *origin))
    }

    /// The value that `name` was given, which holds no secret, without blanks around it.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let is_open = |name| setting::named(name).is_some_and(|setting| setting.secrecy == Secrecy::Open);
        assert!(is_open(name), "{name} is not read as the secret that it holds");
        Some(self.get(name)?.0.expose_secret().trim().to_owned())
    }

    fn add_file(&mut self, text: &str) {
        let table: toml::Table = match text.parse() {
            Ok(table) => table,
            Err(error) => {
                // Only place and message: the text around a fault may hold a secret.
                let line = error.span().map_or(1, |span| text[..span.start].matches('\n').count() + 1);
                self.faults.push(format!("configuration file, line {line}: {}", error.message()));
                return;
            }
        };
        for (key, value) in table {
            if key == "accounts" {
                // The message names keys, and no value of one that holds a secret.
                match value.try_into() {
                    Ok(accounts) => self.accounts = Some(accounts),
                    Err(error) => {
                        self.faults.push(format!("configuration file, accounts: {}", error.message()))
                    }
                }
                continue;
            }
            let Some(name) = setting::names().find(|name| name.to_ascii_lowercase() == key) else {
                let hint = setting::nearest(&key);
                let hint =
                    hint.map(|(setting, _)| format!("; did you mean {}?", setting.key())).unwrap_or_default();
                self.faults.push(format!("configuration file: unknown key {key}{hint}"));
                continue;
            };
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Integer(number) => number.to_string(),
                toml::Value::Boolean(switch) => switch.to_string(),
                _ => {
                    self.faults.push(format!("configuration file: {key} must be a text, number or boolean"));
                    continue;
                }
            };
            self.values.insert(name, (text.into(), Origin::File));
        }
    }
}

/// How many letters of a name of Twilio's may differ from one of ours: its own tools have further variables.
const LETTERS_OFF_MAX: usize = 2;

/// What `name` was probably meant to be, if it looks like a setting and is not one.
fn unknown(name: &str) -> Option<UnknownVariable> {
    if setting::names().any(|known| known == name) {
        return None;
    }
    let (nearest, distance) = setting::nearest(name)?;
    let is_ours = match name.strip_prefix("TEXTLEDGER_") {
        Some(rest) => !is_of_kubernetes(rest),
        None => name.starts_with("TWILIO_") && distance <= LETTERS_OFF_MAX,
    };
    is_ours.then(|| UnknownVariable { name: name.to_owned(), nearest: nearest.name })
}

/// Kubernetes gives every container such variables for each of its services, and one is probably named textledger.
fn is_of_kubernetes(rest: &str) -> bool {
    rest == "PORT" || rest == "SERVICE_HOST" || rest.starts_with("SERVICE_PORT") || rest.starts_with("PORT_")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_misspelt_variable_is_named_with_the_setting_that_was_meant() {
        for (name, nearest) in [
            ("TEXTLEDGER_LISTNE", "TEXTLEDGER_LISTEN"),
            ("TEXTLEDGER_PUBLICURL", "TEXTLEDGER_PUBLIC_URL"),
            ("TEXTLEDGER_AUTH_TOKEN", "TWILIO_AUTH_TOKEN"),
            ("TWILIO_ACOUNT_SID", "TWILIO_ACCOUNT_SID"),
            ("TWILIO_PHONE_NUMBERS", "TWILIO_PHONE_NUMBER"),
        ] {
            assert_eq!(unknown(name).map(|unknown| unknown.nearest), Some(nearest), "{name}");
        }
    }

    #[test]
    fn variables_of_other_programs_are_left_alone() {
        for name in [
            "TEXTLEDGER_LISTEN",
            "TWILIO_AUTH_TOKEN_FILE",
            "TEXTLEDGER_PORT",
            "TEXTLEDGER_PORT_8080_TCP_ADDR",
            "TEXTLEDGER_SERVICE_HOST",
            "TEXTLEDGER_SERVICE_PORT_HTTP",
            "TWILIO_API_KEY",
            "TWILIO_API_SECRET",
            "TWILIO_EDGE",
            "TWILIO_LOG_LEVEL",
            "TWILIO_PROFILE",
            "TWILIO_REGION",
            "REDIS_URI",
            "PATH",
        ] {
            assert_eq!(unknown(name), None, "{name}");
        }
    }

    #[test]
    fn a_secret_is_read_from_a_file_that_is_named_in_its_place() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let read = |name, value: &str, file: &str| Given::read([(name, value.into())].into(), file);
        let token = |given: &Given| {
            let token = given.get("TWILIO_AUTH_TOKEN");
            token.map(|(token, origin)| (token.expose_secret().to_owned(), origin))
        };
        for text in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            let given = read("TWILIO_AUTH_TOKEN_FILE", &file("token", text), "");
            assert_eq!(token(&given), Some(("s3cret".to_owned(), Origin::Environment)), "{text:?}");
            assert!(given.get("TWILIO_AUTH_TOKEN_FILE").is_none() && given.faults.is_empty());
        }
        let in_toml = format!("twilio_auth_token_file = \"{}\"", file("token", "s3cret"));
        let given = Given::read(BTreeMap::new(), &in_toml);
        assert_eq!(token(&given), Some(("s3cret".to_owned(), Origin::File)));

        let both = read("TWILIO_AUTH_TOKEN", "hunter2", &in_toml);
        let missing = read("TWILIO_AUTH_TOKEN_FILE", "/no/such/file", "");
        let empty = read("TWILIO_AUTH_TOKEN_FILE", &file("empty", "\n"), "");
        for (given, fault) in [(both, "both given"), (missing, "/no/such/file"), (empty, "is empty")] {
            let faults = given.faults.join("\n");
            assert!(faults.contains(fault) && faults.contains("TWILIO_AUTH_TOKEN_FILE"), "{faults}");
            assert!(!faults.contains("hunter2") && !faults.contains("s3cret"), "{faults}");
        }
    }

    /// Of letters and digits, so that it can stand anywhere.
    const SECRET: &str = "hunter2hunter2";

    fn assert_hidden(shown: &str, what: &str) {
        assert!(!shown.contains("hunter2"), "{what}: {shown}");
    }

    fn secret_settings() -> impl Iterator<Item = &'static setting::Setting> {
        setting::all().filter(|setting| setting.secrecy != Secrecy::Open)
    }

    #[test]
    fn no_fault_shows_what_a_setting_that_holds_a_secret_was_given() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("secret");
        for setting in secret_settings() {
            let key = setting.key();
            let of_file = setting.file.unwrap();
            for value in [SECRET.to_owned(), format!("a:{SECRET}:b,{SECRET}"), format!("x://u:{SECRET}@host")]
            {
                std::fs::write(&file, &value).unwrap();
                let file = file.to_str().unwrap();
                for (name, given, toml) in [
                    (setting.name, value.as_str(), String::new()),
                    (of_file, file, String::new()),
                    // Both, so that one of them is in the way.
                    (of_file, file, format!("{key} = {value:?}")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key} = {value:?}")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key} = {value:?}\n{key} = {value:?}")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key} = {value}")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key} = \"{value}")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key} = '{value}\n")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key} = \"\"\"{value}")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key}: {value}")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key} = [{value:?}]")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key} = {{ secret = {value:?} }}")),
                    ("TEXTLEDGER_CONFIG", "", format!("{key} = \"a\" {value}")),
                ] {
                    let given = Given::read(
                        [("TEXTLEDGER_LISTEN", "here".into()), (name, given.into())].into(),
                        &toml,
                    );
                    let what = format!("{name}, {toml}");
                    assert_hidden(&format!("{given:?}"), &what);
                    let faults = Config::check(given).unwrap_err();
                    assert_hidden(&format!("{faults} {faults:?}"), &what);
                }
            }
        }
    }

    #[test]
    fn no_fault_of_an_account_of_the_file_shows_a_secret() {
        let account = |secrets: &str| {
            format!(
                "[[accounts]]\norganization = \"acme\"\naccount_sid = \"AC1\"\n{secrets}\ntextledger_listen = 1"
            )
        };
        let token = format!("auth_token = \"{SECRET}\"");
        for secrets in [
            token.clone(),
            format!("auth_token = [\"{SECRET}\"]"),
            format!("auth_token = {{ {SECRET} = \"{SECRET}\" }}"),
            format!("{token}\nauth_token_secondary = [\"{SECRET}\"]"),
            format!("{token}\nshared_keys = \"id:{SECRET}\""),
            format!("{token}\nshared_keys = [\"id:{SECRET}\"]"),
            format!("{token}\nshared_keys = {{ id = \"{SECRET}\" }}"),
            format!("{token}\nshared_keys = [{{ id = \"id\", secret = [\"{SECRET}\"] }}]"),
            format!("{token}\nshared_keys = [{{ id = \"id\", secrets = \"{SECRET}\" }}]"),
        ] {
            let given = Given::read(BTreeMap::new(), &account(&secrets));
            assert_hidden(&format!("{given:?}"), &secrets);
            let faults = Config::check(given).unwrap_err();
            assert_hidden(&format!("{faults} {faults:?}"), &secrets);
        }
        // A token of digits alone, without its quotes.
        let given = Given::read(BTreeMap::new(), &account("auth_token = 1234567890123456"));
        let faults = given.faults.join("\n");
        assert!(faults.contains("must be a text in quotes") && !faults.contains("12345"), "{faults}");
    }

    #[test]
    fn no_secret_of_a_good_configuration_is_shown() {
        let mut environment = BTreeMap::from([("TWILIO_ACCOUNT_SID", format!("AC{}", "a".repeat(32)))]);
        for setting in secret_settings() {
            environment.insert(
                setting.name,
                match setting.name {
                    "TEXTLEDGER_STORE" | "REDIS_URL" => format!("redis://:{SECRET}@localhost"),
                    "TEXTLEDGER_MASTER_KEY" => format!("{SECRET}{}=", "A".repeat(29)),
                    "TEXTLEDGER_JWT_SECRET" => SECRET.repeat(3),
                    "TEXTLEDGER_API_KEYS" => format!("crm:viewer:{}", "0123456789abcdef".repeat(4)),
                    "TWILIO_AUTH_TOKEN" | "TWILIO_AUTH_TOKEN_SECONDARY" => SECRET.to_owned(),
                    "TWILIO_SHARED_KEYS" => format!("id:{SECRET}"),
                    other => panic!("{other} holds a secret: say here what it may be"),
                },
            );
        }
        let shown = format!("{:?}", Config::read(environment, "").unwrap());
        assert_hidden(&shown, "the configuration");
        assert!(!shown.contains("0123456789abcdef"), "{shown}");
    }
}
