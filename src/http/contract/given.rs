//! Reads what a caller gave: the fields of a JSON object, the parameters of a query or a path, a header.

use actix_web::{FromRequest, HttpRequest, dev::Payload, web};
use futures_util::FutureExt;
use serde_json::{Map, Value};

use super::{
    Context, Declared, Fields, Read,
    faults::{Fault, Faults},
    fields::{Faulty, Kind, Need, Presence},
};
use crate::http::problem::Problem;

/// Values by name, not read yet.
#[derive(Debug)]
pub struct Given {
    values: Map<String, Value>,
    form: Form,
    faults: Faults,
}

/// How values are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    /// As JSON.
    Json,
    /// As text, whatever they are.
    Text,
}

impl Given {
    /// The fields of a JSON object.
    pub fn object(values: Map<String, Value>) -> Self {
        Self { values, form: Form::Json, faults: Faults::default() }
    }

    /// Pairs of text.
    fn pairs(pairs: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        let mut given = Self { values: Map::new(), form: Form::Text, faults: Faults::default() };
        for (name, value) in pairs {
            given.add(name.into(), Value::String(value.into()));
        }
        given
    }

    /// Adds the field `name`. Which one was meant of two is not for us to guess.
    pub fn add(&mut self, name: String, value: Value) {
        if self.values.contains_key(&name) {
            self.faults.add(&name, "is given twice");
        }
        self.values.insert(name, value);
    }

    /// Whether nothing is given.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The fields as JSON; equal for equal fields, in whatever order they were given.
    pub fn to_json(&self) -> String {
        serde_json::to_string(&self.values).expect("a JSON value is JSON")
    }

    /// Reads a `T`, and gathers everything that is wrong with it.
    pub fn read<T: Declared>(self, context: &Context) -> (Read<T>, Faults) {
        let mut reading = Reading { given: self, context };
        let read = T::declare(&mut reading);
        let Given { values, mut faults, .. } = reading.given;
        for name in values.keys() {
            if faults.are_enough() {
                break;
            }
            faults.add(name, "is not a field of this request");
        }
        (read, faults)
    }

    /// Reads a `T`.
    pub fn read_whole<T: Declared>(self, context: &Context) -> Result<T, Problem> {
        let (read, faults) = self.read(context);
        faults.into_result()?;
        Ok(read.expect("what cannot be read is a fault"))
    }
}

struct Reading<'a> {
    given: Given,
    context: &'a Context,
}

impl Fields for Reading<'_> {
    fn context(&self) -> &Context {
        self.context
    }

    fn take<K: Kind>(
        &mut self,
        name: &'static str,
        _: &'static str,
        _: Need,
        kind: K,
    ) -> Read<Presence<K::Value>> {
        let read = match (self.given.values.remove(name), self.given.form) {
            (None, _) => return Ok(Presence::Absent),
            (Some(Value::Null), _) => return Ok(Presence::Null),
            (Some(Value::String(text)), Form::Text) => kind.read_text(text, self.context),
            (Some(value), _) => kind.read(value, self.context),
        };
        match read {
            Ok(value) => return Ok(Presence::Value(value)),
            Err(Fault::Itself(detail)) => self.given.faults.add(name, detail),
            Err(Fault::Inside(faults)) => self.given.faults.add_all_of(name, faults),
        }
        Err(Faulty)
    }

    fn fault(&mut self, field: &str, detail: impl Into<String>) {
        self.given.faults.add(field, detail);
    }
}

/// Reads the query of `request`.
pub fn query<T: Declared>(request: &HttpRequest, context: &Context) -> Result<T, Problem> {
    Given::pairs(form_urlencoded::parse(request.query_string().as_bytes())).read_whole(context)
}

/// Reads the parameters in the path of `request`.
pub fn path<T: Declared>(request: &HttpRequest) -> Result<T, Problem> {
    let names = request.match_info().iter().map(|(name, _)| name);
    // The extractor decodes the values, and is ready at once.
    let values = web::Path::<Vec<String>>::from_request(request, &mut Payload::None).now_or_never();
    let values = values.and_then(Result::ok).ok_or_else(|| Problem::not_found("this path"))?;
    Given::pairs(names.zip(values.into_inner())).read_whole(&Context::default())
}

/// Reads the header `name` of `request`, which is that of `T`'s one field.
pub fn header<T: Declared>(request: &HttpRequest, name: &'static str) -> Result<T, Problem> {
    let value = request.headers().get(name);
    let value = value.map(|value| (name, String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Given::pairs(value).read_whole(&Context::default())
}
