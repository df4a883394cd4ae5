//! Takes away what is older than it is to be, in small steps.

use std::{sync::Arc, time::Duration};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::jobs::every;
use crate::{app::App, domain::Organization, store};

/// How often it is asked whether everything is to be looked through again.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// How long a service that has just started leaves things alone: what was left to be done while none ran is done first.
const START_DELAY: Duration = Duration::from_secs(5 * 60);

/// How long one run lasts at the most; the next one does the rest.
const RUN_TIME_MAX: Duration = Duration::from_secs(30 * 60);

/// The pause after a step, as a multiple of the time that the step took: so much more of the store's time is everybody else's.
const PAUSE_FACTOR: u32 = 4;

/// The shortest pause.
const PAUSE_MIN: Duration = Duration::from_millis(5);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// Runs until `stop`, at which it begins no further step.
pub async fn run(app: Arc<App>, stop: CancellationToken) {
    if stop.run_until_cancelled(tokio::time::sleep(START_DELAY)).await.is_none() {
        return;
    }
    let mut look = every(LOOK_INTERVAL);
    while stop.run_until_cancelled(look.tick()).await.is_some() {
        look_through_all(&app, &stop).await;
    }
}

/// Looks through everything of every organization, those without an account too.
pub async fn look_through_all(app: &App, stop: &CancellationToken) {
    for organization in &app.accounts.known_organizations() {
        if let Err(error) = look_through(app, organization, stop).await {
            tracing::warn!(%organization, %error, "what is too old is taken away later");
        }
    }
}

/// Looks through everything of `organization` once, unless that was done within the hour; step by step, and no further after `stop`.
pub async fn look_through(
    app: &App,
    organization: &Organization,
    stop: &CancellationToken,
) -> Result<(), store::Error> {
    let retention = app.retention.of(organization);
    if stop.is_cancelled() || !retention.claim().await? {
        return Ok(());
    }
    let mut run = app.retention.begin();
    let ends = Instant::now() + RUN_TIME_MAX;
    while !run.is_done() && Instant::now() < ends {
        let began = Instant::now();
        retention.step(&mut run).await?;
        let pause = (began.elapsed() * PAUSE_FACTOR).clamp(PAUSE_MIN, PAUSE_MAX);
        if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
            break;
        }
    }
    let (removed, behind) = (run.removed(), retention.behind(&run).await?);
    app.metrics().retention_ended(app.now_ms().as_secs(), behind);
    if removed != store::Removed::default() {
        let store::Removed { messages, deliveries, inbound, consents } = removed;
        tracing::info!(
            event = "retention", %organization, messages, deliveries, inbound, consents, behind_s = behind.as_secs(),
            "what is older than TEXTLEDGER_RETENTION_DAYS was taken away"
        );
    }
    Ok(())
}
