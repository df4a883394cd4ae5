//! Who is one and the same person, in the embedded store.

use std::collections::BTreeSet;

use async_trait::async_trait;
use redb::ReadableTable;

use super::{
    EmbeddedStore,
    outbox::last_sent,
    tables::{CONSENTS, HISTORY_OF, Tables},
    unavailable,
};
use crate::{
    domain::{Organization, Person, consent::ConsentChange},
    store::{
        Consents, Error, Persons,
        consents::{FoundConsent, KeptConsent},
        decode, encode,
        persons::{SPELLED_TWICE, former_spelling},
    },
    twilio::BareAddress,
};

impl Tables<'_> {
    /// Moves what is kept under `name` to `person`; under `name` stays `remains`.
    fn move_person(
        &mut self,
        organization: &str,
        name: &BareAddress,
        person: &Person,
        remains: Option<&KeptConsent>,
    ) -> Result<(), Error> {
        let key = (organization, name.as_str());
        let stored = self.consents.get(key).map_err(unavailable)?.map(|stored| stored.value().to_owned());
        let is_stored = stored.is_some();
        // A name may have been that of another person before, whose consent it had then.
        let source = match FoundConsent::read(Person::of(name), stored)? {
            FoundConsent::Elsewhere(same_as) if same_as == *person => return Ok(()),
            FoundConsent::Elsewhere(same_as) => same_as.address().clone(),
            FoundConsent::Known(_) => name.clone(),
        };
        if is_stored {
            let theirs = self.consents.get((organization, source.as_str())).map_err(unavailable)?;
            let theirs = theirs.map(|stored| stored.value().to_owned());
            let theirs = FoundConsent::read(Person::of(&source), theirs)?.known()?.consent;
            let merged = encode(&self.consent(organization, person)?.consent.merged(&theirs));
            let changes = ConsentChange::merged(
                self.changes_of(organization, person.as_str())?,
                self.changes_of(organization, &source)?,
            );
            self.consents.insert((organization, person.as_str()), merged.as_str()).map_err(unavailable)?;
            for (number, change) in (0..).zip(changes) {
                self.changes
                    .insert((organization, person.as_str(), number), encode(&change).as_bytes())
                    .map_err(unavailable)?;
            }
        }
        match remains {
            Some(remains) => self.consents.insert(key, encode(remains).as_str()),
            None => self.consents.remove(key),
        }
        .map_err(unavailable)?;
        self.changes
            .retain_in((organization, name.as_str(), 0)..=(organization, name.as_str(), u64::MAX), |_, _| {
                false
            })
            .map_err(unavailable)?;
        self.move_history(organization, name, person)?;
        self.move_last(organization, name, person)
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
        let (organization, user, person) = (organization.clone(), user.clone(), person.clone());
        self.write(move |tables| {
            let remains = KeptConsent::Elsewhere { same_as: person.clone() };
            tables.move_person(organization.as_str(), user.address(), &person, Some(&remains))
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
        let (organization, spelling) = (organization.clone(), spelling.clone());
        self.write(move |tables| {
            let person = Person::of(&spelling);
            tables.move_person(organization.as_str(), &spelling, &person, None)
        })
        .await
    }
}
