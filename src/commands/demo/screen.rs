//! What the demo shows: a line per event, a summary, and what to try.

use std::{collections::BTreeMap, io::IsTerminal};

use anyhow::Context;
use reqwest::{Client, Response, header::ACCEPT};
use serde_json::Value;

use super::{OUR_NUMBER, Stage, line::Line, story::Summary};
use crate::commands::{say, say_as_is};

/// What went well, and what did not, in a terminal's numbers of colors.
const GREEN: u8 = 32;
const RED: u8 = 31;

/// The terminal, fed by the service's own live stream.
pub(super) struct Screen {
    events: Response,
    /// What has come of the stream and is not shown yet.
    text: Vec<u8>,
    colors: bool,
    shown: usize,
    counts: BTreeMap<String, usize>,
}

impl Screen {
    /// Listens to the events from the start.
    pub(super) async fn open(stage: &Stage) -> anyhow::Result<Self> {
        let url = format!("{}/api/sms/events?from=start", stage.service_url);
        let request = Client::new().get(url).bearer_auth(&stage.token).header(ACCEPT, "text/event-stream");
        let events = request.send().await?.error_for_status()?;
        let colors = std::io::stdout().is_terminal();
        Ok(Self { events, text: Vec::new(), colors, shown: 0, counts: BTreeMap::new() })
    }

    pub(super) fn introduce(&self, stage: &Stage) -> anyhow::Result<()> {
        let Stage { service_url, token, .. } = stage;
        say("textledger demo: the service, its embedded store and a simulated Twilio.\n")?;
        say(format_args!("  dashboard  {service_url}/#token={token}"))?;
        say(format_args!("  API        {service_url}/api/docs"))?;
        say(format_args!("  Twilio     {} (simulated)\n", stage.simulator.base_url()))
    }

    /// Shows events as they come; after `story`, its summary and what to try. Goes on until it is dropped.
    pub(super) async fn follow(
        &mut self,
        story: impl Future<Output = anyhow::Result<Summary>>,
        stage: &Stage,
    ) -> anyhow::Result<()> {
        let mut story = std::pin::pin!(story);
        let summary = loop {
            tokio::select! {
                event = self.next() => self.show(&event?)?,
                summary = &mut story => break summary?,
            }
        };
        while self.shown < summary.events {
            let event = self.next().await?;
            self.show(&event)?;
        }
        self.sum_up(&summary)?;
        invite(stage)?;
        loop {
            let event = self.next().await?;
            self.show(&event)?;
        }
    }

    /// The next event of the stream.
    async fn next(&mut self) -> anyhow::Result<Value> {
        loop {
            while let Some(end) = self.text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.text.drain(..=end).collect();
                if let Some(data) = line.strip_prefix(b"data: ") {
                    return Ok(serde_json::from_slice(data)?);
                }
            }
            self.text.extend(self.events.chunk().await?.context("the live stream ended")?);
        }
    }

    fn show(&mut self, event: &Value) -> anyhow::Result<()> {
        self.shown += 1;
        let text = |field: &str| event[field].as_str().unwrap_or_default();
        let time = text("at").get(11..23).unwrap_or_default();
        let (what, person, remark) = match text("type") {
            "delivery" => {
                let remark = match (event["error_code"].as_u64(), event["late"].as_bool()) {
                    (Some(code), _) => format!("error {code}"),
                    (None, Some(true)) => "late".to_owned(),
                    _ => format!("by {}", text("source")),
                };
                (text("status"), text("to"), remark)
            }
            "inbound" => {
                let read_as = match text("keyword") {
                    "" => format!("{} characters", event["body_length"]),
                    keyword => format!("read as {keyword}"),
                };
                ("received", text("from"), read_as)
            }
            _ => (text("state"), text("phone"), format!("by {}", text("source"))),
        };
        if event["late"] != true {
            *self.counts.entry(what.to_owned()).or_default() += 1;
        }
        let color = match what {
            "delivered" | "read" | "opted_in" => Some(GREEN),
            "undelivered" | "failed" | "opted_out" => Some(RED),
            _ => None,
        };
        let color = color.filter(|_| self.colors);
        let (kind, channel) = (text("type"), text("channel"));
        say_as_is(Line { time, kind, what, color, who: person, channel, remark: &remark })
    }

    fn sum_up(&self, summary: &Summary) -> anyhow::Result<()> {
        let counts: Vec<String> = self.counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
        let Summary { sent, refused, received, forged, events } = summary;
        say(format_args!(
            "\n  {sent} sent, {refused} refused, {received} received, {forged} forged callback turned away"
        ))?;
        say(format_args!("  {events} events: {}", counts.join(", ")))
    }
}

/// What a visitor can do next, to be pasted into another terminal.
fn invite(stage: &Stage) -> anyhow::Result<()> {
    let Stage { service_url, token, .. } = stage;
    let simulator = stage.simulator.base_url();
    say("\nTry it, in another terminal; what happens is shown here:\n")?;
    say(format_args!(
        "curl -s -X POST {service_url}/api/sms/send -H 'Authorization: Bearer {token}' -H 'Content-Type: \
         application/json' -d '{{\"to_number\":\"+14155550123\",\"message\":\"Hello from textledger\"}}'\n"
    ))?;
    say(format_args!(
        "curl -s -X POST {simulator}/simulator/inbound -H 'Content-Type: application/json' -d \
         '{{\"from\":\"+14155550123\",\"to\":\"{OUR_NUMBER}\",\"body\":\"STOP\"}}'\n"
    ))?;
    say(format_args!(
        "curl -s '{service_url}/api/sms/events?to=%2B14155550123' -H 'Authorization: Bearer {token}'\n"
    ))?;
    say(format_args!("  dashboard  {service_url}/#token={token}"))?;
    say(format_args!("  token      {token}"))?;
    say("\nCtrl-C ends it.")
}
