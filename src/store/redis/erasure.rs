//! Taking entries and counters away, in Redis.

use std::collections::BTreeMap;

use async_trait::async_trait;

use super::RedisStore;
use crate::{
    domain::{EventId, Organization, Stream},
    store::{Erasure, Error, retention::TRIMMED_MAX},
};

#[async_trait]
impl Erasure for RedisStore {
    async fn forget_events(&self, organization: &Organization, events: &[EventId]) -> Result<(), Error> {
        let mut in_stream = BTreeMap::<(u16, Stream), Vec<String>>::new();
        for id in events {
            in_stream.entry((id.partition, id.stream)).or_default().push(format!("{}-{}", id.ms, id.seq));
        }
        for ((partition, stream), entries) in in_stream {
            for some in entries.chunks(TRIMMED_MAX) {
                self.take_away(organization, partition, stream, some.to_vec(), Vec::new()).await?;
            }
        }
        Ok(())
    }

    async fn forget_counter(&self, organization: &Organization, name: &str) -> Result<(), Error> {
        let key = self.keys.counter(organization, name);
        self.put(&key, redis::cmd("DEL").arg(&key)).await
    }
}
