//! What a person is told where Twilio does not say it.

/// The texts that answer a reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replies {
    /// After an opt-out.
    pub opted_out: String,
    /// After an opt-in.
    pub opted_in: String,
    /// On HELP.
    pub help: String,
}
