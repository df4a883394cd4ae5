//! Taking entries and counters away, in the embedded store.

use async_trait::async_trait;

use super::{EmbeddedStore, counts::COUNTER, unavailable};
use crate::{
    domain::{EventId, Organization},
    store::{Erasure, Error},
};

#[async_trait]
impl Erasure for EmbeddedStore {
    async fn forget_events(&self, organization: &Organization, events: &[EventId]) -> Result<(), Error> {
        let (organization, events) = (organization.clone(), events.to_vec());
        self.write(move |tables| {
            let organization = organization.as_str();
            for id in events {
                tables.events.remove((organization, id.ms.get(), id.seq)).map_err(unavailable)?;
            }
            Ok(())
        })
        .await
    }

    async fn forget_counter(&self, organization: &Organization, name: &str) -> Result<(), Error> {
        let (organization, name) = (organization.clone(), name.to_owned());
        self.write(move |tables| tables.put_document(organization.as_str(), COUNTER, &name, None)).await
    }
}
