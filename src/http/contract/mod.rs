//! What requests hold, told once: the declaration of a field is both what reads it and what documents it.
//!
//! A request is a type whose [`Declared::declare`] names its fields one after the other, each with a [`kinds`] value. That
//! function runs over what a caller sent ([`given`]), and over nothing to describe the request in the API's document
//! ([`schema`]). The faults of all fields are gathered ([`faults`]).

mod body;
mod faults;
mod fields;
mod given;
pub mod kinds;
pub mod names;
pub mod operations;
mod phone_path;
pub mod schema;
pub mod words;

pub(crate) use self::schema::{parameters, request_body};
pub use self::{
    body::{Body, LargeBody, MANY_BYTES_MAX, TEXTS_BYTES_MAX, too_large},
    fields::{Declared, Faulty, Fields, Read, Request, value},
    given::{header, path, query},
    phone_path::{PersonPath, PhonePath},
};
use crate::{domain::UnixMs, phone, twilio::Channel};

/// What the reading of a request depends on besides the request.
#[derive(Debug, Clone, Copy)]
pub struct Context {
    /// The time, in milliseconds since 1970.
    pub now: UnixMs,
    /// The region of numbers without a `+`.
    pub region: Option<phone::Region>,
    /// The channel that the path is for.
    pub channel: Channel,
}

impl Default for Context {
    /// For what depends on none of it.
    fn default() -> Self {
        Self { now: UnixMs::default(), region: None, channel: Channel::Sms }
    }
}
