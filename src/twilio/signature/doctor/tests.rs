//! Every cause planted: one request is signed and another one presented.

use proptest::prelude::*;

use super::*;
use crate::twilio::signature::{Algorithm, Keyring, sign};

const PUBLIC: &str = "https://sms.example.com/base";
const TARGET: &str = "/webhooks/twilio/status?id=0000000000000abc&tag=a%2Bb+c";
const TOKEN: &str = "0123456789abcdef0123456789abcdef";

fn key(secret: &str) -> SigningKey {
    SigningKey::new(Algorithm::HmacSha1, &secret.into())
}

fn form() -> Vec<(&'static str, &'static str)> {
    vec![
        ("AccountSid", "AC1"),
        ("Body", "hello"),
        ("From", "+15005550006"),
        ("To", "+14155550100"),
        ("NumMedia", "0"),
    ]
}

/// What is found when `signed` was signed with `secret` and `presented` arrived at [`PUBLIC`].
fn find(
    secret: &str,
    (url, parameters): (&str, &[(&str, &str)]),
    (target, presented): (&str, &[(&str, &str)]),
    hints: Hints<'_>,
) -> Option<Finding> {
    let signed: Form<'_> = parameters.iter().copied().collect();
    let signature = sign(&key(secret), url, &signed);
    let presented: Form<'_> = presented.iter().copied().collect();
    let refused = Refused {
        url: &format!("{PUBLIC}{target}"),
        prefix: "/base",
        hints,
        content: Content::Form(&presented),
        signature: &signature,
    };
    let (own, other, removed) = (key(TOKEN), key("other"), key("removed"));
    let unconfirmed = |is_refused| Owner::Unconfirmed { is_refused };
    let named = |key, owner| NamedKey { key, name: KeyName::AuthToken, owner };
    let keys = [
        named(own, Owner::Account),
        named(key("unverified"), unconfirmed(false)),
        named(key("refused"), unconfirmed(true)),
        named(removed, Owner::AccountBefore),
        named(other, Owner::Other("AC2".to_owned())),
    ];
    let finding = diagnose(&refused, &keys);
    if let Some(finding) = &finding {
        let shown = format!("{finding:?}");
        for secret in [TOKEN, "hello", "14155550100", "0000000000000abc"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
    finding
}

#[test]
fn another_url_is_found_and_what_to_set() {
    let behind = |host| Hints { host: Some(host), ..Hints::default() };
    let own = "https://sms.example.com/base/webhooks/twilio/status?id=0000000000000abc&tag=a%2Bb+c";
    for (signed, hints, cause, mend) in [
        (own.replace("https", "http"), Hints::default(), Cause::Scheme, "to http://sms.example.com/base,"),
        (
            own.replace("sms.", "a.ngrok."),
            behind("a.ngrok.example.com"),
            Cause::Host,
            "to https://a.ngrok.example.com/base,",
        ),
        (
            own.replace("sms.", "SMS."),
            behind("SMS.example.com"),
            Cause::Host,
            "to https://SMS.example.com/base,",
        ),
        (
            own.replace("sms.example.com", "10.0.0.1:8080").replace("https", "http"),
            behind("10.0.0.1:8080"),
            Cause::Host,
            "to http://10.0.0.1:8080/base,",
        ),
        (
            own.replace(".com/", ".com:8443/"),
            behind("sms.example.com:8443"),
            Cause::Port,
            "to https://sms.example.com:8443/base,",
        ),
        (
            own.replace(".com/", ".com:8443/"),
            Hints { forwarded_port: Some("8443"), ..Hints::default() },
            Cause::Port,
            "to https://sms.example.com:8443/base,",
        ),
        (own.replace("/base", ""), Hints::default(), Cause::Prefix, "to https://sms.example.com,"),
        (
            own.replace("/base", "/base/base"),
            Hints::default(),
            Cause::Prefix,
            "to https://sms.example.com/base/base,",
        ),
        (
            own.replace("/base", "/api"),
            Hints { forwarded_prefix: Some("/api"), ..Hints::default() },
            Cause::Prefix,
            "to https://sms.example.com/api,",
        ),
        (
            own.replace("https://sms.example.com/base", "http://localhost:8080"),
            Hints { forwarded_host: Some("localhost:8080, proxy"), ..Hints::default() },
            Cause::Host,
            "to http://localhost:8080,",
        ),
        (
            own.replace("status?", "status/?"),
            Hints::default(),
            Cause::TrailingSlash,
            "the path /base/webhooks/twilio/status at",
        ),
    ] {
        let found = find(TOKEN, (&signed, &form()), (TARGET, &form()), hints);
        let found = found.unwrap_or_else(|| panic!("nothing found for {signed}"));
        assert_eq!(found.cause, cause, "{signed}: {found:?}");
        assert!(found.mend.contains(mend), "{signed}: {found:?}");
    }
}

#[test]
fn another_query_is_found() {
    for (signed, presented, cause) in [
        ("b=1&a=2&c=3", "a=2&b=1&c=3", Cause::QueryOrder),
        ("z=1&e=1&d=1&c=1&b=1&a=1", "a=1&b=1&c=1&d=1&e=1&z=1", Cause::QueryOrder),
        ("a=b+c", "a=b%20c", Cause::QueryEncoding),
        ("a=b%20c", "a=b+c", Cause::QueryEncoding),
        ("a=%2b", "a=%2B", Cause::QueryEncoding),
        ("a=%2B", "a=%2b", Cause::QueryEncoding),
        ("a=b%21", "a=b!", Cause::QueryEncoding),
        ("a=b,c", "a=b%2Cc", Cause::QueryEncoding),
        ("a=1", "a=1&utm=2", Cause::QueryChanged),
        ("", "utm=2", Cause::QueryChanged),
    ] {
        let url = format!("{PUBLIC}/x{}{signed}", if signed.is_empty() { "" } else { "?" });
        let found = find(TOKEN, (&url, &form()), (&format!("/x?{presented}"), &form()), Hints::default());
        assert_eq!(found.map(|found| found.cause), Some(cause), "{signed} {presented}");
    }
}

#[test]
fn another_form_is_found() {
    let url = format!("{PUBLIC}{TARGET}");
    let with = |changed: &[(&'static str, &'static str)]| {
        let mut form = form();
        for (name, value) in changed {
            form.retain(|(known, _)| known != name);
            form.push((name, value));
        }
        form
    };
    let geography = [
        ("FromCity", ""),
        ("FromCountry", ""),
        ("FromState", ""),
        ("FromZip", ""),
        ("ToCity", ""),
        ("ToCountry", ""),
        ("ToState", ""),
        ("ToZip", ""),
    ];
    let mut repeated = form();
    repeated.push(("Body", "again"));
    for (signed, presented, cause, name) in [
        (with(&[("Body", "hello ")]), form(), Cause::ValueTrimmed, "Body"),
        (with(&[("Body", " hello")]), form(), Cause::ValueTrimmed, "Body"),
        (with(&[("Body", "hello\n")]), form(), Cause::ValueTrimmed, "Body"),
        (form(), with(&[("Body", "hello \n")]), Cause::ValueTrimmed, ""),
        (with(&[("FromCity", "")]), form(), Cause::BlankDropped, "FromCity"),
        (with(&geography), form(), Cause::BlankDropped, ""),
        (with(&geography[..4]), form(), Cause::BlankDropped, ""),
        (form(), with(&geography), Cause::BlankDropped, ""),
        (form(), with(&[("From", " 15005550006"), ("To", " 14155550100")]), Cause::ValueDecoded, ""),
        (form(), repeated, Cause::RepeatedDropped, ""),
        (vec![], form(), Cause::ParametersMisplaced, ""),
    ] {
        let found = find(TOKEN, (&url, &signed), (TARGET, &presented), Hints::default());
        let found = found.unwrap_or_else(|| panic!("nothing found: {signed:?}"));
        assert_eq!(found.cause, cause, "{signed:?}: {found:?}");
        assert!(found.detail.contains(name), "{found:?}");
    }
}

#[test]
fn another_key_is_found() {
    let url = format!("{PUBLIC}{TARGET}");
    let find = |secret| find(secret, (&url, &form()), (TARGET, &form()), Hints::default());
    let other = find("other").unwrap();
    assert_eq!(other.cause, Cause::KeyOfAnotherAccount);
    assert_eq!(other.other_account.as_deref(), Some("AC2 (auth_token)"));
    assert!(!other.detail.contains("AC2") && !other.mend.contains("AC2"), "{other:?}");
    assert_eq!(find("removed").unwrap().cause, Cause::RemovedKey);
    assert_eq!(find("unverified").unwrap().cause, Cause::UnverifiedSettings);
    assert_eq!(find("refused").unwrap().cause, Cause::RefusedSettings);
    // As where a shared key is required.
    assert_eq!(find(TOKEN).unwrap().cause, Cause::OtherKey);
    assert_eq!(find("nobody's"), None);
}

#[test]
fn a_body_that_was_touched_is_found() {
    let own = key(TOKEN);
    let hash = body_sha256_hex(b"[]");
    let url = format!("{PUBLIC}/webhooks/twilio/events");
    let signed = format!("{url}?{BODY_SHA256}={hash}");
    let signature = sign(&own, &signed, &Form::default());
    for (presented, body, cause) in
        [(&url, &b"[]"[..], Cause::BodyHashLost), (&signed, b"[ ]", Cause::BodyChanged)]
    {
        let content = Content::Body(body);
        let refused = Refused {
            url: presented,
            prefix: "/base",
            hints: Hints::default(),
            content,
            signature: &signature,
        };
        let keys = [NamedKey { key: own.clone(), name: KeyName::AuthToken, owner: Owner::Account }];
        assert_eq!(diagnose(&refused, &keys).map(|found| found.cause), Some(cause));
    }
}

#[test]
fn userinfo_is_not_shown() {
    let url = "https://user:hunter2@sms.example.com/x";
    let signature = sign(&key(TOKEN), "http://sms.example.com/x", &Form::default());
    let own = key(TOKEN);
    let keys = [NamedKey { key: own.clone(), name: KeyName::AuthToken, owner: Owner::Account }];
    let content = Content::Nothing;
    let refused = Refused { url, prefix: "", hints: Hints::default(), content, signature: &signature };
    let found = diagnose(&refused, &keys).unwrap();
    assert_eq!(found.cause, Cause::Scheme);
    assert!(!format!("{found:?}").contains("hunter2"), "{found:?}");
}

/// Found by the fuzz target `signature`: with 64 KiB of short parameters a refusal took seconds to look into.
#[test]
fn a_form_of_too_many_parameters_is_not_looked_into() {
    let own = format!("{PUBLIC}{TARGET}");
    let names: Vec<String> = (0..FORM_PARAMETERS_MAX).map(|number| format!("Name{number}")).collect();
    let mut signed: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "1")).collect();
    signed[0].1 = "1 ";
    let found = |signed: &[(&str, &str)]| {
        let trimmed: Vec<_> = signed.iter().map(|(name, value)| (*name, value.trim())).collect();
        find(TOKEN, (&own, signed), (TARGET, &trimmed), Hints::default()).map(|finding| finding.cause)
    };
    assert_eq!(found(&signed), Some(Cause::ValueTrimmed));
    signed.push(("OneMore", "1"));
    assert_eq!(found(&signed), None);
}

proptest! {
    #[test]
    fn nothing_panics_and_the_work_is_bounded(
        url in ".{0,80}", query in "[a-z=&%+ ]{0,200}", host in proptest::option::of(".{0,30}"),
        prefix in "(/[a-z]{0,5}){0,2}",
        pairs in proptest::collection::vec((".{0,12}", ".{0,40}"), 0..90),
        shape in 0..3,
    ) {
        let form: Form<'_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let content = match shape { 0 => Content::Nothing, 1 => Content::Form(&form), _ => Content::Body(query.as_bytes()) };
        let hints = Hints {
            host: host.as_deref(), forwarded_host: Some(&url), forwarded_port: Some(&query), forwarded_prefix: Some(&prefix),
        };
        let url = format!("{url}{prefix}?{query}");
        let refused = Refused { url: &url, prefix: &prefix, hints, content, signature: "AAAAAAAAAAAAAAAAAAAAAAAAAAA=" };
        let keyring = Keyring::new(&TOKEN.into()).with_secondary(&"b".into()).with_shared_key("k", &"c".into());
        let keys: Vec<NamedKey> =
            keyring.keys().map(|(name, key)| NamedKey { key: key.clone(), name, owner: Owner::Account }).collect();
        prop_assert_eq!(diagnose(&refused, &keys), None);
    }
}
