//! One account, one organization: a document for each account names those that claim it, in the order in which they came.
//!
//! A claim by itself holds nothing: what counts is that the claimant's saved settings name the account. Those of one that
//! crashed before it saved, or that has another account by now, do not, so that nobody has to give a claim back.
//!
//! 1. Who wants an account puts itself behind the others ([`App::claim`]), and looks whether the settings of one before it
//!    name the account. If not, it takes all others out.
//! 2. It saves its settings, and looks again whether it is still named, and before it nobody whose settings name the
//!    account ([`App::holds`]). If not, it takes its settings back.
//!
//! So who has passed the second look is first from then on: whoever comes later sees it, and never takes it out. Each
//! writing of the document is unlike all earlier ones, so that nothing is decided on a list that was there once.

use rand::RngExt;
use serde::{Deserialize, Serialize};

use super::App;
use crate::{
    app::accounts,
    domain::{Organization, account::is_same_account},
    store::{self, Kind},
    twilio::AccountSid,
};

/// How often a claim is decided again when others claim the same account at the same moment.
const DECISIONS_MAX: usize = 32;

/// Who claims an account.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    claimants: Vec<Organization>,
    /// Drawn for each writing.
    draw: u64,
}

impl App {
    /// Claims the account for `organization`; returns whether it may save settings that name it.
    pub(super) async fn claim(
        &self,
        organization: &Organization,
        sid: &AccountSid,
    ) -> Result<bool, store::Error> {
        if self.known.is_configured_for_another(organization, sid) {
            return Ok(false);
        }
        for _ in 0..DECISIONS_MAX {
            let (known, claimants) = self.claims(sid).await?;
            let ours = match place_of(organization, &claimants) {
                Some(0) if claimants.len() == 1 => return Ok(true),
                Some(place) if self.goes_one_by(&claimants[..place], sid).await? => return Ok(false),
                Some(_) => vec![organization.clone()],
                None if self.goes_one_by(&claimants, sid).await? => return Ok(false),
                None => [claimants.as_slice(), std::slice::from_ref(organization)].concat(),
            };
            // Behind others, it is looked once more: at what they have saved in the meantime.
            let is_alone = ours.len() == 1;
            if self.change_claims(sid, known.as_deref(), ours).await? && is_alone {
                return Ok(true);
            }
        }
        Err(contended())
    }

    /// Whether the account is that of `organization`, now that its settings name it.
    pub(super) async fn holds(
        &self,
        organization: &Organization,
        sid: &AccountSid,
    ) -> Result<bool, store::Error> {
        for _ in 0..DECISIONS_MAX {
            let (known, claimants) = self.claims(sid).await?;
            match place_of(organization, &claimants) {
                None => return Ok(false),
                Some(0) if claimants.len() == 1 => return Ok(true),
                Some(place) if self.goes_one_by(&claimants[..place], sid).await? => return Ok(false),
                Some(_) => {
                    if self.change_claims(sid, known.as_deref(), vec![organization.clone()]).await? {
                        return Ok(true);
                    }
                }
            }
        }
        Err(contended())
    }

    /// Who claims the account, in their order.
    pub(super) async fn claimants(&self, sid: &AccountSid) -> Result<Vec<Organization>, store::Error> {
        Ok(self.claims(sid).await?.1)
    }

    async fn claims(&self, sid: &AccountSid) -> Result<(Option<String>, Vec<Organization>), store::Error> {
        let (installation, name) = (Organization::installation(), accounts::name(sid));
        let known = self.core.store.document(&installation, Kind::Account, &name).await?;
        let claims = known.as_deref().map(serde_json::from_str::<Claims>).transpose();
        let claims = claims.map_err(|error| store::Error::Unreadable(format!("claims on {sid}: {error}")))?;
        Ok((known, claims.unwrap_or_default().claimants))
    }

    async fn change_claims(
        &self,
        sid: &AccountSid,
        before: Option<&str>,
        claimants: Vec<Organization>,
    ) -> Result<bool, store::Error> {
        let (installation, name) = (Organization::installation(), accounts::name(sid));
        let claims = Claims { claimants, draw: rand::rng().random() };
        let after = serde_json::to_string(&claims).expect("names and a number can be written");
        self.core.store.change_document(&installation, Kind::Account, &name, before, Some(&after), None).await
    }

    /// Whether the saved settings of one of `claimants` name the account, as far as can be told.
    async fn goes_one_by(&self, claimants: &[Organization], sid: &AccountSid) -> Result<bool, store::Error> {
        for claimant in claimants {
            let goes_by_it = match self.stored_settings(claimant).await?.settings {
                Ok(Some(settings)) => is_same_account(&settings.account_sid, sid),
                Ok(None) => false,
                // Nobody's account is given away because a key is missing here.
                Err(_) => true,
            };
            if goes_by_it {
                return Ok(true);
            }
        }
        Ok(false)
    }
}

fn place_of(organization: &Organization, claimants: &[Organization]) -> Option<usize> {
    claimants.iter().position(|claimant| claimant == organization)
}

fn contended() -> store::Error {
    store::Error::Unavailable(anyhow::anyhow!(
        "the claims on an account changed {DECISIONS_MAX} times meanwhile"
    ))
}
