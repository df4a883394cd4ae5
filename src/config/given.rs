//! What is given, by whom: the environment and the file, before it is checked.

use std::{
    collections::BTreeMap,
    fmt,
    path::{Path, PathBuf},
};

use super::{Invalid, account, setting};

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
#[derive(Default)]
pub struct Given {
    values: BTreeMap<&'static str, (String, Origin)>,
    /// The file's `[[accounts]]`.
    pub(super) accounts: Vec<account::Table>,
    pub(super) faults: Vec<String>,
    pub(super) unknown: Vec<UnknownVariable>,
}

impl Given {
    /// Reads the process's environment and `file`, if one is named here or in `TEXTLEDGER_CONFIG`.
    pub fn load(file: Option<&Path>) -> Result<Self, Invalid> {
        let environment =
            setting::all().filter_map(|setting| Some((setting.name, std::env::var(setting.name).ok()?)));
        let environment: BTreeMap<&'static str, String> = environment.collect();
        let named = environment.get("TEXTLEDGER_CONFIG").filter(|path| !path.trim().is_empty());
        let file = file.map(Path::to_owned).or_else(|| named.map(PathBuf::from));
        let text = match &file {
            None => String::new(),
            Some(path) => std::fs::read_to_string(path).map_err(|error| {
                Invalid(vec![format!("cannot read the configuration file {}: {error}", path.display())])
            })?,
        };
        let variables = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        let unknown = variables.filter_map(|name| unknown(&name)).collect();
        Ok(Self { unknown, ..Self::read(environment, &text) })
    }

    /// Reads settings by name, and those that they leave out from a TOML text.
    pub fn read(environment: BTreeMap<&'static str, String>, file: &str) -> Self {
        let mut given = Self::default();
        given.add_file(file);
        let environment = environment.into_iter().map(|(name, value)| (name, (value, Origin::Environment)));
        given.values.extend(environment);
        given.values.retain(|_, (value, _)| !value.trim().is_empty());
        given
    }

    /// The value that `name` was given, and by whom.
    pub fn get(&self, name: &str) -> Option<(&str, Origin)> {
        self.values.get(name).map(|(value, origin)| (value.as_str(), *origin))
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
                // The message names keys and kinds, never a value.
                match value.try_into() {
                    Ok(accounts) => self.accounts = accounts,
                    Err(error) => {
                        self.faults.push(format!("configuration file, accounts: {}", error.message()))
                    }
                }
                continue;
            }
            let Some(setting) = setting::all().find(|setting| setting.key() == key) else {
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
            self.values.insert(setting.name, (text, Origin::File));
        }
    }
}

/// How many letters of a name of Twilio's may differ from one of ours: its own tools have further variables.
const LETTERS_OFF_MAX: usize = 2;

/// What `name` was probably meant to be, if it looks like a setting and is not one.
fn unknown(name: &str) -> Option<UnknownVariable> {
    if setting::named(name).is_some() {
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
}
