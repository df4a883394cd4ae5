//! Why a signature does not hold: for which other request, or key, it would.
//!
//! Nearly every refused signature that Twilio made is the work of something in between: a proxy that ends TLS, a tunnel
//! with a name of its own, a framework that re-orders a query, a filter that trims values. Each leaves a signature that
//! holds for another request, and the difference says what to change. So the likely differences are tried, one at a time
//! and in the usual combinations. Nothing is ever accepted for it.
//!
//! Whoever sends a request decides on everything that is tried here but the keys. So the work is bounded by
//! [`MACS_MAX`] and [`MAC_BYTES_MAX`] whatever the request, a long URL is not looked into, a form of many parameters is
//! not taken apart, and nobody but the operator may learn what is found: not the caller, and not by the time that it
//! takes.

use std::{borrow::Cow, fmt};

use subtle::ConstantTimeEq;

use super::{
    BODY_SHA256, Content, KeyName, Signature, SigningKey, body_sha256_hex, signed_parameters,
    spelling::{Query, Url},
};
use crate::twilio::form::{Form, escape_into};

/// How many signatures are computed for one refusal.
pub const MACS_MAX: usize = 4_096;

/// How many bytes are signed for one refusal, altogether.
pub const MAC_BYTES_MAX: usize = 4 << 20;

/// The longest URL that others are tried for, in bytes; Twilio's own are at most 4,000 long.
const URL_BYTES_MAX: usize = 8 * 1024;

/// Up to how many parameters of a query every order is tried.
const PERMUTED_MAX: usize = 5;

/// The longest form that others are tried for, in parameters; Twilio's own have up to 40. Every try sorts them anew.
const FORM_PARAMETERS_MAX: usize = 256;

/// How many parameters of a form are looked at one by one.
const PARAMETERS_MAX: usize = 48;

/// Parameters that Twilio sends blank, and that are therefore dropped by whoever drops blanks.
const BLANKABLE: [&str; 9] =
    ["Body", "FromCity", "FromCountry", "FromState", "FromZip", "ToCity", "ToCountry", "ToState", "ToZip"];

/// A refused request, as it was received. It has no `Debug`: URLs hold passwords and bodies hold messages.
pub struct Refused<'a> {
    /// The URL that it was verified against.
    pub url: &'a str,
    /// The path that the public URL has and that was, or should have been, in front of ours; empty if there is none.
    pub prefix: &'a str,
    /// What else the request says of its URL.
    pub hints: Hints<'a>,
    /// What came with it.
    pub content: Content<'a>,
    /// Its signature header.
    pub signature: &'a str,
}

/// What a request and the proxies on its way say of its URL. Anybody can say anything, so these are only tried.
#[derive(Clone, Copy, Default)]
pub struct Hints<'a> {
    /// `Host`.
    pub host: Option<&'a str>,
    /// `X-Forwarded-Host`.
    pub forwarded_host: Option<&'a str>,
    /// `X-Forwarded-Port`.
    pub forwarded_port: Option<&'a str>,
    /// `X-Forwarded-Prefix`.
    pub forwarded_prefix: Option<&'a str>,
}

/// A key that may have signed.
pub struct NamedKey {
    /// The key.
    pub key: SigningKey,
    /// What it is called.
    pub name: KeyName,
    /// Whose it is.
    pub owner: Owner,
}

/// Whose a key is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    /// The account's that the request names.
    Account,
    /// Given for that account, and not accepted: Twilio could not be asked about it, or has refused it.
    Unconfirmed {
        /// Whether Twilio has refused it.
        is_refused: bool,
    },
    /// That account's until it was taken out of the configuration.
    AccountBefore,
    /// The account's of this SID.
    Other(String),
}

/// What kind of difference was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Cause {
    /// Another account's key signed.
    KeyOfAnotherAccount,
    /// A key signed that was saved, and that Twilio could not be asked about.
    UnverifiedSettings,
    /// A key signed that was saved, and that Twilio has refused.
    RefusedSettings,
    /// A key signed that is no longer configured.
    RemovedKey,
    /// One of the account's keys signed, and not one that this request may be signed with.
    OtherKey,
    /// `http` for `https`, or the other way round.
    Scheme,
    /// Another host.
    Host,
    /// Another port.
    Port,
    /// The path in front of ours is there once too often or too rarely.
    Prefix,
    /// A slash at the path's end.
    TrailingSlash,
    /// The query's parameters are in another order.
    QueryOrder,
    /// The query is escaped in another way.
    QueryEncoding,
    /// Something of the query is missing, or was added.
    QueryChanged,
    /// Blanks around a value are missing, or were added.
    ValueTrimmed,
    /// A parameter without a value is missing, or was added.
    BlankDropped,
    /// `+` and blank were mixed up.
    ValueDecoded,
    /// A repeated parameter is there once.
    RepeatedDropped,
    /// The parameters of the body were not signed, or those of the query were signed as if they were in the body.
    ParametersMisplaced,
    /// The body is not the one that was sent.
    BodyChanged,
    /// The query has lost the hash of the body.
    BodyHashLost,
}

impl Cause {
    /// The cause as one stable word.
    pub fn as_str(self) -> &'static str {
        match self {
            Cause::KeyOfAnotherAccount => "key_of_another_account",
            Cause::UnverifiedSettings => "unverified_settings",
            Cause::RefusedSettings => "refused_settings",
            Cause::RemovedKey => "removed_key",
            Cause::OtherKey => "other_key",
            Cause::Scheme => "scheme",
            Cause::Host => "host",
            Cause::Port => "port",
            Cause::Prefix => "path_prefix",
            Cause::TrailingSlash => "trailing_slash",
            Cause::QueryOrder => "query_order",
            Cause::QueryEncoding => "query_encoding",
            Cause::QueryChanged => "query_changed",
            Cause::ValueTrimmed => "value_trimmed",
            Cause::BlankDropped => "blank_parameter_dropped",
            Cause::ValueDecoded => "value_decoded_twice",
            Cause::RepeatedDropped => "repeated_parameter_dropped",
            Cause::ParametersMisplaced => "parameters_misplaced",
            Cause::BodyChanged => "body_changed",
            Cause::BodyHashLost => "body_hash_lost",
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What was found. It holds no secret and no value of a parameter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// What kind of difference.
    pub cause: Cause,
    /// What Twilio signed.
    pub detail: String,
    /// What to change.
    pub mend: String,
    /// The account that signed, if it is another one. It may be another organization's: for the operator alone.
    pub other_account: Option<String>,
}

impl Finding {
    fn new(cause: Cause, detail: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { cause, detail: detail.into(), mend: mend.into(), other_account: None }
    }
}

/// For which other request, or key, the signature of `refused` holds; `None` if for none that is tried.
pub fn diagnose(refused: &Refused<'_>, keys: &[NamedKey]) -> Option<Finding> {
    let signing: Vec<SigningKey> = keys.iter().map(|named| named.key.clone()).collect();
    let own: Vec<SigningKey> =
        keys.iter().filter(|named| named.owner == Owner::Account).map(|named| named.key.clone()).collect();
    let expected = Signature::parse(refused.signature, &signing).ok()?;
    let mut search = Search { expected, macs: MACS_MAX, bytes: MAC_BYTES_MAX };
    let parameters = match refused.content {
        Content::Form(form) => signed_parameters(form),
        Content::Nothing | Content::Body(_) => Vec::new(),
    };
    let url = Url::split(refused.url);
    let whole = url.text();
    if let Some(index) = search.key_for(&signing, &whole, &parameters) {
        return Some(other_key(&keys[index], refused));
    }
    if whole.len() > URL_BYTES_MAX {
        return None;
    }
    search
        .body(refused, &own)
        .or_else(|| search.place(refused, url, &parameters, &own))
        .or_else(|| search.query(url, &parameters, &own))
        .or_else(|| search.form(refused, url, &own))
}

/// The request is signed, by a key that does not count.
fn other_key(named: &NamedKey, refused: &Refused<'_>) -> Finding {
    let name = &named.name;
    match &named.owner {
        Owner::Other(account) => Finding {
            other_account: Some(format!("{account} ({name})")),
            ..Finding::new(
                Cause::KeyOfAnotherAccount,
                "the request is signed with a key of another account of this installation",
                "a subaccount signs with its own auth token: give each account its own, or let the account that signs own \
                 the number",
            )
        },
        Owner::Unconfirmed { is_refused: false } => Finding::new(
            Cause::UnverifiedSettings,
            format!(
                "the request is signed with {name} of settings that are saved and not in force: Twilio could not be asked \
                 about the account"
            ),
            "see that Twilio's API can be reached from here: Twilio is asked again, and at once if the settings are saved \
             once more",
        ),
        Owner::Unconfirmed { is_refused: true } => Finding::new(
            Cause::RefusedSettings,
            format!("the request is signed with {name} of settings that are saved and that Twilio has refused"),
            "save the account anew, with the auth token that Twilio's console shows for it",
        ),
        Owner::AccountBefore => Finding::new(
            Cause::RemovedKey,
            format!("the request is signed with {name} as it was before the configuration was read again"),
            "configure that key again, as auth_token_secondary, until Twilio has promoted the new one",
        ),
        Owner::Account if !names_its_body(refused) => Finding::new(
            Cause::BodyChanged,
            format!("the URL is signed, and its {BODY_SHA256} is that of another body"),
            "keep proxies and filters from reading and writing the body: its bytes count",
        ),
        Owner::Account => Finding::new(
            Cause::OtherKey,
            format!("the request is signed with {name}, which it may not be signed with"),
            match name {
                KeyName::Shared(id) => format!(
                    "the request has to name the shared key {id} and its algorithm: see that no proxy drops \
                     X-Twilio-Webhooks-Signature-Settings"
                ),
                _ => "the account requires a shared key: let Twilio sign this URL with one, or stop requiring it".to_owned(),
            },
        ),
    }
}

/// Whether the hash in the URL, if there has to be one, is that of the body.
fn names_its_body(refused: &Refused<'_>) -> bool {
    match refused.content {
        Content::Body(body) => refused.url.contains(&body_sha256_hex(body)),
        Content::Nothing | Content::Form(_) => true,
    }
}

/// Compares signatures until it may do no more.
struct Search {
    expected: Signature,
    macs: usize,
    bytes: usize,
}

impl Search {
    /// Which of `keys` signs `url` with `parameters`.
    fn key_of(&mut self, keys: &[SigningKey], url: &str, parameters: &[u8]) -> Option<usize> {
        for (index, key) in keys.iter().enumerate() {
            self.macs = self.macs.checked_sub(1)?;
            self.bytes = self.bytes.checked_sub(url.len() + parameters.len())?;
            let signature = key.sign(&[url], parameters);
            if bool::from(signature.as_bytes().ct_eq(self.expected.as_bytes())) {
                return Some(index);
            }
        }
        None
    }

    /// The same, for `url` in every spelling of its port and its userinfo.
    fn key_for(&mut self, keys: &[SigningKey], url: &str, parameters: &[u8]) -> Option<usize> {
        let url = Url::split(url);
        let spellings = url.authorities().map(|(userinfo, port)| url.spelled(userinfo, port).concat());
        spellings.into_iter().find_map(|url| self.key_of(keys, &url, parameters))
    }

    fn signs(&mut self, keys: &[SigningKey], url: &str, parameters: &[u8]) -> bool {
        self.key_for(keys, url, parameters).is_some()
    }

    /// The body's hash is not in the query.
    fn body(&mut self, refused: &Refused<'_>, keys: &[SigningKey]) -> Option<Finding> {
        let Content::Body(body) = refused.content else { return None };
        if refused.url.contains(BODY_SHA256) {
            return None;
        }
        let hash = body_sha256_hex(body);
        let separator = if refused.url.contains('?') { '&' } else { '?' };
        let url = format!("{}{separator}{BODY_SHA256}={hash}", refused.url);
        self.signs(keys, &url, &[]).then(|| {
            let detail = format!("Twilio signed the URL with {BODY_SHA256} in its query");
            Finding::new(Cause::BodyHashLost, detail, "let the proxy pass the query on as it is")
        })
    }

    /// Another scheme, host, port, prefix, slash: one of them first, then all of them together.
    fn place(
        &mut self,
        refused: &Refused<'_>,
        url: Url<'_>,
        parameters: &[u8],
        keys: &[SigningKey],
    ) -> Option<Finding> {
        let origins = origins(url, &refused.hints);
        let paths = paths(url.path(), refused);
        let slashes = |path: &str| match path.strip_suffix('/') {
            Some(bare) => [path.to_owned(), bare.to_owned()],
            None => [path.to_owned(), format!("{path}/")],
        };
        let mut candidates: Vec<(usize, Place)> = Vec::new();
        for (origin_cause, origin) in &origins {
            for (path_cause, path) in &paths {
                for (slash, path) in slashes(path).into_iter().enumerate() {
                    let slash_cause = (slash == 1).then_some(Cause::TrailingSlash);
                    let causes = [*origin_cause, *path_cause, slash_cause];
                    let differences = causes.iter().flatten().count();
                    if let Some(cause) = causes.into_iter().flatten().next() {
                        candidates.push((differences, Place { cause, origin: origin.clone(), path }));
                    }
                }
            }
        }
        candidates.sort_by_key(|(differences, _)| *differences);
        let found = candidates.into_iter().find(|(_, place)| {
            let url = format!("{}{}{}", place.origin, place.path, url.query_with_mark());
            self.signs(keys, &url, parameters)
        });
        found.map(|(_, place)| place.finding(refused, url))
    }

    /// Another order, encoding or part of the query.
    fn query(&mut self, url: Url<'_>, parameters: &[u8], keys: &[SigningKey]) -> Option<Finding> {
        let query = url.query();
        if query.is_empty() {
            return None;
        }
        let mut signs = |cause: Cause, query: &str| {
            let marked = if query.is_empty() { String::new() } else { format!("?{query}") };
            let other = url.with_query(&marked).text();
            self.signs(keys, &other, parameters).then_some(cause)
        };
        let encodings = encodings(url, query);
        let cause = encodings
            .iter()
            .find_map(|query| signs(Cause::QueryEncoding, query))
            .or_else(|| orders(query).find_map(|query| signs(Cause::QueryOrder, &query)))
            .or_else(|| parts(query).find_map(|query| signs(Cause::QueryChanged, &query)))?;
        let (detail, mend) = match cause {
            Cause::QueryEncoding => (
                "Twilio signed the query escaped in another way",
                "let the proxy pass the query on byte for byte, and keep to letters, digits, - and _ in it",
            ),
            Cause::QueryOrder => (
                "Twilio signed the query's parameters in another order",
                "let the proxy or framework pass the query on byte for byte, without sorting it",
            ),
            _ => (
                "Twilio signed the query with some of its parameters left out",
                "keep the proxy from adding parameters to the query",
            ),
        };
        Some(Finding::new(cause, detail, mend))
    }

    /// Another form.
    fn form(&mut self, refused: &Refused<'_>, url: Url<'_>, keys: &[SigningKey]) -> Option<Finding> {
        let Content::Form(form) = refused.content else { return None };
        if form.len() > FORM_PARAMETERS_MAX {
            return None;
        }
        let whole = url.text();
        let pairs: Vec<Pair<'_>> =
            form.iter().map(|(name, value)| (Cow::Borrowed(name), Cow::Borrowed(value))).collect();
        let found = variants(&pairs, url.query()).find(|variant| {
            let bytes: usize = variant.pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
            // Not even written down if it is too much.
            bytes <= self.bytes && {
                let form: Form<'_> = variant.pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
                self.signs(keys, &whole, &signed_parameters(&form))
            }
        });
        found.map(Variant::finding)
    }
}

/// An origin and a path that may have been signed.
struct Place {
    cause: Cause,
    origin: String,
    path: String,
}

impl Place {
    fn finding(self, refused: &Refused<'_>, url: Url<'_>) -> Finding {
        let Self { cause, origin, path } = self;
        // Only a slash is the proxy's or the console's to mend; everything else is the public URL.
        let mend = if cause == Cause::TrailingSlash {
            format!(
                "configure the URL with the path {} at Twilio, and let no proxy change its end",
                url.path()
            )
        } else {
            let own_path =
                url.path().strip_prefix(refused.prefix).unwrap_or(url.path()).trim_end_matches('/');
            let prefix = path.trim_end_matches('/').strip_suffix(own_path).unwrap_or_default();
            format!(
                "set TEXTLEDGER_PUBLIC_URL to {origin}{prefix}, or configure {}{} at Twilio",
                url.origin_without_userinfo(),
                url.path()
            )
        };
        Finding::new(cause, format!("Twilio signed {origin}{path}"), mend)
    }
}

/// The scheme, host and port that may have been signed, that of `url` first, each with how it differs.
fn origins(url: Url<'_>, hints: &Hints<'_>) -> Vec<(Option<Cause>, String)> {
    let (scheme, host, port) = (url.scheme(), url.host(), url.port());
    let other_scheme = if scheme.eq_ignore_ascii_case("https://") { "http://" } else { "https://" };
    let mut origins = vec![(None, format!("{scheme}{host}{port}"))];
    let mut add = |cause: Cause, origin: String| {
        if !origins.iter().any(|(_, known)| *known == origin) {
            origins.push((Some(cause), origin));
        }
    };
    add(Cause::Scheme, format!("{other_scheme}{host}{port}"));
    let named = [hints.host, hints.forwarded_host].into_iter().flatten();
    // Of a list of proxies the first is the one that Twilio spoke to.
    let named: Vec<&str> = named.filter_map(|list| list.split(',').next()).map(str::trim).collect();
    let ports: Vec<String> = named
        .iter()
        .filter_map(|named| named.rsplit_once(':').map(|(_, port)| port))
        .chain(hints.forwarded_port)
        .filter(|port| port.parse::<u16>().is_ok())
        .map(|port| format!(":{port}"))
        .collect();
    for scheme in [scheme, other_scheme] {
        for port in &ports {
            add(Cause::Port, format!("{scheme}{host}{port}"));
        }
    }
    let lower = host.to_ascii_lowercase();
    for scheme in [scheme, other_scheme] {
        add(Cause::Host, format!("{scheme}{lower}{port}"));
        for named in &named {
            let bare = named.rsplit_once(':').map_or(*named, |(host, _)| host);
            add(Cause::Host, format!("{scheme}{named}"));
            add(Cause::Host, format!("{scheme}{bare}{port}"));
            for port in &ports {
                add(Cause::Host, format!("{scheme}{bare}{port}"));
            }
        }
    }
    origins
}

/// The paths that may have been signed, `path` first, each with how it differs.
fn paths(path: &str, refused: &Refused<'_>) -> Vec<(Option<Cause>, String)> {
    let own = path.strip_prefix(refused.prefix).filter(|own| own.starts_with('/')).unwrap_or(path);
    let forwarded = refused.hints.forwarded_prefix.map(|prefix| prefix.trim_end_matches('/'));
    let mut paths = vec![(None, path.to_owned())];
    for prefix in [Some(""), Some(refused.prefix), forwarded].into_iter().flatten() {
        for path in [format!("{prefix}{own}"), format!("{prefix}{path}")] {
            if !paths.iter().any(|(_, known)| *known == path) {
                paths.push((Some(Cause::Prefix), path));
            }
        }
    }
    paths
}

/// Other ways to escape the query.
fn encodings(url: Url<'_>, query: &str) -> Vec<String> {
    let spelled = [Query::Unescaped, Query::Escaped, Query::Legacy].into_iter().filter_map(|spelling| {
        let respelled = url.respelled_query(spelling)?;
        Some(respelled.trim_start_matches('?').to_owned())
    });
    let others = [
        query.replace('+', "%20"),
        query.replace("%20", "+"),
        hex_digits_of(query, |digits| digits.to_ascii_lowercase()),
        hex_digits_of(query, |digits| digits.to_ascii_uppercase()),
        escaped_anew(query),
        String::from_utf8_lossy(&decoded(query)).into_owned(),
    ];
    let mut encodings: Vec<String> = spelled.chain(others).filter(|other| other != query).collect();
    encodings.dedup();
    encodings
}

/// The query with the two digits behind each `%` changed by `change`.
fn hex_digits_of(query: &str, change: impl Fn(&str) -> String) -> String {
    let mut pieces = query.split('%');
    let mut changed = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        changed.push('%');
        match piece.split_at_checked(2) {
            Some((digits, rest)) => changed.extend([change(digits).as_str(), rest]),
            None => changed.push_str(piece),
        }
    }
    changed
}

/// The query decoded and escaped as strictly as RFC 3986 allows.
fn escaped_anew(query: &str) -> String {
    let form = Form::parse(query.as_bytes());
    let mut escaped = String::with_capacity(query.len());
    for (name, value) in form.iter() {
        if !escaped.is_empty() {
            escaped.push('&');
        }
        for (index, text) in [name, value].into_iter().enumerate() {
            if index == 1 {
                escaped.push('=');
            }
            for &byte in text {
                match byte {
                    b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                        escaped.push(byte.into());
                    }
                    _ => escape_into(&mut escaped, byte),
                }
            }
        }
    }
    escaped
}

/// The query with everything decoded, names and values alike.
fn decoded(query: &str) -> Vec<u8> {
    let form = Form::parse(query.as_bytes());
    let pairs: Vec<Vec<u8>> = form.iter().map(|(name, value)| [name, b"=", value].concat()).collect();
    pairs.join(&b'&')
}

/// The query's parameters in other orders: every one of a few, the sorted and the reversed one of many.
fn orders(query: &str) -> impl Iterator<Item = String> {
    let pieces: Vec<&str> = query.split('&').collect();
    let orders: Vec<Vec<&str>> = if pieces.len() <= PERMUTED_MAX {
        permutations(&pieces)
    } else {
        let (mut sorted, mut reversed) = (pieces.clone(), pieces.clone());
        sorted.sort_unstable();
        reversed.reverse();
        let mut sorted_reversed = sorted.clone();
        sorted_reversed.reverse();
        vec![sorted, reversed, sorted_reversed]
    };
    let given = query.to_owned();
    orders.into_iter().map(|pieces| pieces.join("&")).filter(move |order| *order != given)
}

fn permutations<'a>(pieces: &[&'a str]) -> Vec<Vec<&'a str>> {
    if pieces.len() <= 1 {
        return vec![pieces.to_vec()];
    }
    let mut all = Vec::new();
    for index in 0..pieces.len() {
        let mut rest = pieces.to_vec();
        let first = rest.remove(index);
        all.extend(permutations(&rest).into_iter().map(|mut rest| {
            rest.insert(0, first);
            rest
        }));
    }
    all
}

/// The query without one of its parameters, and without any.
fn parts(query: &str) -> impl Iterator<Item = String> {
    let pieces: Vec<&str> = query.split('&').take(PARAMETERS_MAX).collect();
    let without = |index: usize| {
        let rest = pieces.iter().enumerate().filter(|(other, _)| *other != index);
        rest.map(|(_, piece)| *piece).collect::<Vec<_>>().join("&")
    };
    let parts: Vec<String> = (0..pieces.len()).map(without).chain([String::new()]).collect();
    parts.into_iter()
}

type Pair<'a> = (Cow<'a, [u8]>, Cow<'a, [u8]>);

/// A form that may have been signed.
struct Variant<'a> {
    cause: Cause,
    /// The parameter that differs, if it is one.
    name: Option<String>,
    pairs: Vec<Pair<'a>>,
}

impl Variant<'_> {
    fn finding(self) -> Finding {
        let which = match &self.name {
            Some(name) => format!("the parameter {name}"),
            None => "some parameters".to_owned(),
        };
        let (detail, mend) = match self.cause {
            Cause::ValueTrimmed => (
                format!("Twilio signed {which} with other blanks around the value"),
                "keep proxies and middleware from trimming values",
            ),
            Cause::BlankDropped => (
                format!(
                    "Twilio signed {which} that have no value, and they were dropped or added on the way"
                ),
                "keep proxies and middleware from dropping, or adding, parameters without a value",
            ),
            Cause::ValueDecoded => (
                format!(
                    "Twilio signed {which} with + and blank exchanged: they were decoded once too often or too rarely"
                ),
                "pass the body on byte for byte",
            ),
            Cause::RepeatedDropped => (
                "Twilio signed a repeated parameter once".to_owned(),
                "pass the body on byte for byte, without adding parameters",
            ),
            _ => (
                "the parameters of the body, or of the query, were signed in another place".to_owned(),
                "pass on method, query and body as they are: a redirect turns a POST into a GET",
            ),
        };
        Finding::new(self.cause, detail, mend)
    }
}

/// Forms that `pairs` may have been before somebody touched them.
fn variants<'a>(pairs: &'a [Pair<'a>], query: &'a str) -> impl Iterator<Item = Variant<'a>> {
    let with = move |index: usize, value: Vec<u8>| {
        let mut changed = pairs.to_vec();
        changed[index].1 = Cow::Owned(value);
        changed
    };
    let name_of = |index: usize| Some(String::from_utf8_lossy(&pairs[index].0).into_owned());
    let is_blank = |pair: &&Pair<'_>| pair.1.is_empty();

    // Blanks that were dropped: all together, by group, one by one.
    let missing = move |group: &dyn Fn(&str) -> bool| -> Vec<&'static str> {
        let is_missing = |name: &str| !pairs.iter().any(|(known, _)| **known == *name.as_bytes());
        BLANKABLE.into_iter().filter(|name| group(name) && is_missing(name)).collect()
    };
    let groups: [&dyn Fn(&str) -> bool; 5] = [
        &|name| name != "Body",
        &|_| true,
        &|name| name.starts_with("From"),
        &|name| name.starts_with("To"),
        &|name| name.ends_with("City") || name.ends_with("State") || name.ends_with("Zip"),
    ];
    let groups = groups.map(missing).into_iter().filter(|group| group.len() > 1);
    let singles = missing(&|_| true).into_iter().map(|name| vec![name]);
    let dropped: Vec<Vec<&str>> = groups.chain(singles).collect();
    let dropped = dropped.into_iter().map(move |names| {
        let blanks = names.iter().map(|name| (Cow::Borrowed(name.as_bytes()), Cow::Borrowed(&b""[..])));
        Variant {
            cause: Cause::BlankDropped,
            name: (names.len() == 1).then(|| names[0].to_owned()),
            pairs: pairs.iter().cloned().chain(blanks).collect(),
        }
    });

    // Values that were trimmed, or blanks that were added.
    let trimmed = (0..pairs.len().min(PARAMETERS_MAX)).flat_map(move |index| {
        let value = &pairs[index].1;
        let around = |before: &[u8], after: &[u8]| [before, value, after].concat();
        let wider = [
            around(b"", b" "),
            around(b" ", b""),
            around(b"", b"\n"),
            around(b"", b"\r\n"),
            around(b" ", b" "),
        ];
        let narrower = value.trim_ascii().to_vec();
        let changed = wider.into_iter().chain([narrower]).filter(move |changed| **changed != **value);
        changed.map(move |changed| Variant {
            cause: Cause::ValueTrimmed,
            name: name_of(index),
            pairs: with(index, changed),
        })
    });

    let every_value = move |cause: Cause, change: &dyn Fn(&[u8]) -> Vec<u8>| Variant {
        cause,
        name: None,
        pairs: pairs.iter().map(|(name, value)| (name.clone(), Cow::Owned(change(value)))).collect(),
    };
    let exchanged = |from: u8, to: u8| {
        move |value: &[u8]| -> Vec<u8> {
            value.iter().map(|&byte| if byte == from { to } else { byte }).collect()
        }
    };
    let without_blanks = Variant {
        cause: Cause::BlankDropped,
        name: None,
        pairs: pairs.iter().filter(|pair| !is_blank(pair)).cloned().collect(),
    };
    let once = |newest: bool| {
        let mut kept: Vec<Pair<'_>> = Vec::new();
        for pair in pairs {
            match kept.iter_mut().find(|(name, _)| *name == pair.0) {
                Some(known) if newest => *known = pair.clone(),
                Some(_) => {}
                None => kept.push(pair.clone()),
            }
        }
        Variant { cause: Cause::RepeatedDropped, name: None, pairs: kept }
    };
    let of_query = Form::parse(query.as_bytes());
    let of_query: Vec<Pair<'_>> = of_query
        .iter()
        .map(|(name, value)| (Cow::Owned(name.to_vec()), Cow::Owned(value.to_vec())))
        .collect();
    let misplaced = |pairs: Vec<Pair<'a>>| Variant { cause: Cause::ParametersMisplaced, name: None, pairs };
    let whole = [
        every_value(Cause::ValueTrimmed, &|value| value.trim_ascii().to_vec()),
        without_blanks,
        every_value(Cause::ValueDecoded, &exchanged(b' ', b'+')),
        every_value(Cause::ValueDecoded, &exchanged(b'+', b' ')),
        once(false),
        once(true),
        misplaced(Vec::new()),
        misplaced(pairs.iter().cloned().chain(of_query).collect()),
    ];
    dropped.chain(whole).chain(trimmed)
}

#[cfg(test)]
mod tests;
