//! How a request declares its fields, each with a kind.

use serde_json::Value;

use super::{Context, faults::Fault, names::Names};

/// A field that has been read; or not, which has been noted as a fault.
pub type Read<T> = Result<T, Faulty>;

/// A field could not be read. Why is among the faults of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Faulty;

/// A kind of field.
pub trait Kind {
    /// What it is read into.
    type Value;

    /// Reads what was given as JSON.
    fn read(&self, given: Value, context: &Context) -> Result<Self::Value, Fault>;

    /// Reads what was given as text, as all is that stands in a URL.
    fn read_text(&self, given: String, context: &Context) -> Result<Self::Value, Fault> {
        self.read(Value::String(given), context)
    }

    /// How the document describes it.
    fn schema(&self, names: &mut Names) -> Value;
}

/// What can be read by its fields, and described by them.
pub trait Declared: Sized {
    /// Names every field. The reader and the document both come from it, so it must name each of them whatever the values
    /// of others are: leave it with `?` only behind the last one.
    fn declare(fields: &mut impl Fields) -> Read<Self>;
}

/// A request's body, or an object inside of one.
pub trait Request: Declared {
    /// Its name in the document.
    const NAME: &'static str;
    /// What it is.
    const MEANING: &'static str;

    /// One that is accepted.
    fn example() -> Option<Value> {
        None
    }
}

/// What a field was given as.
pub enum Presence<T> {
    /// Not at all.
    Absent,
    /// As null.
    Null,
    /// With a value.
    Value(T),
}

/// Whether a field may be left out, and whether it may be null.
pub enum Need {
    /// It must have a value.
    Required,
    /// It may be left out, which null does too.
    Optional,
    /// It may be left out, but not be null.
    NotNull,
    /// It may be left out, and then has this value.
    Default(Value),
}

/// Takes the fields of a request one by one.
pub trait Fields {
    /// What the reading depends on.
    fn context(&self) -> &Context;

    /// Takes the field `name`.
    fn take<K: Kind>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        need: Need,
        kind: K,
    ) -> Read<Presence<K::Value>>;

    /// Notes that `field` is wrong.
    fn fault(&mut self, field: &str, detail: impl Into<String>);

    /// A field that must be given.
    fn required<K: Kind>(&mut self, name: &'static str, meaning: &'static str, kind: K) -> Read<K::Value> {
        match self.take(name, meaning, Need::Required, kind)? {
            Presence::Value(value) => Ok(value),
            Presence::Absent | Presence::Null => {
                self.fault(name, "must be given");
                Err(Faulty)
            }
        }
    }

    /// A field that may be left out.
    fn optional<K: Kind>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        kind: K,
    ) -> Read<Option<K::Value>> {
        Ok(match self.take(name, meaning, Need::Optional, kind)? {
            Presence::Value(value) => Some(value),
            Presence::Absent | Presence::Null => None,
        })
    }

    /// A field that is `default` if it is left out.
    fn with_default<K: Kind<Value: Clone + Into<Value>>>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        default: K::Value,
        kind: K,
    ) -> Read<K::Value> {
        Ok(match self.take(name, meaning, Need::Default(default.clone().into()), kind)? {
            Presence::Value(value) => value,
            Presence::Absent | Presence::Null => default,
        })
    }

    /// A field that changes what is there: left out it keeps it, and null clears it.
    fn change<K: Kind>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        kind: K,
    ) -> Read<Option<Option<K::Value>>> {
        Ok(match self.take(name, meaning, Need::Optional, kind)? {
            Presence::Absent => None,
            Presence::Null => Some(None),
            Presence::Value(value) => Some(Some(value)),
        })
    }

    /// A field that replaces what is there and cannot clear it.
    fn replace<K: Kind>(
        &mut self,
        name: &'static str,
        meaning: &'static str,
        kind: K,
    ) -> Read<Option<K::Value>> {
        match self.take(name, meaning, Need::NotNull, kind)? {
            Presence::Absent => Ok(None),
            Presence::Value(value) => Ok(Some(value)),
            Presence::Null => {
                self.fault(name, "cannot be cleared; leave it out to keep it");
                Err(Faulty)
            }
        }
    }
}

/// The value of an optional field that was read and given.
pub fn value<T>(read: &Read<Option<T>>) -> Option<&T> {
    read.as_ref().ok()?.as_ref()
}
