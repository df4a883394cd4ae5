//! What a webhook carries, which decides what of it is signed.

use crate::twilio::{Form, signature::Content};

/// What a request carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PayloadKind {
    /// Its parameters are in the query.
    Get,
    /// Its parameters are in the body.
    Form,
    /// Its body is something else.
    Body,
}

impl PayloadKind {
    /// What a body of the media type `essence` is, if that is JSON.
    pub fn of_json(essence: &str) -> Option<Self> {
        let is_json = essence == "application/json"
            || (essence.starts_with("application/") && essence.ends_with("+json"));
        is_json.then_some(PayloadKind::Body)
    }

    /// What is signed of a body of this kind, besides the URL.
    pub fn content<'a>(self, form: &'a Form<'a>, body: &'a [u8]) -> Content<'a> {
        match self {
            PayloadKind::Get => Content::Nothing,
            PayloadKind::Form => Content::Form(form),
            PayloadKind::Body => Content::Body(body),
        }
    }
}
