//! The files that TLS to Redis goes by.

use super::Reader;
use crate::redis_address::Certificates;

const CA_FILE: &str = "TEXTLEDGER_REDIS_CA_FILE";
const CERT_FILE: &str = "TEXTLEDGER_REDIS_CERT_FILE";
const KEY_FILE: &str = "TEXTLEDGER_REDIS_KEY_FILE";

/// Reads the files that are named. They are of use with a URL that goes by TLS alone.
pub(super) fn read(reader: &mut Reader, is_tls: bool) -> Certificates {
    if !is_tls {
        for name in [CA_FILE, CERT_FILE, KEY_FILE] {
            if reader.text(name).is_some() {
                reader.fault(
                    name,
                    "left out, or TEXTLEDGER_STORE begin with rediss://, rediss-sentinel:// or rediss-cluster://",
                );
            }
        }
        return Certificates::default();
    }
    let authorities = pem(reader, CA_FILE, "CERTIFICATE-----");
    let (certificate, key) =
        (pem(reader, CERT_FILE, "CERTIFICATE-----"), pem(reader, KEY_FILE, "PRIVATE KEY-----"));
    if reader.text(CERT_FILE).is_some() != reader.text(KEY_FILE).is_some() {
        reader.faults.push(format!("{CERT_FILE} and {KEY_FILE} are given together: set the other one too"));
    }
    let client = certificate.zip(key).map(|(certificate, key)| (certificate, key.into()));
    Certificates { authorities, client }
}

/// The text of the file that the setting `name` names, which holds something in PEM whose first line ends with `what`.
fn pem(reader: &mut Reader, name: &str, what: &str) -> Option<String> {
    let path = reader.text(name)?;
    match std::fs::read_to_string(&path) {
        Ok(text)
            if text
                .lines()
                .any(|line| line.starts_with("-----BEGIN ") && line.trim_end().ends_with(what)) =>
        {
            Some(text)
        }
        Ok(_) => {
            let kind = what.trim_end_matches('-');
            reader
                .faults
                .push(format!("{name}: {path} holds no {kind} in PEM, which begins with -----BEGIN"));
            None
        }
        Err(error) => {
            let mend = "name a file that this process may read";
            reader.faults.push(format!("{name}: cannot read {path}: {error}; {mend}"));
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Store};

    #[test]
    fn files_of_certificates_are_read_at_the_start_and_wanted_for_tls_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, kind: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, format!("-----BEGIN {kind}-----\nAAAA\n-----END {kind}-----\n")).unwrap();
            path.display().to_string()
        };
        let (certificate, key) = (file("certificate", "CERTIFICATE"), file("key", "EC PRIVATE KEY"));
        let read = |store: &str, files: &[(&'static str, &str)]| {
            let files = files.iter().map(|(name, path)| (*name, (*path).to_owned()));
            Config::read(files.chain([("TEXTLEDGER_STORE", store.to_owned())]).collect(), "")
        };
        let all = [
            ("TEXTLEDGER_REDIS_CA_FILE", certificate.as_str()),
            ("TEXTLEDGER_REDIS_CERT_FILE", certificate.as_str()),
            ("TEXTLEDGER_REDIS_KEY_FILE", key.as_str()),
        ];
        for store in ["rediss://a", "rediss-sentinel://a/m", "rediss-cluster://a"] {
            let Store::Redis(address) = read(store, &all).unwrap().store else { panic!() };
            assert!(address.certificates.authorities.is_some() && address.certificates.client.is_some());
            assert!(!format!("{address:?}").contains("AAAA\n-----END EC"), "the key is a secret");
        }
        for (store, files, fault) in [
            ("redis://a", &all[..1], "TEXTLEDGER_REDIS_CA_FILE must be left out"),
            ("rediss://a", &all[1..2], "are given together"),
            ("rediss://a", &[("TEXTLEDGER_REDIS_CA_FILE", key.as_str())][..], "no CERTIFICATE in PEM"),
            ("rediss://a", &[("TEXTLEDGER_REDIS_CA_FILE", "/no/such/file")][..], "cannot read /no/such/file"),
        ] {
            let faults = read(store, files).unwrap_err().to_string();
            assert!(faults.contains(fault), "{faults}");
        }
    }
}
