//! What a caller may do: roles, and the rights that they imply.

use serde::{Deserialize, Serialize};

/// What a caller may do in their organization.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Everything.
    Admin,
    /// Everything.
    Master,
    /// Everything.
    Developer,
    /// Send, notify and read.
    Sender,
    /// Read.
    Viewer,
    /// Only their own preferences.
    User,
}

/// What a route asks of its caller. Each right includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// To read messages and events.
    Read,
    /// To send.
    Send,
    /// To see and change how the service is set up.
    Administer,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 6] =
        [Role::Admin, Role::Master, Role::Developer, Role::Sender, Role::Viewer, Role::User];

    /// The word for the role in tokens, API keys and on the command line.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Admin => "admin",
            Role::Master => "master",
            Role::Developer => "developer",
            Role::Sender => "sender",
            Role::Viewer => "viewer",
            Role::User => "user",
        }
    }

    /// Reads what [`Role::as_str`] writes.
    pub fn parse(text: &str) -> Option<Self> {
        Role::ALL.into_iter().find(|role| role.as_str() == text)
    }

    /// Whether the role includes `right`.
    pub fn may(self, right: Right) -> bool {
        self.highest_right().is_some_and(|highest| right <= highest)
    }

    fn highest_right(self) -> Option<Right> {
        match self {
            Role::Admin | Role::Master | Role::Developer => Some(Right::Administer),
            Role::Sender => Some(Right::Send),
            Role::Viewer => Some(Right::Read),
            Role::User => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_role_has_its_rights_and_no_more() {
        let rights = |role: Role| (role.may(Right::Read), role.may(Right::Send), role.may(Right::Administer));
        for admin in [Role::Admin, Role::Master, Role::Developer] {
            assert_eq!(rights(admin), (true, true, true));
        }
        assert_eq!(rights(Role::Sender), (true, true, false));
        assert_eq!(rights(Role::Viewer), (true, false, false));
        assert_eq!(rights(Role::User), (false, false, false));
    }

    #[test]
    fn a_role_is_written_as_it_is_read() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.as_str()), Some(role));
            assert_eq!(serde_json::to_value(role).unwrap(), role.as_str());
        }
        assert_eq!((Role::parse("king"), Role::parse("Admin")), (None, None));
    }
}
