//! Certificates as an operator makes them with openssl, for the tests alone.

use std::{path::PathBuf, process::Command};

/// Leaves out what the system's own configuration would add.
const SETTINGS: &str = "[req]\ndistinguished_name=dn\n[dn]\n";

/// An authority, and the folder of everything that it has signed.
pub struct Authority {
    folder: tempfile::TempDir,
}

impl Authority {
    /// Makes one.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("settings"), SETTINGS).unwrap();
        let authority = Self { folder };
        let line = "req -x509 -config settings -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout ca.key -out ca.crt \
                    -days 2 -subj /CN=authority -addext basicConstraints=critical,CA:TRUE";
        authority.openssl(line);
        authority
    }

    /// Signs a certificate for `host` (`IP:…` or `DNS:…`) that is good for `days` from now on; returns the paths of the
    /// certificate and of its key.
    pub fn sign(&self, name: &str, host: &str, days: i32) -> (String, String) {
        let extensions = format!("subjectAltName={host}\nbasicConstraints=critical,CA:FALSE\n");
        std::fs::write(self.folder.path().join("extensions"), extensions).unwrap();
        self.openssl(&format!(
            "req -new -config settings -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout {name}.key -out {name}.csr \
             -subj /CN={name}"
        ));
        self.openssl(&format!(
            "x509 -req -in {name}.csr -CA ca.crt -CAkey ca.key -CAcreateserial -days {days} -extfile extensions -out \
             {name}.crt"
        ));
        (self.path(&format!("{name}.crt")), self.path(&format!("{name}.key")))
    }

    /// The path of the authority's own certificate.
    pub fn certificate(&self) -> String {
        self.path("ca.crt")
    }

    fn path(&self, name: &str) -> String {
        let path: PathBuf = self.folder.path().join(name);
        path.display().to_string()
    }

    fn openssl(&self, line: &str) {
        let made =
            Command::new("openssl").args(line.split_whitespace()).current_dir(self.folder.path()).output();
        let made = made.expect("openssl is installed");
        assert!(made.status.success(), "{line}: {}", String::from_utf8_lossy(&made.stderr));
    }
}
