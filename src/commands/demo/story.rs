//! What happens in the demo: messages that arrive, fail and are read; people who stop, start and join; a forgery.

use std::time::Duration;

use anyhow::{Context, ensure};
use reqwest::Client;
use serde_json::{Value, json};

use super::{OUR_NUMBER, Stage, line::Line};
use crate::commands::say;

/// How long the callbacks of the story's messages may take.
const CALLBACKS_TIMEOUT: Duration = Duration::from_secs(20);

/// The pause between two steps, so that eyes can follow.
const PACE: Duration = Duration::from_millis(200);

/// Tells the story over HTTP, as an application, as people with phones, and as somebody who forges.
pub(super) struct Story<'a> {
    stage: &'a Stage,
    http: Client,
}

/// What the story's own requests were answered.
#[derive(Debug, Default)]
pub(super) struct Summary {
    /// Sends that Twilio took.
    pub(super) sent: usize,
    /// Sends that were refused.
    pub(super) refused: usize,
    /// Messages from people.
    pub(super) received: usize,
    /// Forged webhooks that were turned away.
    pub(super) forged: usize,
    /// Events that all of it made.
    pub(super) events: usize,
}

/// What the application sends: the route, the recipient, the text.
const FIRST: [(&str, &str, &str); 6] = [
    ("send", "+14155550101", "Your inspection is tomorrow at 9:00."),
    ("send", "+14155550102", "A new task is assigned to you."),
    ("send", "+14155530003", "This phone is switched off."),
    ("send", "+14155530007", "This text is filtered by the carrier."),
    ("whatsapp/send", "+14155550103", "Please approve the workflow."),
    ("send", "+15005550001", "Nobody can have this number."),
];

/// What people write, and what is sent to them afterwards.
const REPLIES: [(&str, &str, Option<&str>); 5] = [
    ("+14155550101", "Thanks, see you then", None),
    ("+14155550102", "STOP", Some("+14155550102")),
    ("+14155550102", "START", Some("+14155550102")),
    ("whatsapp:+14155550103", "please stop texting me", None),
    ("whatsapp:+14155550103", "JOIN", None),
];

impl<'a> Story<'a> {
    pub(super) fn new(stage: &'a Stage) -> Self {
        Self { stage, http: Client::new() }
    }

    pub(super) async fn tell(&self) -> anyhow::Result<Summary> {
        let mut summary = Summary::default();
        for (route, to, text) in FIRST {
            self.send(&mut summary, route, to, text).await?;
            tokio::time::sleep(PACE).await;
        }
        self.stage
            .simulator
            .wait_idle(CALLBACKS_TIMEOUT)
            .await
            .context("Twilio's callbacks take too long")?;
        for (from, text, then) in REPLIES {
            self.write(&mut summary, from, text).await?;
            if let Some(to) = then {
                self.send(&mut summary, "send", to, "May we still write to you?").await?;
            }
            tokio::time::sleep(PACE).await;
        }
        self.forge(&mut summary).await?;
        self.stage
            .simulator
            .wait_idle(CALLBACKS_TIMEOUT)
            .await
            .context("Twilio's callbacks take too long")?;
        summary.events = self.count_events().await?;
        Ok(summary)
    }

    async fn count_events(&self) -> anyhow::Result<usize> {
        let url = format!("{}/api/sms/events?limit=500", self.stage.service_url);
        let request = self.http.get(url).bearer_auth(&self.stage.token);
        let page: Value = request.send().await?.error_for_status()?.json().await?;
        Ok(page["events"].as_array().map_or(0, Vec::len))
    }

    async fn send(&self, summary: &mut Summary, route: &str, to: &str, text: &str) -> anyhow::Result<()> {
        let request = self
            .http
            .post(format!("{}/api/sms/{route}", self.stage.service_url))
            .bearer_auth(&self.stage.token)
            .json(&json!({ "to_number": to, "message": text }));
        let answer = request.send().await?;
        let sent = answer.status().is_success();
        let body: Value = answer.json().await?;
        if sent {
            summary.sent += 1;
        } else {
            summary.refused += 1;
            refused("send", to, body["code"].as_str().unwrap_or("without a code"))?;
        }
        Ok(())
    }

    async fn write(&self, summary: &mut Summary, from: &str, text: &str) -> anyhow::Result<()> {
        let to = if from.starts_with("whatsapp:") {
            format!("whatsapp:{OUR_NUMBER}")
        } else {
            OUR_NUMBER.to_owned()
        };
        let request = self
            .http
            .post(format!("{}/simulator/inbound", self.stage.simulator.base_url()))
            .json(&json!({ "from": from, "to": to, "body": text }));
        let answer: Value = request.send().await?.error_for_status()?.json().await?;
        ensure!(answer["status"] == 200, "the webhook answered {}", answer["status"]);
        summary.received += 1;
        Ok(())
    }

    /// Posts a callback that Twilio did not sign.
    async fn forge(&self, summary: &mut Summary) -> anyhow::Result<()> {
        let form = [
            ("AccountSid", self.stage.account_sid.as_str()),
            ("MessageSid", "SM00000000000000000000000000000000"),
            ("MessageStatus", "delivered"),
        ];
        let request = self
            .http
            .post(format!("{}/webhooks/twilio/status", self.stage.service_url))
            .header("X-Twilio-Signature", "Rm9yZ2VkIGJ5IHNvbWVib2R5ISEh")
            .form(&form);
        ensure!(request.send().await?.status() == 403, "a forged callback was not refused");
        summary.forged += 1;
        refused("webhook", "somebody", "403: not signed by Twilio")
    }
}

/// Shows what the service refused: of that no event tells.
fn refused(kind: &str, who: &str, remark: &str) -> anyhow::Result<()> {
    say(Line { kind, what: "refused", who, remark, ..Line::default() })
}
