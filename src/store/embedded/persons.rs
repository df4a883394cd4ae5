//! Who is one and the same person, in the embedded store.

use std::collections::BTreeSet;

use async_trait::async_trait;
use redb::ReadableTable;

use super::{
    EmbeddedStore,
    consents::resolved,
    outbox::last_sent,
    tables::{CONSENTS, HISTORY_OF, NAMES, Tables},
    unavailable,
};
use crate::{
    domain::{Consent, Organization, Person, PseudonymKey, consent::ConsentChange},
    store::{
        Consents, Error, Persons,
        consents::{FoundConsent, KeptConsent, read_person},
        decode, encode,
        persons::{SPELLED_TWICE, former_spelling},
    },
    twilio::BareAddress,
};

impl Tables<'_> {
    /// Moves what is kept under `name` to `person`; under `name` stays `remains`.
    fn move_person(
        &mut self,
        organization: &Organization,
        name: &BareAddress,
        person: &Person,
        remains: Option<&KeptConsent>,
        key: &PseudonymKey,
    ) -> Result<(), Error> {
        let of = organization.as_str();
        // A name may have been that of another person before, whose consent it had then.
        let (source, theirs) = match self.found_under(organization, name, key)? {
            FoundConsent::Elsewhere(same_as) if same_as == *person => return Ok(()),
            FoundConsent::Elsewhere(same_as) => {
                let theirs = self.found_under(organization, same_as.address(), key)?.known()?;
                (same_as.address().clone(), theirs)
            }
            FoundConsent::Known(theirs) => (name.clone(), *theirs),
        };
        if theirs.version.stored.is_some() {
            let own = self.found_under(organization, person.address(), key)?.known()?;
            let merged = own.consent.merged(&theirs.consent);
            let own_changes = self.changes_of(of, person.as_str())?;
            let changes = ConsentChange::merged(own_changes, self.changes_of(of, &source)?);
            // Of an erased person nothing is written down again that is known by the pseudonym.
            let is_known = changes.is_empty() && own.version.stored.is_some() && merged == own.consent;
            if !is_known {
                self.put_consent(organization, person, &encode(&merged), key)?;
            }
            for (number, change) in (0..).zip(changes) {
                self.changes
                    .insert((of, person.as_str(), number), encode(&change).as_bytes())
                    .map_err(unavailable)?;
            }
        }
        self.erase_consent(organization, name.as_str(), None, key)?;
        if let Some(remains) = remains {
            self.consents.insert((of, name.as_str()), encode(remains).as_str()).map_err(unavailable)?;
            self.names.insert((of, person.as_str(), name.as_str()), ()).map_err(unavailable)?;
        }
        let organization = of;
        self.move_history(organization, name, person)?;
        self.move_last(organization, name, person)
    }

    /// What is kept under `name`, which may be a former spelling, or under its pseudonym.
    fn found_under(
        &self,
        organization: &Organization,
        name: &BareAddress,
        key: &PseudonymKey,
    ) -> Result<FoundConsent, Error> {
        let of = organization.as_str();
        let named = self.consents.get((of, name.as_str())).map_err(unavailable)?;
        let pseudonym = key.pseudonym(organization, name.as_str());
        let erased = self.erased.get((of, pseudonym.as_str())).map_err(unavailable)?;
        let stored = named.or(erased).map(|stored| stored.value().to_owned());
        FoundConsent::read(Person::of(name), stored)
    }

    /// Moves when somebody was last sent to; the later of both times stays.
    fn move_last(&mut self, organization: &str, name: &str, person: &Person) -> Result<(), Error> {
        let (from, to) = (last_sent(name), last_sent(person.as_str()));
        let last = self.pace.remove((organization, from.as_str())).map_err(unavailable)?;
        let Some(last) = last.map(|last| last.value()) else { return Ok(()) };
        let known = self.pace.get((organization, to.as_str())).map_err(unavailable)?;
        let last = known.map_or(last, |known| last.max(known.value()));
        self.pace.insert((organization, to.as_str()), last).map_err(unavailable)?;
        Ok(())
    }

    fn changes_of(&self, organization: &str, name: &str) -> Result<Vec<ConsentChange>, Error> {
        let rows = self.changes.range((organization, name, 0)..=(organization, name, u64::MAX));
        let rows = rows.map_err(unavailable)?;
        rows.map(|row| decode("a change of consent", row.map_err(unavailable)?.1.value())).collect()
    }

    fn move_history(&mut self, organization: &str, name: &str, person: &Person) -> Result<(), Error> {
        let of_name = (organization, name, 0, 0)..=(organization, name, u64::MAX, u64::MAX);
        let mut moved: Vec<(u64, u64, String)> = Vec::new();
        for row in self.history_of.extract_from_if(of_name, |_, _| true).map_err(unavailable)? {
            let (key, message) = row.map_err(unavailable)?;
            moved.push((key.value().2, key.value().3, message.value().to_owned()));
        }
        for (ms, seq, message) in moved {
            self.history_of
                .insert((organization, person.as_str(), ms, seq), message.as_str())
                .map_err(unavailable)?;
        }
        Ok(())
    }
}

#[async_trait]
impl Persons for EmbeddedStore {
    async fn link(&self, organization: &Organization, user: &Person, person: &Person) -> Result<(), Error> {
        // Most messages that name both tell nothing new, and are not worth a commit.
        if self.consent(organization, user).await?.version.person() == person {
            return Ok(());
        }
        let (whose, user, person) = (organization.clone(), user.clone(), person.clone());
        let key = self.pseudonyms.key(self).await?;
        self.change_consent_by(organization, move |tables| {
            let remains = KeptConsent::Elsewhere { same_as: person.clone() };
            tables.move_person(&whose, user.address(), &person, Some(&remains), &key).map(|()| ((), true))
        })
        .await
    }

    async fn former_spellings(&self, organization: &Organization) -> Result<Vec<BareAddress>, Error> {
        let organization = organization.clone();
        self.read(move |transaction| {
            let consents = transaction.open_table(CONSENTS).map_err(unavailable)?;
            let history_of = transaction.open_table(HISTORY_OF).map_err(unavailable)?;
            let organization = organization.as_str();
            let (first, end) = SPELLED_TWICE;
            let mut names = BTreeSet::new();
            for row in consents.range((organization, first)..(organization, end)).map_err(unavailable)? {
                names.insert(row.map_err(unavailable)?.0.value().1.to_owned());
            }
            let mut from = first.to_owned();
            // The first message of each person tells; then the next person is sought.
            while let Some(row) = history_of
                .range((organization, from.as_str(), 0, 0)..(organization, end, 0, 0))
                .map_err(unavailable)?
                .next()
            {
                let name = row.map_err(unavailable)?.0.value().1.to_owned();
                from = format!("{name}\0");
                names.insert(name);
            }
            Ok(names.into_iter().filter_map(|name| former_spelling(&name)).collect())
        })
        .await
    }

    async fn unite(&self, organization: &Organization, spelling: &BareAddress) -> Result<(), Error> {
        let (whose, spelling) = (organization.clone(), spelling.clone());
        let key = self.pseudonyms.key(self).await?;
        self.change_consent_by(organization, move |tables| {
            let person = Person::of(&spelling);
            tables.move_person(&whose, &spelling, &person, None, &key).map(|()| ((), true))
        })
        .await
    }

    async fn other_names(&self, organization: &Organization, person: &Person) -> Result<Vec<Person>, Error> {
        let (organization, person) = (organization.clone(), person.clone());
        self.read(move |transaction| {
            let names = transaction.open_table(NAMES).map_err(unavailable)?;
            let (of, person) = (organization.as_str(), person.as_str());
            let rows = names.range((of, person, "")..).map_err(unavailable)?;
            let mut found = Vec::new();
            for row in rows {
                let (key, ()) = row.map(|(key, value)| (key, value.value())).map_err(unavailable)?;
                let (known_of, known_person, name) = key.value();
                if (known_of, known_person) != (of, person) {
                    break;
                }
                found.push(read_person(name)?);
            }
            Ok(found)
        })
        .await
    }

    async fn erase_name(
        &self,
        organization: &Organization,
        name: &Person,
        person: &Person,
        kept: Option<&Consent>,
    ) -> Result<(), Error> {
        let key = self.pseudonyms.key_to_use(self).await?;
        let (organization, name, person) = (organization.clone(), name.clone(), person.clone());
        let kept = kept.cloned();
        self.write(move |tables| {
            let of = organization.as_str();
            // It may be another person's by now, or stand for itself again.
            if name != person && resolved(&tables.consents, of, &name)? == person {
                tables.erase_consent(&organization, name.as_str(), kept.as_ref(), &key)?;
                tables.forget_last_sent(of, name.as_str())?;
            }
            tables.names.remove((of, person.as_str(), name.as_str())).map_err(unavailable)?;
            Ok(())
        })
        .await
    }
}
