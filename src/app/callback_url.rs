//! Seals the URL at which a caller wants to be told what becomes of a message.

use secrecy::{ExposeSecret, SecretString};

use crate::{
    domain::{MessageId, outgoing::SealedUrl},
    sealing::{self, MasterKeys},
    store,
};

/// Seals the URL of the message `id`, to be kept with it.
pub(super) fn seal(url: &SecretString, id: &MessageId, keys: &MasterKeys) -> SealedUrl {
    SealedUrl::new(keys.seal(&context(id), url.expose_secret().as_bytes()))
}

/// Opens the URL that is kept with the message `id`.
pub(super) fn open(url: &SealedUrl, id: &MessageId, keys: &MasterKeys) -> Result<SecretString, store::Error> {
    if !sealing::has_form(url.as_str()) {
        return Ok(url.as_str().into());
    }
    let unreadable = |error: String| store::Error::Unreadable(format!("the callback URL of {id}: {error}"));
    let opened = keys.open(&context(id), url.as_str()).map_err(|error| unreadable(error.to_string()))?;
    let url = std::str::from_utf8(opened.expose_secret());
    url.map(SecretString::from).map_err(|error| unreadable(error.to_string()))
}

/// What the URL of a message is sealed for, so that it opens with no other one.
fn context(id: &MessageId) -> String {
    format!("callback/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_opens_with_its_own_message_and_one_of_version_0_1_0_reads_as_it_is() {
        let keys = MasterKeys::parse("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=").unwrap();
        let (id, other) = (MessageId::new(0, 1), MessageId::new(0, 2));
        let url = "https://crm:s3cret@example.com/status?key=k";
        let sealed = seal(&url.into(), &id, &keys);
        assert!(!sealed.as_str().contains("s3cret"));
        assert_eq!(open(&sealed, &id, &keys).unwrap().expose_secret(), url);
        assert!(matches!(open(&sealed, &other, &keys), Err(store::Error::Unreadable(_))));
        let clear = SealedUrl::new(url.to_owned());
        assert_eq!(open(&clear, &id, &keys).unwrap().expose_secret(), url);
    }
}
