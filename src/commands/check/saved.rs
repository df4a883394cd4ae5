//! Which organizations have saved an account, and whether it is in force.

use super::Found::{self, Warning, Well};
use crate::{
    app::{
        App,
        accounts::{pending::Verification, saved::SavedAccount},
    },
    config::Config,
    domain::account::is_same_account,
    startup,
};

/// A line for each organization that has saved settings, two if others are in force than it saved last; and one for each
/// configured API key of an organization that has no account.
pub(super) async fn saved(config: &Config, app: &App) -> anyhow::Result<Vec<Found>> {
    let saved = app.accounts.saved().await?;
    let without_account = startup::keys_without_account(config, app).map(|(key, organization)| {
        Warning(format!(
            "API key {key}: it signs in to {organization}, which has no account; save one with POST /api/sms/settings, or \
             correct TEXTLEDGER_API_KEYS"
        ))
    });
    Ok(saved.iter().map(|saved| line(app, saved)).chain(without_account).collect())
}

fn line(app: &App, saved: &SavedAccount) -> Found {
    let SavedAccount { organization, account_sid, verification } = saved;
    let settings = format!("saved settings of {organization}: {account_sid}");
    let is_in_force = app
        .accounts
        .find(organization)
        .is_some_and(|account| is_same_account(&account.settings.account_sid, account_sid));
    match verification {
        Verification::Verified if is_in_force => Well(format!("{settings} is verified and in force")),
        Verification::Verified => Warning(format!(
            "{settings} is not in force: it belongs to another organization too; save the settings of {organization} anew, \
             with its own account"
        )),
        Verification::Unverified => Warning(format!(
            "{settings} is unverified, since Twilio could not be asked about it: it verifies no webhook and sends nothing; {}",
            verification.mend()
        )),
        Verification::Refused(reason) => Warning(format!(
            "{settings} is refused: {reason}: it verifies no webhook and sends nothing; {}",
            verification.mend()
        )),
    }
}
