//! Reads a JSON object field by field and gathers everything that is wrong with it.

use std::fmt;

use actix_web::{FromRequest, HttpRequest, dev::Payload, http::header::CONTENT_TYPE, web};
use futures_util::future::LocalBoxFuture;
use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    problem::{Code, FieldError, Problem},
    verification::BODY_TIME_MAX,
};
use crate::domain::UnixMs;

/// The longest body of the application's side, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// The longest name of a field that a fault repeats, in characters.
const NAME_CHARACTERS_MAX: usize = 64;

/// A JSON object that is being read. Each `take` reads one field; [`Fields::finish`] reports the faults of all, and
/// every field that nobody took.
pub struct Fields {
    object: Map<String, Value>,
    errors: Vec<FieldError>,
}

impl Fields {
    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        self.object.is_empty()
    }

    /// Equal exactly for equal bodies, however they are spaced and in which order their fields come.
    pub fn fingerprint(&self) -> String {
        let text = serde_json::to_string(&self.object).expect("a JSON value is JSON");
        hex::encode(Sha256::digest(text))
    }

    /// Reports that `field` is wrong; what was found first stands.
    pub fn fault(&mut self, field: &str, detail: impl Into<String>) {
        // A name is the caller's own text; a long one is not repeated.
        let field: String = field.chars().take(NAME_CHARACTERS_MAX).collect();
        if self.errors.iter().all(|error| error.field != field) {
            self.errors.push(FieldError { field, detail: detail.into() });
        }
    }

    /// The text `field`, if it is there and not null.
    pub fn take_text(&mut self, field: &str) -> Option<String> {
        match self.object.remove(field) {
            None | Some(Value::Null) => None,
            Some(Value::String(text)) => Some(text),
            Some(_) => {
                self.fault(field, "must be a text");
                None
            }
        }
    }

    /// The text `field`, which must be there and not be empty.
    pub fn require_text(&mut self, field: &str) -> String {
        let text = self.take_text(field).unwrap_or_default();
        if text.trim().is_empty() {
            self.fault(field, "must be given and not be empty");
        }
        text
    }

    /// The text `field` as `read` understands it.
    pub fn take<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.take_text(field)?;
        read(&text).map_err(|error| self.fault(field, error.to_string())).ok()
    }

    /// The text `field` as `read` understands it; it must be there.
    pub fn require<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let taken = self.take(field, read);
        if taken.is_none() {
            self.fault(field, "must be given");
        }
        taken
    }

    /// The text `field` as `read` understands it; the outer `None` if it is not there, the inner one if it is null.
    pub fn take_change<T, E: std::fmt::Display>(
        &mut self,
        field: &str,
        read: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<Option<T>> {
        match self.object.get(field) {
            None => None,
            Some(Value::Null) => {
                self.object.remove(field);
                Some(None)
            }
            Some(_) => self.take(field, read).map(Some),
        }
    }

    /// What `field` holds, if it is there.
    pub fn take_value(&mut self, field: &str) -> Option<Value> {
        self.object.remove(field)
    }

    /// The texts `field`: one text, or a list of at most `max`.
    pub fn take_texts(&mut self, field: &str, max: usize) -> Vec<String> {
        match self.object.get(field) {
            Some(Value::String(_)) => self.take_text(field).into_iter().collect(),
            _ => self.take_list(field, max),
        }
    }

    /// The texts in the list `field`, of at most `max`.
    pub fn take_list(&mut self, field: &str, max: usize) -> Vec<String> {
        let texts = match self.object.remove(field) {
            None | Some(Value::Null) => Some(Vec::new()),
            Some(Value::Array(items)) if items.len() <= max => {
                let text = |item| match item {
                    Value::String(text) => Some(text),
                    _ => None,
                };
                items.into_iter().map(text).collect()
            }
            Some(_) => None,
        };
        texts.unwrap_or_else(|| {
            self.fault(field, format!("must be a list of at most {max} texts"));
            Vec::new()
        })
    }

    /// The switch `field`: true or false.
    pub fn take_switch(&mut self, field: &str) -> Option<bool> {
        let value = self.object.remove(field).filter(|value| !value.is_null())?;
        let switch = value.as_bool();
        if switch.is_none() {
            self.fault(field, "must be true or false");
        }
        switch
    }

    /// The object `field`, to be read in its turn; its faults are added by [`Fields::add_faults_of`].
    pub fn take_object(&mut self, field: &str) -> Option<Fields> {
        match self.object.remove(field)? {
            Value::Null => None,
            Value::Object(object) => Some(Fields { object, errors: Vec::new() }),
            _ => {
                self.fault(field, "must be an object");
                None
            }
        }
    }

    /// Adds what is wrong with the object `field`, with every field of it that nobody took.
    pub fn add_faults_of(&mut self, field: &str, inner: Fields) {
        let faults = inner.into_faults().into_iter();
        self.errors
            .extend(faults.map(|fault| FieldError { field: format!("{field}.{}", fault.field), ..fault }));
    }

    /// The whole number `field`, within `range`.
    pub fn take_number(&mut self, field: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        let value = self.object.remove(field).filter(|value| !value.is_null())?;
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| range.contains(number));
        if number.is_none() {
            self.fault(field, format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    /// A time in RFC 3339.
    pub fn take_time(&mut self, field: &str) -> Option<UnixMs> {
        let time = self.take(field, |text| {
            text.parse::<jiff::Timestamp>()
                .map_err(|_| "must be a time in RFC 3339, such as 2026-01-31T09:00:00Z")
        })?;
        let ms = UnixMs::from_timestamp(time);
        if ms.is_none() {
            self.fault(field, "must not be before 1970");
        }
        ms
    }

    /// A text or an object, as the text of that object.
    pub fn take_json(&mut self, field: &str) -> Option<String> {
        let value = match self.object.remove(field)? {
            Value::Null => return None,
            Value::String(text) => serde_json::from_str(&text).ok(),
            value => Some(value),
        };
        let object = value.filter(Value::is_object);
        if object.is_none() {
            self.fault(field, "must be a JSON object");
        }
        object.map(|object| object.to_string())
    }

    /// Reports what was wrong, and every field that was not taken.
    pub fn finish(self) -> Result<(), Problem> {
        let errors = self.into_faults();
        if errors.is_empty() { Ok(()) } else { Err(Problem::invalid_fields(errors)) }
    }

    /// What was wrong, and every field that was not taken.
    pub fn into_faults(mut self) -> Vec<FieldError> {
        for field in std::mem::take(&mut self.object).keys() {
            self.fault(field, "is not a field of this request");
        }
        self.errors
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Fields { object: Map::new(), errors: Vec::new() };
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    // Which of the two was meant is not for us to guess.
                    if fields.object.contains_key(&name) {
                        fields.fault(&name, "is given twice");
                    }
                    fields.object.insert(name, value);
                }
                Ok(fields)
            }
        }

        deserializer.deserialize_map(Object)
    }
}

impl FromRequest for Fields {
    type Error = Problem;
    type Future = LocalBoxFuture<'static, Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let essence = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let essence = essence.unwrap_or_default().split(';').next().unwrap_or_default().trim();
        let is_json = essence.eq_ignore_ascii_case("application/json") || essence.ends_with("+json");
        let body = web::Payload::from_request(request, payload);
        Box::pin(async move {
            if !is_json {
                return Err(Problem::new(
                    Code::UnsupportedMediaType,
                    "the body is not declared as JSON",
                    "send Content-Type: application/json",
                ));
            }
            let unreadable =
                |_| Problem::new(Code::BadRequest, "the body could not be read", "send it again");
            let body = body.await.map_err(unreadable)?;
            let body = tokio::time::timeout(BODY_TIME_MAX, body.to_bytes_limited(BODY_BYTES_MAX));
            let body = body.await.map_err(|_| too_slow())?.map_err(|_| too_large(BODY_BYTES_MAX))?;
            let body = body.map_err(unreadable)?;
            match serde_json::from_slice(&body) {
                Ok(fields) => Ok(fields),
                Err(error) if error.is_data() => {
                    Err(Problem::new(Code::BadRequest, "the body is not a JSON object", "send a JSON object"))
                }
                Err(error) => Err(Problem::new(
                    Code::BadRequest,
                    format!("the body is not JSON: line {}, column {}", error.line(), error.column()),
                    "send a JSON object in UTF-8",
                )),
            }
        })
    }
}

/// 408 for a body that took longer than [`BODY_TIME_MAX`].
fn too_slow() -> Problem {
    let detail = format!("the body took longer than {} s", BODY_TIME_MAX.as_secs());
    Problem::new(Code::RequestTimeout, detail, "send it again, without pauses")
}

/// 413 for a body over `max` bytes.
pub fn too_large(max: usize) -> Problem {
    Problem::new(Code::PayloadTooLarge, format!("the body is longer than {max} bytes"), "send less")
}
