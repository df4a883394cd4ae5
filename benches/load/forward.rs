//! What it costs to hand every callback on to the application, and how soon it is there.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use serde_json::json;
use textledger::{
    domain::Role,
    http::auth::{self, Claims},
};
use tokio::net::TcpStream;

use crate::{
    driver::{self, Load},
    processes::{self, RedisServer, Service},
    requests::{Callbacks, PUBLIC_URL},
};

/// Callbacks of which the delay is measured, one after the other.
const SINGLE: usize = 200;

/// The time between two of these.
const SINGLE_INTERVAL: Duration = Duration::from_millis(20);

/// How often it is asked how far the application has been told.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);

/// How long the application may take after the last callback.
const DEADLINE: Duration = Duration::from_secs(300);

/// Measures both formats over both stores, each beside the same load without an endpoint.
pub async fn run(load: &Load<'_>) -> anyhow::Result<()> {
    println!(
        "| store | format | callbacks/s without | callbacks/s with | told/s | mean delay, one at a time |"
    );
    println!("| --- | --- | ---: | ---: | ---: | ---: |");
    for store in ["Redis", "embedded"] {
        let redis = if store == "Redis" { Some(RedisServer::start(&[]).await?) } else { None };
        let without = service(redis.as_ref())?;
        let without = load.run(without.address(), &[]).await?.rate;
        for format in ["twilio", "standard"] {
            let redis = if store == "Redis" { Some(RedisServer::start(&[]).await?) } else { None };
            let told = measure(load, &service(redis.as_ref())?, format).await?;
            println!(
                "| {store} | `{format}` | {without:.0} | {:.0} | {:.0} | {:.1} ms |",
                told.taken_rate, told.told_rate, told.delay_ms
            );
        }
    }
    Ok(())
}

fn service(redis: Option<&RedisServer>) -> anyhow::Result<Service> {
    let store = redis.map_or_else(|| "embedded:data".to_owned(), RedisServer::url);
    Service::start_with(&[
        ("TEXTLEDGER_STORE", &store),
        ("TEXTLEDGER_PUBLIC_URL", PUBLIC_URL),
        ("TEXTLEDGER_RELAY_PRIVATE", "true"),
    ])
}

struct Told {
    /// Callbacks that were taken, a second.
    taken_rate: f64,
    /// Events of which the application was told, a second, from the first callback to the last event.
    told_rate: f64,
    /// From the recording of an event until the application has it, in milliseconds.
    delay_ms: f64,
}

async fn measure(load: &Load<'_>, service: &Service, format: &str) -> anyhow::Result<Told> {
    let app = processes::bare_handler()?;
    let http = reqwest::Client::new();
    let url = format!("http://{}/hook", app.address());
    let body = json!({ "forward": [{ "url": url, "events": ["status"], "format": format }] });
    let claims = Claims::new("bench", Role::Admin, Default::default(), 4_000_000_000);
    let token = auth::mint(&processes::JWT_SECRET.into(), &claims);
    let request = http.post(service.url("/api/sms/settings")).bearer_auth(token).json(&body);
    request.send().await?.error_for_status().context("the endpoint was not saved")?;

    // One at a time, of messages of its own.
    let single = Callbacks::sign_from(load.callbacks.len(), SINGLE / 2);
    let mut connection = TcpStream::connect(service.address()).await?;
    for number in 0..single.len() {
        let request = single.get(number).context("there are as many")?;
        driver::exchange(&mut connection, request, driver::CALLBACK_TAKEN).await?;
        tokio::time::sleep(SINGLE_INTERVAL).await;
    }
    wait_until_told(&http, service, single.len()).await?;
    let seconds = sample(&http, service, "textledger_forward_seconds_sum").await?;
    let delay_ms = seconds * 1e3 / single.len() as f64;

    let start = Instant::now();
    let taken_rate = load.run(service.address(), &[]).await?.rate;
    wait_until_told(&http, service, single.len() + load.callbacks.len()).await?;
    let told_rate = load.callbacks.len() as f64 / start.elapsed().as_secs_f64();
    Ok(Told { taken_rate, told_rate, delay_ms })
}

async fn wait_until_told(http: &reqwest::Client, service: &Service, count: usize) -> anyhow::Result<()> {
    let start = Instant::now();
    while sample(http, service, "textledger_forwards_total{result=\"told\"}").await? < count as f64 {
        ensure!(start.elapsed() < DEADLINE, "the application has not been told all after {DEADLINE:?}");
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
    Ok(())
}

/// A sample of the service's metrics; 0 if it is not there yet.
async fn sample(http: &reqwest::Client, service: &Service, name: &str) -> anyhow::Result<f64> {
    let metrics = http.get(service.url("/metrics")).send().await?.text().await?;
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    Ok(line.map(|value| value.trim().parse()).transpose()?.unwrap_or_default())
}
