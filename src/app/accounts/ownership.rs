//! One account at Twilio, one organization: a document for each account names its owner.
//!
//! It is changed in one step with the owner's settings ([`super::saved`]), and counts for as long as those
//! name the account. So an organization that moves on to another account sets its former one free without a further step.
//!
//! Version 0.1.0 kept a list of claimants instead: the first whose settings name the account is its owner. It asked Twilio
//! about none of them, so that an owner of then may have invented its token: it has to give way to whoever has the right one.

use serde::{Deserialize, Serialize};

use super::{Accounts, directory, proof::Proof};
use crate::{
    domain::{AccountSettings, Organization, account::is_same_account},
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
    /// The settings of those who are named before the new owner, as they were looked at: they must still be these.
    others: Vec<(Organization, Option<String>)>,
}

impl Accounts {
    /// What it takes to make `organization` the owner of the account of `settings`; `None` if it belongs to another.
    pub(super) async fn takeover(
        &self,
        organization: &Organization,
        settings: &AccountSettings,
    ) -> Result<Option<Takeover>, store::Error> {
        let sid = &settings.account_sid;
        if self.effective.is_configured_for_another(organization, sid) {
            return Ok(None);
        }
        let (before, named) = self.owner_document(sid).await?;
        let mut others = Vec::new();
        for candidate in named {
            let stored = self.stored_settings(&candidate).await?;
            let named_by = match stored.settings {
                Ok(named_by) => named_by.filter(|named_by| is_same_account(&named_by.account_sid, sid)),
                Err(_) if candidate == *organization => break,
                // Nobody's account is given away because a key is missing here.
                Err(_) => return Ok(None),
            };
            if candidate == *organization {
                if named_by.is_some() {
                    break;
                }
                continue;
            }
            if let Some(owners) = named_by
                && !self.gives_way(&owners, settings).await
            {
                return Ok(None);
            }
            others.push((candidate, stored.sealed));
        }
        let after = store::encode(&Owner::Owner { owner: organization.clone() });
        Ok(Some(Takeover { account: directory::name(sid), before, after, others }))
    }

    /// Whether an owner with the settings `owners` has to leave the account to whoever has `settings`: Twilio takes the token
    /// of these, and refuses the owner's. An owner about whom Twilio says nothing stays.
    ///
    /// It is asked about both, since settings that are in force already come here without a question: they may be the
    /// invented ones, and the owner may just have changed its token at Twilio.
    async fn gives_way(&self, owners: &AccountSettings, settings: &AccountSettings) -> bool {
        matches!(self.prove(owners).await, Proof::Refused(_))
            && matches!(self.prove(settings).await, Proof::Accepted)
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
