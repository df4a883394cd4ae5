//! The signature path: what is signed verifies, what is changed does not, and nobody gets in with a key of their own.
//!
//! The input is a URL, a body, the two headers' values, one line each but the body.

#![no_main]

use libfuzzer_sys::fuzz_target;
use textledger::twilio::{
    Form,
    signature::{
        Algorithm, Content, KeyName, Keyring, Request, SigningKey, body_sha256_hex,
        doctor::{self, Hints, NamedKey, Owner},
        sign, verify,
    },
};

fuzz_target!(|input: &[u8]| {
    let text = String::from_utf8_lossy(input);
    let mut lines = text.splitn(4, '\n');
    let mut line = || lines.next().unwrap_or_default();
    let (url, signature, settings, body) = (line(), line(), line(), line());
    let form = Form::parse(body.as_bytes());
    let contents = [Content::Nothing, Content::Form(&form), Content::Body(body.as_bytes())];
    let keyring = Keyring::new(&"token".into())
        .with_secondary(&"next token".into())
        .with_shared_key("webhooks_sharedkey_1", &"shared".into());

    // Nobody who does not know a key finds a signature; whoever does has it accepted.
    for content in contents {
        assert!(keyring.verify(Request { url, content }, signature, settings).is_err());
    }
    let stranger = SigningKey::new(Algorithm::HmacSha1, &"another token".into());
    let own = SigningKey::new(Algorithm::HmacSha1, &"next token".into());
    let nothing = Form::default();
    for (content, signed) in [(contents[0], &nothing), (contents[1], &form)] {
        let request = Request { url, content };
        let verified = keyring.verify(request, &sign(&own, url, signed), "").expect("it is signed");
        assert_eq!(verified.0, KeyName::AuthTokenSecondary);
        assert!(keyring.verify(request, &sign(&stranger, url, signed), "").is_err());
    }
    let hashed = format!("https://a.example/events?bodySHA256={}", body_sha256_hex(body.as_bytes()));
    let signature_of_hashed = sign(&own, &hashed, &nothing);
    let request = |body| Request { url: &hashed, content: Content::Body(body) };
    assert!(verify(std::slice::from_ref(&own), request(body.as_bytes()), &signature_of_hashed).is_ok());
    let longer = [body.as_bytes(), b" "].concat();
    assert!(verify(std::slice::from_ref(&own), request(&longer), &signature_of_hashed).is_err());

    // A value that is one byte longer is another form.
    let mut pairs: Vec<(Vec<u8>, Vec<u8>)> =
        form.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
    if let Some((_, value)) = pairs.first_mut() {
        value.push(b'x');
        let changed: Form<'_> =
            pairs.iter().map(|(name, value)| (name.as_slice(), value.as_slice())).collect();
        let request = Request { url, content: Content::Form(&changed) };
        let total = |form: &Form<'_>| {
            let mut pairs: Vec<_> = form.iter().collect();
            pairs.sort_unstable();
            pairs.dedup();
            pairs.concat_len()
        };
        // Equal pairs are signed once, so that one more may vanish; then the text is the same.
        if total(&changed) != total(&form) {
            assert!(keyring.verify(request, &sign(&own, url, &form), "").is_err());
        }
    }

    // Explaining never panics, and finds nothing for a signature that nobody made.
    let keys: Vec<NamedKey> = keyring
        .keys()
        .map(|(name, key)| NamedKey { key: key.clone(), name, owner: Owner::Account })
        .collect();
    let hints = Hints { host: Some(settings), forwarded_host: Some(signature), ..Hints::default() };
    let refused = doctor::Refused { url, prefix: "/x", hints, content: contents[1], signature };
    assert_eq!(doctor::diagnose(&refused, &keys), None);
});

/// How many bytes of names and values there are.
trait ConcatLen {
    fn concat_len(&self) -> usize;
}

impl ConcatLen for Vec<(&[u8], &[u8])> {
    fn concat_len(&self) -> usize {
        self.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}
