//! The identifiers Twilio gives its resources: two letters and 32 hexadecimal digits.
//!
//! Source: <https://www.twilio.com/docs/glossary/what-is-a-sid>.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Why a text is not the SID it was taken for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not {what}: expected {shape}")]
pub struct InvalidSid {
    what: &'static str,
    shape: &'static str,
}

macro_rules! sid {
    ($(#[$doc:meta])* $name:ident, $what:literal, $shape:literal, [$($prefix:literal),+]) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(String);

        impl $name {
            /// Takes `text` if it has the shape of this SID; its letter case is kept.
            pub fn parse(text: &str) -> Result<Self, InvalidSid> {
                let error = InvalidSid { what: $what, shape: $shape };
                let (prefix, digits) = text.split_at_checked(2).ok_or(error.clone())?;
                if [$($prefix),+].contains(&prefix)
                    && digits.len() == 32
                    && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
                {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(error)
                }
            }

            /// The SID as Twilio writes it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl FromStr for $name {
            type Err = InvalidSid;

            fn from_str(text: &str) -> Result<Self, InvalidSid> {
                Self::parse(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = InvalidSid;

            fn try_from(text: String) -> Result<Self, InvalidSid> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(sid: $name) -> String {
                sid.0
            }
        }
    };
}

sid!(
    /// A message: `SM…`, or `MM…` when it was created with media. Both name the same resource type.
    MessageSid,
    "a message SID",
    "SM or MM and 32 hexadecimal digits",
    ["SM", "MM"]
);
sid!(
    /// An account or subaccount: `AC…`.
    AccountSid,
    "an account SID",
    "AC and 32 hexadecimal digits",
    ["AC"]
);
sid!(
    /// A messaging service: `MG…`.
    MessagingServiceSid,
    "a messaging service SID",
    "MG and 32 hexadecimal digits",
    ["MG"]
);
sid!(
    /// A content template: `HX…`.
    ContentSid,
    "a content SID",
    "HX and 32 hexadecimal digits",
    ["HX"]
);
sid!(
    /// A media file of a message: `ME…`.
    MediaSid,
    "a media SID",
    "ME and 32 hexadecimal digits",
    ["ME"]
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sid_is_its_prefix_and_32_hexadecimal_digits() {
        let digits = "0123456789abcdefABCDEF0123456789";
        assert_eq!(MessageSid::parse(&format!("SM{digits}")).unwrap().as_str(), format!("SM{digits}"));
        assert!(MessageSid::parse(&format!("MM{digits}")).is_ok());
        for wrong in
            ["", "S", "SM", "é", &format!("AC{digits}"), &format!("SM{digits}0"), &format!("sm{digits}")]
        {
            assert!(MessageSid::parse(wrong).is_err(), "{wrong}");
        }
        assert!(AccountSid::parse(&format!("AC{}", "g".repeat(32))).is_err());
    }
}
