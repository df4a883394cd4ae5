//! Messages that wait beside one that cannot be read.

use std::path::Path;

use serde_json::json;

use super::{DOUBTFUL, HOUR, PERSON, Story};
use crate::{
    api::on_both_stores,
    support::{
        DEADLINE,
        damage::{self, Record},
        eventually,
        service::{OUR_NUMBER, On},
    },
};

on_both_stores! {
    those_beside_a_message_that_cannot_be_read_leave_at_their_time
    a_deadline_is_kept_beside_a_task_that_cannot_be_read
}

/// All are claimed together, and time stands still from then on: none is due again.
async fn those_beside_a_message_that_cannot_be_read_leave_at_their_time(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_MPS", "100")]).await;
    let mut ids: Vec<String> = Vec::new();
    for (number, hour) in [(101, 7), (102, 7), (103, 8), (104, 8)] {
        let at = format!("2026-01-15T{hour:02}:00:00Z");
        let body = json!({ "to_number": format!("+14155550{number}"), "message": "hello", "send_at": at });
        let (status, sent) = story.post("/api/sms/send", body).await;
        assert_eq!(status, 202, "{sent}");
        ids.push(sent["id"].as_str().unwrap().to_owned());
    }
    let damaged = [&ids[0], &ids[1]].map(|id| Record::Message(id));
    let damage = async |prefix: &str, folder: &Path| damage::write(on, prefix, folder, &damaged).await;
    let story = story.away_while(damage).await;
    story.pass(HOUR * 3);
    let to = |story: &Story| -> Vec<String> {
        story.twilio.messages().iter().map(|message| message.to.to_twilio()).collect()
    };
    let mut sent = eventually("those that can be read leave", async || {
        let sent = to(&story);
        (sent.len() == 2).then_some(sent)
    })
    .await;
    sent.sort_unstable();
    assert_eq!(sent, ["+14155550103", "+14155550104"]);
    story.twilio.wait_idle(DEADLINE).await.expect("Twilio's callbacks come to an end");
    // Once they can be read, they leave as well.
    let healed = [&ids[0], &ids[1]].map(|id| Record::Healed(id));
    let heal = async |prefix: &str, folder: &Path| damage::write(on, prefix, folder, &healed).await;
    let story = story.away_while(heal).await;
    story.pass(HOUR);
    eventually("all leave", async || (to(&story).len() == 4).then_some(())).await;
    story.finish(&[]).await;
}

async fn a_deadline_is_kept_beside_a_task_that_cannot_be_read(on: On) {
    let story = Story::begin(on, &[("TEXTLEDGER_REVIEW_DEADLINE", "10h")]).await;
    story.write(PERSON, OUR_NUMBER, DOUBTFUL).await;
    let put = async |record: Record<'static>, story: Story| {
        let put = async |prefix: &str, folder: &Path| damage::write(on, prefix, folder, &[record]).await;
        story.away_while(put).await
    };
    let story = put(Record::Task("reviews"), story).await;
    story.pass(HOUR * 10);
    eventually("it becomes an opt-out", async || {
        (story.sms_consent().await["state"] == "opted_out").then_some(())
    })
    .await;
    put(Record::NoTask("reviews"), story).await.finish(&[]).await;
}
