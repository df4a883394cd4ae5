//! Makes opt-outs of replies under review on which nobody has decided in time.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::jobs::every;
use crate::{app::App, domain::Organization, store};

/// How often is looked for reviews at their deadlines; until one is found, what it holds back stays held.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Runs until `stop`. What it has begun is done then: cut off, it would wait until its lease ends.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    let mut look = every(LOOK_INTERVAL);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        // What has been spooled may be the person's later word.
        if !app.incoming.is_clear() {
            continue;
        }
        for account in app.accounts.all().iter() {
            let organization = &account.organization;
            if let Err(error) = expire(&app, organization).await {
                tracing::warn!(%organization, %error, "replies under review become opt-outs later");
            }
        }
    }
}

async fn expire(app: &App, organization: &Organization) -> Result<(), store::Error> {
    while app.consents.of(organization).expire_reviews().await? {}
    Ok(())
}
