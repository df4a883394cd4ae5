//! Looks whether the store is still the one that is known, and writes down what is known of it.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::jobs::every;
use crate::{
    app::App,
    store::{
        self,
        known_copy::{Copied, KnownCopy},
    },
};

/// How often the store is looked at, and what is known of it written down at the most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until `stop`. What is known is written into `copy`, as of the store at `place`.
pub async fn run(app: Arc<App>, stop: CancellationToken, copy: KnownCopy, place: String) {
    let (copy, mut look) = (Arc::new(copy), every(LOOK_INTERVAL));
    let mut written: Option<Copied> = None;
    let mut is_unwritten = false;
    loop {
        let is_over = stop.run_until_cancelled(look.tick()).await.is_none();
        if !is_over && let Err(store::Error::NotKnown(_)) = app.recognizer.look().await {
            app.incoming.store_is_not_known();
        }
        if let Some(store) = app.store().known().store() {
            let copied = Copied { store, place: place.clone() };
            if written.as_ref() != Some(&copied) {
                match write(&copy, &copied).await {
                    Ok(()) => (written, is_unwritten) = (Some(copied), false),
                    Err(error) if !is_unwritten => {
                        is_unwritten = true;
                        tracing::error!(
                            %error, file = %copy.path().display(),
                            mend = "make the data folder writable",
                            "what is known of the store cannot be written down: after a restart, one that has lost opt-outs could \
                             be taken for the known one"
                        );
                    }
                    Err(_) => {}
                }
            }
        }
        if is_over {
            return;
        }
    }
}

async fn write(copy: &Arc<KnownCopy>, copied: &Copied) -> anyhow::Result<()> {
    let (copy, copied) = (copy.clone(), copied.clone());
    Ok(tokio::task::spawn_blocking(move || copy.write(&copied)).await??)
}
