//! One account at Twilio, one organization: a document for each account names its owner.
//!
//! It is changed in one step with the owner's settings ([`super::saved`]), and counts for as long as those
//! name the account. So an organization that moves on to another account sets its former one free without a further step.
//!
//! Version 0.1.0 kept a list of claimants instead: the first whose settings name the account is its owner.

use serde::{Deserialize, Serialize};

use super::{Accounts, directory};
use crate::{
    domain::{Organization, account::is_same_account},
    store::{self, DocumentChange, Kind},
    twilio::AccountSid,
};

/// What is stored of an account.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Owner {
    /// Whose it is.
    Owner { owner: Organization },
    /// Who claimed it in version 0.1.0, in the order in which they came.
    Claimed { claimants: Vec<Organization> },
}

/// What has to stay as it is while an organization takes an account.
pub(super) struct Takeover {
    /// The document's name.
    account: String,
    /// The document, and what it is afterwards.
    before: Option<String>,
    after: String,
    /// The settings of those who are named before the new owner: they must still name another account.
    others: Vec<(Organization, Option<String>)>,
}

impl Accounts {
    /// What it takes to make `organization` the owner of the account; `None` if it belongs to another.
    pub(super) async fn takeover(
        &self,
        organization: &Organization,
        sid: &AccountSid,
    ) -> Result<Option<Takeover>, store::Error> {
        if self.effective.is_configured_for_another(organization, sid) {
            return Ok(None);
        }
        let (before, named) = self.owner_document(sid).await?;
        let mut others = Vec::new();
        for candidate in named {
            let stored = self.stored_settings(&candidate).await?;
            let names_it = match stored.settings {
                Ok(settings) => settings.is_some_and(|settings| is_same_account(&settings.account_sid, sid)),
                // Nobody's account is given away because a key is missing here.
                Err(_) => true,
            };
            if candidate == *organization {
                if names_it {
                    break;
                }
            } else if names_it {
                return Ok(None);
            } else {
                others.push((candidate, stored.sealed));
            }
        }
        let after = store::encode(&Owner::Owner { owner: organization.clone() });
        Ok(Some(Takeover { account: directory::name(sid), before, after, others }))
    }

    /// Who may own the account: the first of them whose settings name it does.
    pub(super) async fn owners(&self, sid: &AccountSid) -> Result<Vec<Organization>, store::Error> {
        Ok(self.owner_document(sid).await?.1)
    }

    /// The document of an account, and whom it names.
    async fn owner_document(
        &self,
        sid: &AccountSid,
    ) -> Result<(Option<String>, Vec<Organization>), store::Error> {
        let (installation, name) = (Organization::installation(), directory::name(sid));
        let stored = self.core.store.document(&installation, Kind::Account, &name).await?;
        let owner = stored.as_ref().map(|text| store::decode(&format!("the owner of {sid}"), text));
        let owner = owner.transpose()?;
        let named = match owner {
            Some(Owner::Owner { owner }) => vec![owner],
            Some(Owner::Claimed { claimants }) => claimants,
            None => Vec::new(),
        };
        Ok((stored, named))
    }
}

impl Takeover {
    /// The changes of documents that make the new owner, to be made with that of its settings.
    pub(super) fn changes(&self) -> impl Iterator<Item = DocumentChange<'_>> {
        let owner = DocumentChange {
            kind: Kind::Account,
            name: &self.account,
            before: self.before.as_deref(),
            after: Some(&self.after),
        };
        let unchanged = self.others.iter().map(|(other, sealed)| DocumentChange {
            kind: Kind::Settings,
            name: other.as_str(),
            before: sealed.as_deref(),
            after: sealed.as_deref(),
        });
        std::iter::once(owner).chain(unchanged)
    }
}
