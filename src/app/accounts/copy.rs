//! A copy of the saved settings on this machine, sealed: for a start while the store is away, when what Twilio posts is to be
//! verified all the same.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::Accounts;
use crate::{domain::Organization, store};

/// What the copy is sealed for.
const CONTEXT: &str = "copy of the saved settings";

/// What is in it.
#[derive(Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Copied {
    /// The documents of the store, each sealed as it is there.
    pub(super) settings: BTreeMap<Organization, String>,
    /// Who may own an account that two organizations' settings name.
    pub(super) contested: BTreeMap<String, Vec<Organization>>,
}

/// Where the copy is, and what is known to be in it.
pub(super) struct SettingsCopy {
    path: PathBuf,
    written: Option<Copied>,
    /// The operator knows that it cannot be written.
    told: bool,
}

impl SettingsCopy {
    /// The one at `path`.
    pub(super) fn at(path: PathBuf) -> Self {
        Self { path, written: None, told: false }
    }
}

impl Accounts {
    /// Writes the copy down, if it holds something else than `copied`. Without it the service works; so if that fails, the
    /// operator is told once, and it is tried again when the settings are read the next time.
    pub(super) async fn write_copy(&self, copied: Copied) {
        let mut copy = self.copy.lock().await;
        let Some(copy) = copy.as_mut().filter(|copy| copy.written.as_ref() != Some(&copied)) else { return };
        let text = serde_json::to_vec(&copied).expect("settings have string keys");
        let (path, sealed) = (copy.path.clone(), self.core.keys.seal(CONTEXT, &text));
        let written = tokio::task::spawn_blocking(move || write(&path, &sealed)).await;
        match written.map_err(io::Error::other).flatten() {
            Ok(()) => {
                copy.written = Some(copied);
                copy.told = false;
            }
            Err(error) if !std::mem::replace(&mut copy.told, true) => tracing::error!(
                %error, path = %copy.path.display(),
                mend = "make the folder of TEXTLEDGER_DATA_DIR writable",
                "the copy of the saved settings cannot be written: a start while the store is away will not know them"
            ),
            Err(_) => {}
        }
    }

    /// What the copy holds; nothing if there is none.
    pub(super) async fn read_copy(&self) -> Result<Option<Copied>, store::Error> {
        let copy = self.copy.lock().await;
        let Some(copy) = copy.as_ref() else { return Ok(None) };
        let unreadable =
            |error: String| store::Error::Unreadable(format!("the copy {}: {error}", copy.path.display()));
        let sealed = match fs::read_to_string(&copy.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            sealed => sealed.map_err(|error| unreadable(error.to_string()))?,
        };
        let text =
            self.core.keys.open(CONTEXT, sealed.trim()).map_err(|error| unreadable(error.to_string()))?;
        let copied =
            serde_json::from_slice(text.expose_secret()).map_err(|error| unreadable(store::fault(&error)))?;
        Ok(Some(copied))
    }
}

/// Puts `sealed` in the place of what is at `path`: a crash leaves the one or the other, whole.
fn write(path: &Path, sealed: &str) -> io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let draft = path.with_extension(std::process::id().to_string());
    let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(sealed.as_bytes())?;
    file.sync_all()?;
    fs::rename(&draft, path)?;
    fs::File::open(folder)?.sync_all()
}
