//! The kinds of fields: of each, how it is read and how it is documented, in one value.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use secrecy::SecretString;
use serde_json::{Value, json};

use super::{
    Context, Request, faults::Fault, fields::Kind, given::Given, names::Names, schema, words::Words,
};
use crate::{
    domain::{
        Person, UnixMs, identity,
        pumping::{InvalidPrefix, Prefix},
        replies::{InvalidText, Text as ReplyText},
    },
    phone,
    public_host::{URL_LENGTH_MAX, check_media_url},
    twilio::{Address, Channel, address::InvalidAddress, limits::MEDIA_MAX, segments::BODY_CHARACTERS_MAX},
};

/// The longest secret that is taken, in bytes; Twilio's own have 32 characters.
const SECRET_BYTES_MAX: usize = 256;

/// The longest id of a user, in characters.
pub const USER_CHARACTERS_MAX: usize = 255;

/// See [`text_read`].
struct Text<R> {
    schema: Value,
    read: R,
}

impl<T, R: Fn(String, &Context) -> Result<T, Fault>> Kind for Text<R> {
    type Value = T;

    fn read(&self, given: Value, context: &Context) -> Result<T, Fault> {
        match given {
            Value::String(text) => (self.read)(text, context),
            _ => Err("must be a text".into()),
        }
    }

    fn schema(&self, _: &mut Names) -> Value {
        self.schema.clone()
    }
}

/// A text that `read` makes something of.
fn text_read<T, R: Fn(String, &Context) -> Result<T, Fault>>(schema: Value, read: R) -> Text<R> {
    Text { schema, read }
}

/// A text of which the length in characters is within `length`.
pub fn text(length: RangeInclusive<usize>) -> impl Kind<Value = String> {
    let (min, max) = (*length.start(), *length.end());
    let mut schema = json!({ "type": "string", "maxLength": max });
    if min > 0 {
        schema["minLength"] = min.into();
    }
    text_read(schema, move |text, _| match text.chars().count() {
        characters if length.contains(&characters) => Ok(text),
        characters if min == 0 => Err(format!("has {characters} characters, of at most {max}").into()),
        characters => Err(format!("has {characters} characters, and must have {min} to {max}").into()),
    })
}

/// The id of a user, which is the application's business; here it only has to fit.
pub fn user_id() -> impl Kind<Value = String> {
    text_read(
        json!({ "type": "string", "minLength": 1, "maxLength": USER_CHARACTERS_MAX, "examples": ["ada"] }),
        |text, _| {
            if (1..=USER_CHARACTERS_MAX).contains(&text.chars().count()) {
                Ok(text)
            } else {
                Err(format!("must have 1 to {USER_CHARACTERS_MAX} characters").into())
            }
        },
    )
}

/// Any text.
pub fn any_text() -> impl Kind<Value = String> {
    text_read(json!({ "type": "string" }), |text, _| Ok(text))
}

/// One line of at most `max` characters; none if it is blank.
pub fn line(max: usize, example: &str) -> impl Kind<Value = Option<String>> {
    text_read(json!({ "type": "string", "maxLength": max, "examples": [example] }), move |text, _| {
        identity::read_line(&text, max).map_err(|error| error.to_string().into())
    })
}

/// One line of at most `max` characters that is not blank.
pub fn name(max: usize, example: &str) -> impl Kind<Value = String> {
    let schema = json!({ "type": "string", "minLength": 1, "maxLength": max, "examples": [example] });
    text_read(schema, move |text, _| match identity::read_line(&text, max) {
        Ok(Some(line)) => Ok(line),
        Ok(None) => Err("must not be blank".into()),
        Err(error) => Err(error.to_string().into()),
    })
}

/// The text of an answer to a person; none if it is blank.
pub fn reply_text() -> impl Kind<Value = Option<ReplyText>> {
    let schema = json!({
        "type": "string", "maxLength": BODY_CHARACTERS_MAX, "examples": ["{name}: You will get no more messages."],
    });
    text_read(schema, |text, _| match ReplyText::parse(&text) {
        Ok(text) => Ok(Some(text)),
        Err(InvalidText::Blank) => Ok(None),
        Err(error @ (InvalidText::TooLong | InvalidText::UnknownPlaceholder)) => {
            Err(error.to_string().into())
        }
    })
}

/// Visible ASCII characters and blanks, as many as `length` says.
pub fn visible_ascii(length: RangeInclusive<usize>) -> impl Kind<Value = String> {
    let (min, max) = (*length.start(), *length.end());
    text_read(json!({ "type": "string", "minLength": min, "maxLength": max }), move |text, _| {
        if length.contains(&text.len()) && text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
            Ok(text)
        } else {
            Err(format!("must be {min} to {max} visible ASCII characters").into())
        }
    })
}

/// A phone number as people type it. It is read into E.164 only when every other field is known to be good, because an
/// invalid phone number is answered with its own error code.
pub fn typed_phone_number() -> impl Kind<Value = String> {
    text_read(json!({ "type": "string", "examples": ["+14155552671"] }), |text, _| {
        if text.trim().is_empty() { Err("must not be empty".into()) } else { Ok(text) }
    })
}

/// A person to look for, by any address: a phone number as people type it, a short code, a WhatsApp user id.
pub fn person() -> impl Kind<Value = Person> {
    text_read(json!({ "type": "string", "examples": ["+14155552671"] }), |text, context| {
        let bare = text.strip_prefix("whatsapp:").unwrap_or(&text);
        // A form-encoded query turns a `+` that is not escaped into a blank.
        let plus = bare.strip_prefix(' ').map(|digits| format!("+{digits}"));
        let bare = plus.as_deref().unwrap_or(bare);
        phone::normalize(bare, context.region)
            .or_else(|_| bare.parse())
            .map(|address| Person::of(&address))
            .map_err(|error: InvalidAddress| error.to_string().into())
    })
}

/// A sender over `channel`.
pub fn sender(channel: Channel) -> impl Kind<Value = Address> {
    text_read(json!({ "type": "string", "examples": ["+15005550006"] }), move |text, context| {
        phone::sender(channel, &text, context.region).map_err(|error| error.to_string().into())
    })
}

/// What the numbers of a block begin with.
pub fn number_prefix() -> impl Kind<Value = Prefix> {
    let schema = json!({ "type": "string", "pattern": "^[+][1-9][0-9]{0,13}$", "examples": ["+4479111"] });
    text_read(schema, |text, _| text.parse().map_err(|error: InvalidPrefix| error.to_string().into()))
}

/// A SID that `parse` reads: `prefix` and 32 hexadecimal digits.
pub fn sid<T, E: fmt::Display>(prefix: &str, parse: impl Fn(&str) -> Result<T, E>) -> impl Kind<Value = T> {
    text_read(
        json!({ "type": "string", "pattern": format!("^{prefix}[0-9a-fA-F]{{32}}$") }),
        move |text, _| parse(&text).map_err(|error| error.to_string().into()),
    )
}

/// A secret.
pub fn secret() -> impl Kind<Value = SecretString> {
    text_read(
        json!({
            "type": "string", "minLength": 1, "maxLength": SECRET_BYTES_MAX, "pattern": "^[!-~]+$", "writeOnly": true,
        }),
        |text, _| {
            let is_one = (1..=SECRET_BYTES_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic());
            if is_one {
                Ok(text.into())
            } else {
                Err(format!("must be 1 to {SECRET_BYTES_MAX} printable ASCII characters without blanks")
                    .into())
            }
        },
    )
}

/// A URL that may hold a password. Whether it may be called is for whoever knows what is configured to say.
pub fn secret_url() -> impl Kind<Value = SecretString> {
    text_read(
        json!({ "type": "string", "format": "uri", "minLength": 1, "maxLength": URL_LENGTH_MAX }),
        |text, _| {
            let is_one = (1..=URL_LENGTH_MAX).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic());
            if is_one {
                Ok(text.into())
            } else {
                Err(format!("must be a URL of at most {URL_LENGTH_MAX} ASCII characters without blanks")
                    .into())
            }
        },
    )
}

/// The id of a shared key, of at most `max` bytes. It travels in a header, between commas and behind an equals sign.
pub fn shared_key_id(max: usize) -> impl Kind<Value = String> {
    text_read(
        json!({ "type": "string", "minLength": 1, "maxLength": max, "pattern": "^[!-+\\--<>-~]+$" }),
        move |text, _| {
            let is_one = (1..=max).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_graphic() && !b",=".contains(&byte));
            if is_one {
                Ok(text)
            } else {
                Err(format!("must be 1 to {max} printable ASCII characters without blanks, commas and =")
                    .into())
            }
        },
    )
}

/// A cursor, as an answer gave it out.
pub fn cursor<T: FromStr<Err: fmt::Display>>() -> impl Kind<Value = T> {
    text_read(json!({ "type": "string" }), |text, _| {
        text.parse().map_err(|error: T::Err| error.to_string().into())
    })
}

/// A cursor that counts the entries before it, in at most `digits` digits.
pub fn offset(digits: usize) -> impl Kind<Value = usize> {
    text_read(json!({ "type": "string", "pattern": format!("^[0-9]{{1,{digits}}}$") }), move |text, _| {
        let is_one = (1..=digits).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
        let offset = text.parse().ok().filter(|_| is_one);
        offset.ok_or_else(|| "must be the next_cursor of an earlier answer".into())
    })
}

/// A point in time in RFC 3339, not before 1970.
pub fn time() -> impl Kind<Value = UnixMs> {
    text_read(json!({ "type": "string", "format": "date-time" }), |text, _| read_time(&text))
}

/// A point in time in RFC 3339 that is at most `past` ago and at most `ahead` away.
pub fn time_within(past: Duration, ahead: Duration) -> impl Kind<Value = UnixMs> {
    text_read(json!({ "type": "string", "format": "date-time" }), move |text: String, context| {
        let at = read_time(&text)?;
        if at + past < context.now {
            return Err("must not be in the past".into());
        }
        if at > context.now + ahead {
            return Err(format!("must be within {} days", ahead.as_secs() / 86_400).into());
        }
        Ok(at)
    })
}

fn read_time(text: &str) -> Result<UnixMs, Fault> {
    let time = text.parse::<jiff::Timestamp>();
    let time = time.map_err(|_| "must be a time in RFC 3339, such as 2026-01-31T09:00:00Z")?;
    UnixMs::from_timestamp(time).ok_or_else(|| "must not be before 1970".into())
}

/// A length of time such as `90s`, `15m`, `1h` or `7d`, of at most `max`.
pub fn span(max: Duration, example: &str) -> impl Kind<Value = Duration> {
    text_read(json!({ "type": "string", "examples": [example] }), move |text, _| {
        let span = text.parse::<jiff::SignedDuration>().ok().or_else(|| {
            let days = jiff::SpanRelativeTo::days_are_24_hours();
            text.parse::<jiff::Span>().ok()?.to_duration(days).ok()
        });
        let span = span.and_then(|span| Duration::try_from(span).ok()).filter(|span| *span <= max);
        span.ok_or_else(|| {
            format!("must be a time such as 15m, 1h or 7d, of at most {} days", max.as_secs() / 86_400).into()
        })
    })
}

/// One of the words of `W`.
pub fn word<W: Words>() -> impl Kind<Value = W> {
    Word(std::marker::PhantomData)
}

struct Word<W>(std::marker::PhantomData<W>);

impl<W: Words> Kind for Word<W> {
    type Value = W;

    fn read(&self, given: Value, _: &Context) -> Result<W, Fault> {
        let found = W::ALL.iter().find(|(_, word, _)| given.as_str() == Some(word));
        found.map(|(value, ..)| *value).ok_or_else(|| {
            let words: Vec<_> = W::ALL.iter().map(|(_, word, _)| *word).collect();
            match words.split_last() {
                Some((last, others)) if !others.is_empty() => {
                    format!("must be {} or {last}", others.join(", ")).into()
                }
                _ => format!("can only be {}", words.concat()).into(),
            }
        })
    }

    fn schema(&self, names: &mut Names) -> Value {
        names.refer(W::NAME, |_| W::schema())
    }
}

/// A whole number within `range`.
pub fn number(range: RangeInclusive<u32>) -> impl Kind<Value = u32> {
    Number(range)
}

struct Number(RangeInclusive<u32>);

impl Number {
    fn check(&self, number: Option<u64>) -> Result<u32, Fault> {
        let number = number.and_then(|number| u32::try_from(number).ok());
        number.filter(|number| self.0.contains(number)).ok_or_else(|| {
            format!("must be a whole number from {} to {}", self.0.start(), self.0.end()).into()
        })
    }
}

impl Kind for Number {
    type Value = u32;

    fn read(&self, given: Value, _: &Context) -> Result<u32, Fault> {
        self.check(given.as_u64())
    }

    fn read_text(&self, given: String, _: &Context) -> Result<u32, Fault> {
        self.check(given.parse().ok())
    }

    fn schema(&self, _: &mut Names) -> Value {
        json!({ "type": "integer", "format": "int32", "minimum": self.0.start(), "maximum": self.0.end() })
    }
}

/// True or false.
pub fn switch() -> impl Kind<Value = bool> {
    Switch
}

struct Switch;

impl Kind for Switch {
    type Value = bool;

    fn read(&self, given: Value, _: &Context) -> Result<bool, Fault> {
        given.as_bool().ok_or_else(|| "must be true or false".into())
    }

    fn read_text(&self, given: String, _: &Context) -> Result<bool, Fault> {
        given.parse().map_err(|_| "must be true or false".into())
    }

    fn schema(&self, _: &mut Names) -> Value {
        json!({ "type": "boolean" })
    }
}

/// A list with as many entries as `length` says, each of which is an `entry`.
pub fn list<K: Kind>(length: RangeInclusive<usize>, entry: K) -> impl Kind<Value = Vec<K::Value>> {
    List { length, entry }
}

struct List<K> {
    length: RangeInclusive<usize>,
    entry: K,
}

impl<K: Kind> Kind for List<K> {
    type Value = Vec<K::Value>;

    fn read(&self, given: Value, context: &Context) -> Result<Self::Value, Fault> {
        let entries = match given {
            Value::Array(entries) if self.length.contains(&entries.len()) => entries,
            _ => {
                let (min, max) = (self.length.start(), self.length.end());
                return Err(format!("must be a list of {min} to {max} entries").into());
            }
        };
        let read = |(index, entry)| {
            let read = self.entry.read(entry, context);
            read.map_err(|fault| format!("the entry {index}: {}", fault.into_detail()).into())
        };
        entries.into_iter().enumerate().map(read).collect()
    }

    fn schema(&self, names: &mut Names) -> Value {
        let mut schema =
            json!({ "type": "array", "maxItems": self.length.end(), "items": self.entry.schema(names) });
        if *self.length.start() > 0 {
            schema["minItems"] = (*self.length.start()).into();
        }
        schema
    }
}

/// URLs of media, which Twilio will fetch: one, or a list.
pub fn media_urls() -> impl Kind<Value = Vec<String>> {
    let url = text_read(json!({ "type": "string" }), |text, _| match check_media_url(&text) {
        Ok(()) => Ok(text),
        Err(refusal) => Err(refusal.to_string().into()),
    });
    OneOrMany(List { length: 0..=MEDIA_MAX, entry: url })
}

struct OneOrMany<K>(List<K>);

impl<K: Kind> Kind for OneOrMany<K> {
    type Value = Vec<K::Value>;

    fn read(&self, given: Value, context: &Context) -> Result<Self::Value, Fault> {
        match given {
            Value::Array(_) => self.0.read(given, context),
            one => Ok(vec![self.0.entry.read(one, context)?]),
        }
    }

    fn schema(&self, names: &mut Names) -> Value {
        json!({ "oneOf": [self.0.entry.schema(names), self.0.schema(names)] })
    }
}

/// A JSON object, or its text; as the text of that object.
pub fn json_object() -> impl Kind<Value = String> {
    JsonObject
}

struct JsonObject;

impl Kind for JsonObject {
    type Value = String;

    fn read(&self, given: Value, _: &Context) -> Result<String, Fault> {
        let value = match given {
            Value::String(text) => serde_json::from_str(&text).ok(),
            value => Some(value),
        };
        let object = value.filter(Value::is_object);
        object.map(|object| object.to_string()).ok_or_else(|| "must be a JSON object".into())
    }

    fn schema(&self, _: &mut Names) -> Value {
        json!({ "oneOf": [{ "type": "object" }, { "type": "string" }] })
    }
}

/// An object with the fields of `R`.
pub fn object<R: Request>() -> impl Kind<Value = R> {
    Object(std::marker::PhantomData)
}

struct Object<R>(std::marker::PhantomData<R>);

impl<R: Request> Kind for Object<R> {
    type Value = R;

    fn read(&self, given: Value, context: &Context) -> Result<R, Fault> {
        let Value::Object(fields) = given else { return Err("must be an object".into()) };
        match Given::object(fields).read(context) {
            (Ok(value), faults) if faults.is_empty() => Ok(value),
            (_, faults) => Err(Fault::Inside(faults)),
        }
    }

    fn schema(&self, names: &mut Names) -> Value {
        names.refer(R::NAME, schema::object::<R>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether `kind` takes `given` as JSON at noon of 2026-01-31.
    fn takes<K: Kind>(kind: &K, given: Value) -> bool {
        let now = UnixMs::new(1_769_860_800_000);
        kind.read(given, &Context { now, ..Context::default() }).is_ok()
    }

    #[test]
    fn a_text_is_counted_in_characters() {
        let kind = text(1..=3);
        assert!(takes(&kind, json!("äöü")));
        for wrong in [json!(""), json!("abcd"), json!(1), json!(["a"])] {
            assert!(!takes(&kind, wrong.clone()), "{wrong}");
        }
        assert_eq!(
            kind.schema(&mut Names::default()),
            json!({ "type": "string", "minLength": 1, "maxLength": 3 })
        );
    }

    #[test]
    fn a_number_is_read_from_text_where_everything_is_text() {
        let kind = number(1..=500);
        let context = Context::default();
        assert!(takes(&kind, json!(500)) && !takes(&kind, json!(501)) && !takes(&kind, json!(0)));
        assert!(!takes(&kind, json!("5")) && !takes(&kind, json!(1.5)));
        assert!(kind.read_text("500".to_owned(), &context).is_ok_and(|number| number == 500));
        assert!(kind.read_text("five".to_owned(), &context).is_err());
        assert!(switch().read_text("true".to_owned(), &context).is_ok_and(|on| on));
        assert!(!takes(&switch(), json!("true")));
    }

    #[test]
    fn a_time_is_within_what_is_allowed_of_now() {
        let day = Duration::from_secs(24 * 60 * 60);
        let kind = time_within(Duration::from_secs(60), day);
        for right in ["2026-01-31T11:59:00Z", "2026-01-31T13:00:00+01:00", "2026-02-01T12:00:00Z"] {
            assert!(takes(&kind, json!(right)), "{right}");
        }
        for wrong in
            ["2026-01-31T11:58:59Z", "2026-02-01T12:00:01Z", "2026-01-31", "1969-12-31T23:59:59Z", "now"]
        {
            assert!(!takes(&kind, json!(wrong)), "{wrong}");
        }
    }

    #[test]
    fn a_length_of_time_has_a_unit_and_a_bound() {
        let kind = span(Duration::from_secs(30 * 24 * 60 * 60), "1h");
        for right in ["90s", "15m", "1h", "7d", "30d"] {
            assert!(takes(&kind, json!(right)), "{right}");
        }
        for wrong in ["", "1", "-1h", "31d", "1x", "9999999999999999d"] {
            assert!(!takes(&kind, json!(wrong)), "{wrong}");
        }
    }

    #[test]
    fn a_list_says_which_entry_is_wrong_and_media_may_be_one() {
        let kind = list(1..=2, number(0..=9));
        assert!(takes(&kind, json!([1, 2])) && !takes(&kind, json!([])) && !takes(&kind, json!([1, 2, 3])));
        let fault = kind.read(json!([1, 10]), &Context::default()).err().map(Fault::into_detail);
        assert_eq!(fault.as_deref(), Some("the entry 1: must be a whole number from 0 to 9"));
        let media = media_urls();
        let url = "https://example.com/a.png";
        assert!(takes(&media, json!(url)) && takes(&media, json!(vec![url; MEDIA_MAX])));
        assert!(
            !takes(&media, json!(vec![url; MEDIA_MAX + 1]))
                && !takes(&media, json!("http://example.com/a.png"))
        );
    }

    #[test]
    fn a_cursor_that_counts_is_digits_alone() {
        let kind = offset(5);
        assert!(takes(&kind, json!("0")) && takes(&kind, json!("99999")));
        for wrong in ["", "+1", "-1", "100000", " 1", "٣"] {
            assert!(!takes(&kind, json!(wrong)), "{wrong}");
        }
    }

    #[test]
    fn a_word_is_one_of_those_that_are_listed() {
        use super::super::words::{FallbackChannel, Wish};
        assert!(takes(&word::<Wish>(), json!("opted_in")) && !takes(&word::<Wish>(), json!("unknown")));
        let detail =
            |fault: Option<Fault>| fault.map(Fault::into_detail).expect("what is no word is a fault");
        let context = Context::default();
        let fault = word::<Wish>().read(json!("x"), &context).err();
        assert_eq!(detail(fault), "must be opted_in or opted_out");
        let fault = word::<FallbackChannel>().read(json!(1), &context).err();
        assert_eq!(detail(fault), "can only be sms");
    }
}
