//! The spellings of one URL that Twilio may have signed, taken from its raw text.
//!
//! Nothing is parsed and printed again: a URL library would lower the host's case, drop the default port and escape
//! `'`, and each of these is another signature.

use std::{collections::HashMap, fmt};

use crate::twilio::form::{Form, escape_into};

/// How many pairs Node's `querystring.parse` reads before it stops.
const LEGACY_PAIRS_MAX: usize = 1000;

/// How the URL that was signed differs from the URL that was asked for. `Display` writes it for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelling {
    /// What became of `user:password@`.
    pub userinfo: Userinfo,
    /// What became of the port.
    pub port: Port,
    /// What became of the query.
    pub query: Query,
}

/// What became of `user:password@` in the URL that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Userinfo {
    /// It is as given; there may be none.
    AsGiven,
    /// It was left out, as Twilio does for messaging.
    Dropped,
}

/// What became of the port in the URL that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// It is as given; there may be none.
    AsGiven,
    /// It was left out.
    Dropped,
    /// There was none and the scheme's own (443 or 80) was written.
    DefaultAdded,
}

/// What became of the query in the URL that was signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Query {
    /// It is as given; there may be none.
    AsGiven,
    /// `'` and what else a browser escapes in a query were escaped: `It's+so` as `It%27s+so`.
    Escaped,
    /// `'`, `@` and `:` were not escaped: `a%40b` as `a@b`.
    Unescaped,
    /// It was decoded and escaped again the way Node's `querystring` does: `It%27s+so` as `It's%20so`.
    Legacy,
}

impl Spelling {
    /// The URL as it was asked for.
    pub const AS_GIVEN: Spelling =
        Spelling { userinfo: Userinfo::AsGiven, port: Port::AsGiven, query: Query::AsGiven };
}

impl fmt::Display for Spelling {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let differences = [
            (self.userinfo == Userinfo::Dropped).then_some("without userinfo"),
            match self.port {
                Port::AsGiven => None,
                Port::Dropped => Some("without the port"),
                Port::DefaultAdded => Some("with the default port"),
            },
            match self.query {
                Query::AsGiven => None,
                Query::Escaped => Some("with the query escaped"),
                Query::Unescaped => Some("with the query unescaped"),
                Query::Legacy => Some("with the query in its legacy form"),
            },
        ];
        let mut written = false;
        for difference in differences.into_iter().flatten() {
            write!(f, "{}{difference}", if written { ", " } else { "" })?;
            written = true;
        }
        if written { Ok(()) } else { f.write_str("as given") }
    }
}

/// A URL's raw text, cut at the places where spellings differ. The pieces keep their punctuation, so that one after
/// the other they are the URL without its fragment, which is never sent and never signed.
#[derive(Clone, Copy)]
pub(super) struct Url<'a> {
    scheme: &'a str,
    userinfo: &'a str,
    host: &'a str,
    port: &'a str,
    path: &'a str,
    query: &'a str,
}

impl<'a> Url<'a> {
    /// Cuts `text`. What does not begin with `scheme://` is taken as a path, which has one spelling.
    pub(super) fn split(text: &'a str) -> Self {
        let text = text.split_once('#').map_or(text, |(before, _)| before);
        let (before_query, query) = text.split_at(text.find('?').unwrap_or(text.len()));
        let authority_start = before_query.find("://").map_or(0, |at| at + "://".len());
        let (scheme, rest) = before_query.split_at(authority_start);
        let (authority, path) = match scheme {
            "" => ("", rest),
            _ => rest.split_at(rest.find('/').unwrap_or(rest.len())),
        };
        let (userinfo, host_port) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
        let (host, port) = host_port.split_at(port_start(host_port));
        Self { scheme, userinfo, host, port, path, query }
    }

    /// The scheme, with its `://`.
    pub(super) fn scheme(&self) -> &'a str {
        self.scheme
    }

    /// The host.
    pub(super) fn host(&self) -> &'a str {
        self.host
    }

    /// The port, with its `:`; empty where there is none.
    pub(super) fn port(&self) -> &'a str {
        self.port
    }

    /// The path.
    pub(super) fn path(&self) -> &'a str {
        self.path
    }

    /// The query, with its `?`; empty where there is none.
    pub(super) fn query_with_mark(&self) -> &'a str {
        self.query
    }

    /// Scheme, host and port.
    pub(super) fn origin_without_userinfo(&self) -> String {
        [self.scheme, self.host, self.port].concat()
    }

    /// The whole URL, without its fragment.
    pub(super) fn text(self) -> String {
        self.spelled(Userinfo::AsGiven, Port::AsGiven).concat()
    }

    /// The query, without its `?`.
    pub(super) fn query(&self) -> &'a str {
        self.query.strip_prefix('?').unwrap_or("")
    }

    /// What may have become of the part before the path, the likeliest first: at most four.
    pub(super) fn authorities(self) -> impl Iterator<Item = (Userinfo, Port)> {
        let userinfos = [Some(Userinfo::AsGiven), (!self.userinfo.is_empty()).then_some(Userinfo::Dropped)];
        let port = match (self.port, self.default_port()) {
            ("", "") => None,
            ("", _) => Some(Port::DefaultAdded),
            _ => Some(Port::Dropped),
        };
        userinfos.into_iter().flatten().flat_map(move |userinfo| {
            [Some(Port::AsGiven), port].into_iter().flatten().map(move |port| (userinfo, port))
        })
    }

    /// This URL with another query, which has its `?`.
    pub(super) fn with_query(self, query: &'a str) -> Self {
        Self { query, ..self }
    }

    /// The pieces of the URL, to be read one after the other.
    pub(super) fn spelled(self, userinfo: Userinfo, port: Port) -> [&'a str; 6] {
        [
            self.scheme,
            match userinfo {
                Userinfo::AsGiven => self.userinfo,
                Userinfo::Dropped => "",
            },
            self.host,
            match port {
                Port::AsGiven => self.port,
                Port::Dropped => "",
                Port::DefaultAdded => self.default_port(),
            },
            self.path,
            self.query,
        ]
    }

    /// The query and its `?` as `spelling` has them; `None` where that is how they are given.
    ///
    /// Twilio has signed `'`, `@` and `:` in a query as they are while it sent them escaped
    /// (<https://github.com/twilio/twilio-node/pull/621>), and its library for Node accepts two more spellings beside
    /// the one that was sent (<https://github.com/twilio/twilio-node/issues/1059>).
    pub(super) fn respelled_query(&self, spelling: Query) -> Option<String> {
        let query = match spelling {
            Query::AsGiven => return None,
            Query::Escaped => escaped_as_browser(self.query),
            Query::Unescaped => unescaped(self.query),
            Query::Legacy => escaped_as_node(self.query())?,
        };
        (query != self.query).then_some(query)
    }

    /// The query in each of its other spellings, the likeliest first.
    pub(super) fn respelled_queries(&self) -> Vec<(Query, String)> {
        let spellings = [Query::Unescaped, Query::Escaped, Query::Legacy].into_iter();
        spellings.filter_map(|spelling| Some((spelling, self.respelled_query(spelling)?))).collect()
    }

    fn default_port(&self) -> &'static str {
        let is = |schemes: [&str; 2]| schemes.iter().any(|scheme| self.scheme.eq_ignore_ascii_case(scheme));
        if is(["https://", "wss://"]) {
            ":443"
        } else if is(["http://", "ws://"]) {
            ":80"
        } else {
            ""
        }
    }
}

/// Where the port begins, with its `:`, in `host:port` or `[::1]:port`; the end where there is none.
fn port_start(host_port: &str) -> usize {
    let bracket = host_port.rfind(']').unwrap_or(0);
    host_port[bracket..].find(':').map_or(host_port.len(), |at| bracket + at)
}

/// The query with the special-query percent-encode set of
/// <https://url.spec.whatwg.org/#special-query-percent-encode-set> escaped.
fn escaped_as_browser(query: &str) -> String {
    let mut escaped = String::with_capacity(query.len());
    for byte in query.bytes() {
        match byte {
            b'"' | b'#' | b'<' | b'>' | b'\'' | 0..=b' ' | 0x7F.. => escape_into(&mut escaped, byte),
            _ => escaped.push(byte.into()),
        }
    }
    escaped
}

/// The query with those characters as they are that Twilio has signed so.
fn unescaped(query: &str) -> String {
    let mut unescaped = String::with_capacity(query.len());
    let mut pieces = query.split('%');
    unescaped.extend(pieces.next());
    for piece in pieces {
        let (character, rest) = match piece.split_at_checked(2) {
            Some(("27", rest)) => ('\'', rest),
            Some(("40", rest)) => ('@', rest),
            Some(("3A" | "3a", rest)) => (':', rest),
            _ => ('%', piece),
        };
        unescaped.push(character);
        unescaped.push_str(rest);
    }
    unescaped
}

/// `stringify(parse(query))` of <https://nodejs.org/api/querystring.html>, after a `?`; `None` without any parameter.
/// Repeated names come together where the first of them stood. (Node also moves names that are integers to the front;
/// Twilio has none.)
fn escaped_as_node(query: &str) -> Option<String> {
    let form = Form::parse(query.as_bytes());
    let mut first_at = HashMap::new();
    let mut pairs: Vec<_> = form
        .iter()
        .take(LEGACY_PAIRS_MAX)
        .enumerate()
        .map(|(at, (name, value))| (*first_at.entry(name).or_insert(at), name, value))
        .collect();
    pairs.sort_by_key(|&(first_at, ..)| first_at);
    let mut escaped = String::with_capacity(1 + query.len());
    for (_, name, value) in pairs {
        escaped.push(if escaped.is_empty() { '?' } else { '&' });
        escape_component(&mut escaped, name);
        escaped.push('=');
        escape_component(&mut escaped, value);
    }
    (!escaped.is_empty()).then_some(escaped)
}

/// What JavaScript's `encodeURIComponent` writes.
fn escape_component(escaped: &mut String, bytes: &[u8]) {
    for &byte in bytes {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => escaped.push(byte.into()),
            b'-' | b'_' | b'.' | b'!' | b'~' | b'*' | b'\'' | b'(' | b')' => escaped.push(byte.into()),
            _ => escape_into(escaped, byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spellings(text: &str) -> Vec<String> {
        let url = Url::split(text);
        url.authorities().map(|(userinfo, port)| url.spelled(userinfo, port).concat()).collect()
    }

    #[test]
    fn the_port_and_the_userinfo_are_as_given_or_not() {
        for (text, expected) in [
            ("https://a.b/c?d", &["https://a.b/c?d", "https://a.b:443/c?d"][..]),
            ("HTTP://A.b/c", &["HTTP://A.b/c", "HTTP://A.b:80/c"]),
            ("wss://a.b", &["wss://a.b", "wss://a.b:443"]),
            ("https://a.b:1234/c:5", &["https://a.b:1234/c:5", "https://a.b/c:5"]),
            ("http://[::1]:80/", &["http://[::1]:80/", "http://[::1]/"]),
            ("http://[::1]/", &["http://[::1]/", "http://[::1]:80/"]),
            ("ftp://a.b/c", &["ftp://a.b/c"]),
            ("/c?d=https://e", &["/c?d=https://e"]),
            ("https://a.b?c/@d:1#rc=3", &["https://a.b?c/@d:1", "https://a.b:443?c/@d:1"]),
            (
                "https://u:p@a.b:1/@c",
                &["https://u:p@a.b:1/@c", "https://u:p@a.b/@c", "https://a.b:1/@c", "https://a.b/@c"],
            ),
        ] {
            assert_eq!(spellings(text), expected, "{text}");
        }
    }

    #[test]
    fn a_query_is_respelled_as_twilio_and_its_libraries_have() {
        for (query, escaped, unescaped, legacy) in [
            ("", None, None, None),
            ("?", None, None, None),
            ("?&", None, None, None),
            ("?d=1&e=2", None, None, None),
            ("?d=It's+so", Some("?d=It%27s+so"), None, Some("?d=It's%20so")),
            ("?d=It%27s+so", None, Some("?d=It's+so"), Some("?d=It's%20so")),
            ("?d=sip%3Aa%40b%2B", None, Some("?d=sip:a@b%2B"), None),
            ("?d=a@b:c&(e)", None, None, Some("?d=a%40b%3Ac&(e)=")),
            ("?d=é%zz%4%", Some("?d=%C3%A9%zz%4%"), None, Some("?d=%C3%A9%25zz%254%25")),
            ("?d=%é", Some("?d=%%C3%A9"), None, Some("?d=%25%C3%A9")),
            ("?d=1&e=2&&d=3", None, None, Some("?d=1&d=3&e=2")),
        ] {
            let text = format!("https://a.b/'@:{query}");
            let url = Url::split(&text);
            for (spelling, expected) in [
                (Query::AsGiven, None),
                (Query::Escaped, escaped),
                (Query::Unescaped, unescaped),
                (Query::Legacy, legacy),
            ] {
                assert_eq!(url.respelled_query(spelling).as_deref(), expected, "{query} {spelling:?}");
            }
        }
    }

    #[test]
    fn a_spelling_says_what_it_changes() {
        assert_eq!(Spelling::AS_GIVEN.to_string(), "as given");
        let spelling = Spelling { userinfo: Userinfo::Dropped, port: Port::Dropped, query: Query::Legacy };
        assert_eq!(
            spelling.to_string(),
            "without userinfo, without the port, with the query in its legacy form"
        );
    }
}
