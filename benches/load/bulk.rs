//! A batch of the largest size that is taken: how long it is until all of it is stored, and what that costs.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use textledger::{
    app::outgoing::bulk::RECIPIENTS_MAX,
    clock::{Clock, SystemClock},
};

use crate::processes::{Service, peak_memory_kib, processor_time_us};

/// Batches after each other; the figures are those of the middle one by time.
const ROUNDS: usize = 5;

/// When the messages may leave: they are called off before.
const LATER: Duration = Duration::from_secs(60 * 60);

/// What accepting one batch took.
pub struct Accepted {
    /// From the request to the answer, in milliseconds.
    pub ms: f64,
    /// The service's processor time, in milliseconds.
    pub service_ms: f64,
    /// How far the service's memory ever grew beyond what it was before, in MiB, over all rounds.
    pub memory_mib: f64,
}

/// Has `service` accept batches.
pub async fn accept(service: &Service) -> anyhow::Result<Accepted> {
    let later = (SystemClock.now_ms() + LATER).to_timestamp().context("the clock is beyond the year 9999")?;
    let http = reqwest::Client::new();
    let before = peak_memory_kib(service.id())?;
    let mut rounds = Vec::new();
    for round in 0..ROUNDS {
        let numbers: Vec<String> =
            (0..RECIPIENTS_MAX).map(|number| format!("+1415{:07}", 5_000_000 + number)).collect();
        let message = format!("The site is closed today ({round}).");
        let body = json!({ "phone_numbers": numbers, "message": message, "send_at": later.to_string() });
        let worked = processor_time_us(service.id())?;
        let request = http.post(service.url("/api/sms/send-bulk")).bearer_auth(service.token()).json(&body);
        let start = Instant::now();
        let answer: Value = request.send().await?.json().await?;
        let ms = start.elapsed().as_secs_f64() * 1e3;
        ensure!(answer["accepted"] == RECIPIENTS_MAX, "the batch was not accepted: {answer}");
        let service_ms = (processor_time_us(service.id())? - worked) / 1e3;
        rounds.push((ms, service_ms));
    }
    let memory_mib = (peak_memory_kib(service.id())? - before) as f64 / 1_024.0;
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (ms, service_ms) = rounds[ROUNDS / 2];
    Ok(Accepted { ms, service_ms, memory_mib })
}
