//! Who makes a request, by name.
//!
//! Names are unique within a kind only: a token may call its user what an API key is called. So whatever tells callers
//! apart (what is counted, answered again or written down) does it by kind and name.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Who makes a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// What the name is one of.
    pub kind: PrincipalKind,
    /// A token's `sub`, an API key's name or SID, who uses the command line, or an account's SID.
    pub name: String,
}

/// What kind of name it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A user, by the word of whoever signs tokens.
    User,
    /// A service with an API key.
    ApiKey,
    /// Whoever uses the command line beside the store.
    Command,
    /// Whoever has the credentials of the account at Twilio: its auth token, or an API key that Twilio has made.
    Account,
}

impl PrincipalKind {
    /// The word in the API and in the log.
    pub fn as_str(self) -> &'static str {
        match self {
            PrincipalKind::User => "user",
            PrincipalKind::ApiKey => "api_key",
            PrincipalKind::Command => "command",
            PrincipalKind::Account => "account",
        }
    }
}

impl Principal {
    /// The user `name` of a token.
    pub fn user(name: impl Into<String>) -> Self {
        Self { kind: PrincipalKind::User, name: name.into() }
    }

    /// The API key that is called `name`.
    pub fn api_key(name: impl Into<String>) -> Self {
        Self { kind: PrincipalKind::ApiKey, name: name.into() }
    }

    /// Whoever calls themselves `name` on the command line.
    pub fn command(name: impl Into<String>) -> Self {
        Self { kind: PrincipalKind::Command, name: name.into() }
    }

    /// Whoever has what is secret of `sid`: an account at Twilio, or an API key that Twilio has made.
    pub fn account(sid: impl Into<String>) -> Self {
        Self { kind: PrincipalKind::Account, name: sid.into() }
    }
}

impl fmt::Display for Principal {
    /// Kind and name, which no other principal has together.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_and_a_key_of_one_name_are_two() {
        let all = [
            Principal::user("crm"),
            Principal::api_key("crm"),
            Principal::command("crm"),
            Principal::account("crm"),
        ];
        let written = ["user:crm", "api_key:crm", "command:crm", "account:crm"];
        assert_eq!(all.each_ref().map(ToString::to_string), written);
        for principal in all {
            let written = serde_json::to_string(&principal).unwrap();
            assert_eq!(serde_json::from_str::<Principal>(&written).unwrap(), principal);
        }
    }
}
