//! What goes wrong between Redis and us before it answers, in words that say what to do.

use redis::{ErrorKind, RedisError, ServerErrorKind};

const UNKNOWN_AUTHORITY: &str = "the certificate of Redis is from an authority that is not known here: name a file with that \
                                 authority's certificate in TEXTLEDGER_REDIS_CA_FILE";

/// Words of a failed TLS handshake, by rustls and by the alerts of the other side, and what to do.
const TLS: [(&str, &str); 13] = [
    ("UnknownIssuer", UNKNOWN_AUTHORITY),
    // Another authority has the same name.
    ("BadSignature", UNKNOWN_AUTHORITY),
    (
        "not valid for name",
        "the certificate of Redis is for another name: write the host in TEXTLEDGER_STORE as the certificate has it, or \
         have one made for that host",
    ),
    ("certificate: Expired", "the certificate of Redis has expired: renew it"),
    ("certificate expired", "the certificate of Redis has expired: renew it"),
    ("not valid yet", "the certificate of Redis is not valid yet: compare the clocks"),
    (
        "CertificateRequired",
        "Redis asks for a client certificate: name it in TEXTLEDGER_REDIS_CERT_FILE and its key in \
         TEXTLEDGER_REDIS_KEY_FILE",
    ),
    (
        "UnknownCA",
        "Redis does not take the client certificate in TEXTLEDGER_REDIS_CERT_FILE: have one made by an authority that it \
         knows",
    ),
    ("CertificateExpired", "the client certificate in TEXTLEDGER_REDIS_CERT_FILE has expired: renew it"),
    ("BadCertificate", "Redis does not take the client certificate in TEXTLEDGER_REDIS_CERT_FILE"),
    (
        "KeyMismatch",
        "the key in TEXTLEDGER_REDIS_KEY_FILE is not that of the certificate in TEXTLEDGER_REDIS_CERT_FILE",
    ),
    ("CaUsedAsEndEntity", "the certificate of Redis is one of an authority: have one made for the server"),
    (
        "InvalidContentType",
        "no TLS is spoken there: name Redis's TLS port in TEXTLEDGER_STORE, or leave out the second s of rediss",
    ),
];

/// What `error` means, and what to do, if there is more to say than it says itself.
pub(super) fn explained(error: &RedisError) -> String {
    let said = error.to_string();
    let meaning = match error.kind() {
        ErrorKind::AuthenticationFailed if said.contains("Password authentication failed") => {
            Some("the user or the password in TEXTLEDGER_STORE is not taken (WRONGPASS)")
        }
        ErrorKind::Server(ServerErrorKind::NoPerm) => {
            Some("give its ACL user what docs/operations.md lists, for the keys of TEXTLEDGER_KEY_PREFIX")
        }
        _ if error.code() == Some("NOAUTH") => {
            Some("a password is asked for: give it in TEXTLEDGER_STORE, as in redis://USER:PASSWORD@HOST")
        }
        _ if said.contains("ACL failure in script") || said.contains("user executing the script") => {
            Some("give its ACL user what docs/operations.md lists, for the keys of TEXTLEDGER_KEY_PREFIX")
        }
        _ if said.contains("unknown command 'SENTINEL'") => Some(
            "a host in TEXTLEDGER_STORE is a server and no sentinel: name the sentinels, whose port is mostly 26379",
        ),
        ErrorKind::Io | ErrorKind::InvalidClientConfig => {
            TLS.into_iter().find(|(word, _)| said.contains(word)).map(|(_, meaning)| meaning)
        }
        _ => None,
    };
    match meaning {
        Some(meaning) => format!("{meaning} ({said})"),
        None => said,
    }
}
