//! URLs: those that callers give us to relay to, and those by which we are asked. One that is refused is so in every
//! spelling, and no spelling of a signed URL is made of anything but what was asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use textledger::{
    http::public_url::PublicUrl,
    public_host::{UrlRefusal, check_media_url, check_not_own_webhook, check_relay_url},
    twilio::{
        Form,
        signature::{Algorithm, Content, Prepared, Request, SigningKey, sign, verify},
    },
};

const PUBLIC: &str = "https://sms.example.com/textledger";

fuzz_target!(|data: &[u8]| {
    let text = String::from_utf8_lossy(data);
    is_refused_in_every_spelling(&text);
    belongs_to_its_own_service(&text);
    is_asked_for_by_the_public_url(&text);
});

fn is_refused_in_every_spelling(url: &str) {
    let relayed = check_relay_url(url, false);
    if relayed.is_ok() {
        assert_eq!(check_relay_url(url, true), Ok(()), "what is public may be relayed to in any case");
    }
    if check_media_url(url).is_ok() {
        assert_eq!(relayed, Ok(()), "media are fetched from public hosts alone");
    }
    let own = check_not_own_webhook(url, PUBLIC);
    if !url.contains('#') && own != Err(UrlRefusal::TooLong) && url.len() < 3_000 {
        let with_fragment = format!("{url}#rc=5");
        assert_eq!(check_not_own_webhook(&with_fragment, PUBLIC), own, "{url:?}");
    }
    if let Some(rest) = url.strip_prefix("https://") {
        assert_eq!(check_not_own_webhook(&format!("HTTPS://{rest}"), PUBLIC), own, "{url:?}");
    }
}

/// Whatever follows the path of our webhooks, and however its letters are escaped.
fn belongs_to_its_own_service(text: &str) {
    let path = "/webhooks/";
    let escaped: String = path
        .bytes()
        .zip(text.bytes().cycle().chain(std::iter::repeat(0)))
        .map(|(byte, choice)| match (byte, choice % 3) {
            (b'/', _) | (_, 0) => char::from(byte).to_string(),
            (byte, 1) => format!("%{byte:02X}"),
            (byte, _) => format!("%{byte:02x}"),
        })
        .collect();
    for prefix in ["", "/textledger"] {
        let url = format!("http://user@SMS.example.com.:80{prefix}{escaped}twilio/status");
        assert_eq!(check_not_own_webhook(&url, PUBLIC), Err(UrlRefusal::OwnWebhook), "{url}");
    }
}

fn is_asked_for_by_the_public_url(target: &str) {
    let target = format!("/{target}");
    let url = PublicUrl::new(PUBLIC).of(&target);
    assert!(url.starts_with("https://sms.example.com/textledger/") && url.ends_with(&target));
    let key = SigningKey::new(Algorithm::HmacSha1, &"12345".to_owned().into());
    let signature = sign(&key, &url, &Form::default());
    let keys = std::slice::from_ref(&key);
    let request = Request { url: &url, content: Content::Nothing };
    let verified = verify(keys, request, &signature);
    assert!(verified.is_ok(), "{url}");
    assert_eq!(Prepared::with_query_as_given(request).verify(keys, &signature), verified, "{url}");
    // Prepared once, it is verified alike with one key after the other.
    let prepared = Prepared::new(request);
    let other = SigningKey::new(Algorithm::HmacSha1, &"another".to_owned().into());
    assert!(prepared.verify(std::slice::from_ref(&other), &signature).is_err());
    assert_eq!(prepared.verify(keys, &signature), verified, "{url}");
}
