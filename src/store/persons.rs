//! Who is one and the same person, although the store has known them under two names.

use async_trait::async_trait;

use super::Error;
use crate::{
    domain::{Consent, Organization, Person},
    twilio::BareAddress,
};

/// Between these two texts are the numbers of all countries in which numbers have two spellings: Mexico (52), Argentina
/// (54) and Brazil (55).
pub(super) const SPELLED_TWICE: (&str, &str) = ("+52", "+56");

/// The address `name`, if it is a spelling under which earlier versions kept a person.
pub(super) fn former_spelling(name: &str) -> Option<BareAddress> {
    let address: BareAddress = name.parse().ok()?;
    Some(address).filter(|address| Person::of(address).address() != address)
}

/// See the [module](self), and the store's promises.
///
/// What is known under two names is merged: [`Consent::merged`](crate::domain::Consent::merged). Whoever decides on consent
/// that was read before finds it changed. An operation that a crash has cut short is to be repeated; until then nothing is
/// lost, and nothing that the person said is known less than before.
#[async_trait]
pub trait Persons {
    /// Makes `user`, who is known by a WhatsApp user id, the same as `person`, who is known by a number: what is known
    /// of both is that of `person`, and from now on so is what is asked for by the name of `user`.
    async fn link(&self, organization: &Organization, user: &Person, person: &Person) -> Result<(), Error>;

    /// Spellings under which earlier versions kept a person who has another name today ([`Person::of`]).
    async fn former_spellings(&self, organization: &Organization) -> Result<Vec<BareAddress>, Error>;

    /// Moves what is kept under `spelling` to the person that it belongs to.
    async fn unite(&self, organization: &Organization, spelling: &BareAddress) -> Result<(), Error>;

    /// The other names that lead to `person`, or once did.
    async fn other_names(&self, organization: &Organization, person: &Person) -> Result<Vec<Person>, Error>;

    /// Erases that `name` leads to `person`, if it does, and keeps `kept` of what was known by it, under its pseudonym: what
    /// is still to be obeyed of an erased person by whichever of their names they are sent to.
    async fn erase_name(
        &self,
        organization: &Organization,
        name: &Person,
        person: &Person,
        kept: Option<&Consent>,
    ) -> Result<(), Error>;
}
