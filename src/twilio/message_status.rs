//! The statuses of a message, as an open set: Twilio adds values without notice.
//!
//! Source: <https://www.twilio.com/docs/messaging/api/message-resource#message-status-values>.

use std::fmt;

use serde::{Deserialize, Serialize};

macro_rules! statuses {
    ($($(#[$doc:meta])* $name:ident = $text:literal),+ $(,)?) => {
        /// What Twilio says of a message.
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(from = "String", into = "String")]
        pub enum MessageStatus {
            $($(#[$doc])* $name,)+
            /// A status that Twilio did not have when this was written, in lower case.
            Other(String),
        }

        impl MessageStatus {
            /// Every status known by name.
            pub const KNOWN: &'static [MessageStatus] = &[$(MessageStatus::$name),+];

            /// Reads a status in either letter case (callbacks are lower case, Event Streams upper case).
            pub fn parse(text: &str) -> Self {
                match text.to_ascii_lowercase().as_str() {
                    $($text => MessageStatus::$name,)+
                    other => MessageStatus::Other(other.to_owned()),
                }
            }

            /// The status in Twilio's lower-case spelling.
            pub fn as_str(&self) -> &str {
                match self {
                    $(MessageStatus::$name => $text,)+
                    MessageStatus::Other(text) => text,
                }
            }
        }
    };
}

statuses! {
    /// A messaging service took it; the sender is not chosen yet.
    Accepted = "accepted",
    /// It waits at Twilio for its `SendAt`.
    Scheduled = "scheduled",
    /// It waits in its sender's queue.
    Queued = "queued",
    /// It is being handed to the carrier.
    Sending = "sending",
    /// The nearest upstream carrier took it; many carriers say nothing more.
    Sent = "sent",
    /// The receipt says that it was not delivered.
    Undelivered = "undelivered",
    /// It could not be sent.
    Failed = "failed",
    /// A scheduled message that was cancelled.
    Canceled = "canceled",
    /// The receipt says that it was delivered.
    Delivered = "delivered",
    /// The recipient opened it (WhatsApp and RCS, where receipts are on).
    Read = "read",
    /// An inbound message on its way in.
    Receiving = "receiving",
    /// An inbound message that has arrived.
    Received = "received",
    /// No longer reported by Twilio.
    PartiallyDelivered = "partially_delivered",
}

impl fmt::Display for MessageStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl From<String> for MessageStatus {
    fn from(text: String) -> Self {
        Self::parse(&text)
    }
}

impl From<MessageStatus> for String {
    fn from(status: MessageStatus) -> Self {
        status.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_status_reads_back_in_either_case() {
        for status in MessageStatus::KNOWN {
            assert_eq!(&MessageStatus::parse(status.as_str()), status);
            assert_eq!(&MessageStatus::parse(&status.as_str().to_uppercase()), status);
        }
    }

    #[test]
    fn an_unknown_status_is_kept() {
        assert_eq!(MessageStatus::parse("Teleported"), MessageStatus::Other("teleported".into()));
    }
}
