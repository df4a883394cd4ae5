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
    /// What is signed of a body of this kind, besides the URL.
    pub fn content<'a>(self, form: &'a Form<'a>, body: &'a [u8]) -> Content<'a> {
        match self {
            PayloadKind::Get => Content::Nothing,
            PayloadKind::Form => Content::Form(form),
            PayloadKind::Body => Content::Body(body),
        }
    }
}
