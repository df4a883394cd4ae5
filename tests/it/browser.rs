//! The pages in a real browser.

mod consent_page;
mod dashboard;
mod document;

use std::{fs, path::Path};

use crate::support::browser::Browser;

/// The folder that pictures of the pages go to, if it is set: for whoever changes how they look.
const PICTURES: &str = "PICTURES";

/// Takes a picture of the page as it is, if pictures are wanted.
async fn picture(browser: &mut Browser, name: &str) {
    if let Some(folder) = std::env::var_os(PICTURES) {
        fs::write(Path::new(&folder).join(format!("{name}.png")), browser.picture().await).unwrap();
    }
}
