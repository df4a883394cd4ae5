//! Twilio's protocol, usable alone: this module imports nothing else of the crate.

pub mod address;
pub mod client;
pub mod credentials;
pub mod error_code;
pub mod form;
pub mod limits;
pub mod message_status;
pub mod multipart;
pub mod poster;
pub mod raw;
pub mod reply;
pub mod resource;
pub mod segments;
pub mod sid;
pub mod signature;
pub mod twiml;
pub mod webhook;

pub use address::{Address, BareAddress, Channel};
pub use credentials::Credentials;
pub use error_code::ErrorCode;
pub use form::Form;
pub use message_status::MessageStatus;
pub use sid::{AccountSid, ContentSid, MediaSid, MessageSid, MessagingServiceSid};
pub use webhook::{IncomingMessage, StatusCallback};
