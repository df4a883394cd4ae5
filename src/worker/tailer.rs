//! One reader of an organization's streams, fanned out to every dashboard that listens.

use std::{collections::HashMap, sync::Arc, time::Duration};

use tokio::sync::{Mutex, broadcast};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    domain::{Event, EventId, Organization},
    store::{self, EVENTS_PAGE_MAX, Row, Store},
};

/// Events that a listener may fall behind before it has to read them from the store again.
const LAG_MAX: usize = 1_024;

/// How long one wait at the store lasts, and so how soon a reader without listeners ends.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// The pause after the store failed.
const RETRY_DELAY: Duration = Duration::from_millis(500);

/// An event, shared by all who listen.
pub type Shared = Arc<(EventId, Row<Event>)>;

/// The readers, one for each organization that somebody listens to. Cheap to clone.
#[derive(Clone)]
pub struct Tailer {
    store: Arc<dyn Store>,
    readers: Arc<Mutex<HashMap<Organization, broadcast::Sender<Shared>>>>,
    tracker: TaskTracker,
    stop: CancellationToken,
}

impl Tailer {
    /// Readers of `store` that end when `stop` is cancelled.
    pub fn new(store: Arc<dyn Store>, tracker: TaskTracker, stop: CancellationToken) -> Self {
        Self { store, readers: Arc::default(), tracker, stop }
    }

    /// Listens to every event that is added from now on. One added during this call may already be in the store
    /// too: a listener that also reads the store tells the two apart by their ids.
    pub async fn subscribe(
        &self,
        organization: &Organization,
    ) -> Result<broadcast::Receiver<Shared>, store::Error> {
        let mut readers = self.readers.lock().await;
        if let Some(reader) = readers.get(organization) {
            return Ok(reader.subscribe());
        }
        // Where to start is settled before the caller reads the store, so that nothing falls in between.
        let start = self.store.last_event(organization).await?;
        let (sender, receiver) = broadcast::channel(LAG_MAX);
        readers.insert(organization.clone(), sender.clone());
        let (tailer, organization) = (self.clone(), organization.clone());
        self.tracker.spawn(async move {
            let stop = tailer.stop.clone();
            stop.run_until_cancelled(tailer.read(organization, start, sender)).await;
        });
        Ok(receiver)
    }

    /// Hands on what is added behind `position`, until nobody listens.
    async fn read(
        &self,
        organization: Organization,
        mut position: EventId,
        listeners: broadcast::Sender<Shared>,
    ) {
        loop {
            let page = match self.store.events(&organization, position, EVENTS_PAGE_MAX).await {
                Ok(page) if page.is_empty() => {
                    self.store.wait_for_events(&organization, position, WAIT_MAX).await.map(|()| page)
                }
                result => result,
            };
            match page {
                Ok(page) => {
                    for (id, event) in page {
                        position = id;
                        // Without a listener the event is dropped, and the reader ends below.
                        drop(listeners.send(Arc::new((id, event))));
                    }
                }
                Err(error) => {
                    tracing::warn!(%organization, %error, "the streams could not be read");
                    tokio::time::sleep(RETRY_DELAY).await;
                }
            }
            if listeners.receiver_count() == 0 {
                let mut readers = self.readers.lock().await;
                // Nobody can subscribe while the map is locked, so the last look is sure.
                if listeners.receiver_count() == 0 {
                    readers.remove(&organization);
                    return;
                }
            }
        }
    }
}
