//! `textledger erase`.

use std::path::Path;

use anyhow::Context;
use clap::Args;
use serde::Deserialize;

use super::{
    Misuse, actor, block_on, complain, configure,
    remote::{Method, Remote},
    say,
    through::{Place, Through},
};
use crate::{
    app::{
        App,
        erasure::{Erased, ErasureStep},
    },
    domain::{EventId, Organization, Principal, audit::Origin, consent::ConsentChannel},
    phone,
    twilio::BareAddress,
};

/// Erase one person's data, and keep obeying what they have opted out of.
///
/// Messages to them and from them, their texts, the streams' entries, the history of their consent and preferences with their
/// number are taken away; what waits for them is called off. Their opt-out stays, under a keyed hash of the number. Running it
/// again completes what was broken off. docs/operations.md tells what is out of its reach: backups, exported files, answers that
/// are kept for requests with an Idempotency-Key, and what Twilio tells later.
#[derive(Args)]
#[command(after_help = "Examples:
  textledger erase +14155552671
  textledger erase +14155552671 --url http://127.0.0.1:8080")]
pub(super) struct Erase {
    /// The person: a number in E.164, or of the default region; a short code; or a WhatsApp user id.
    #[arg(value_name = "PHONE")]
    phone: String,
    #[command(flatten)]
    through: Through,
}

/// A step, as a service tells it.
#[derive(Deserialize)]
struct Answer {
    erased: ErasedAnswer,
    on_their_way: usize,
    unreadable: usize,
    spooled: bool,
    kept: Vec<ConsentChannel>,
    next_cursor: Option<String>,
}

#[derive(Deserialize)]
struct ErasedAnswer {
    messages: usize,
    events: usize,
    consent_changes: usize,
    reviews: usize,
    preferences: usize,
    names: usize,
}

impl Erase {
    pub(super) fn run(self, config: Option<&Path>) -> anyhow::Result<()> {
        let config = configure(config)?;
        let phone = phone::person(&self.phone, config.default_region)
            .map_err(|error| Misuse(format!("{}: {error}", self.phone)))?;
        let user = actor::of_process();
        let (erased, last) = block_on(async {
            let place = self.through.open(&config, &user).await?;
            erase(&place, &phone, &user).await
        })?;
        let Erased { messages, events, consent_changes, reviews, preferences, names } = erased;
        say(format_args!(
            "erased: {messages} messages, {events} events, {consent_changes} changes of consent, {reviews} reviews, {preferences} \
             preferences, {names} other names"
        ))?;
        let kept: Vec<&str> = last.kept.iter().map(|channel| channel.as_str()).collect();
        if !kept.is_empty() {
            say(format_args!("kept under a keyed hash, to be obeyed: {}", kept.join(", ")))?;
        }
        let mut again = Vec::new();
        if last.on_their_way > 0 {
            again.push(format!("{} messages are on their way to Twilio", last.on_their_way));
        }
        if last.is_spooled {
            again.push("the service holds what Twilio told while the store was away".to_owned());
        }
        if last.unreadable > 0 {
            complain(format_args!(
                "{} records cannot be read by this version, and may be the person's",
                last.unreadable
            ));
        }
        if again.is_empty() {
            return Ok(());
        }
        Err(anyhow::anyhow!("{}: erase again in a few minutes", again.join("; ")))
    }
}

/// Does step after step; everything that they have erased, and the last one.
async fn erase(place: &Place, phone: &BareAddress, user: &str) -> anyhow::Result<(Erased, ErasureStep)> {
    let (mut erased, mut from, mut unreadable) = (Erased::default(), None, 0);
    loop {
        let step = match place {
            Place::Here(app, organization) => here(app, organization, phone, from, user).await,
            Place::There(service) => there(service, phone, from).await,
        };
        let step = step.context("erase again: what is erased by now stays so")?;
        erased += step.erased;
        unreadable += step.unreadable;
        if step.next.is_none() {
            return Ok((erased, ErasureStep { unreadable, ..step }));
        }
        from = step.next;
        complain(format_args!("{} messages and {} events so far", erased.messages, erased.events));
    }
}

async fn here(
    app: &App,
    organization: &Organization,
    phone: &BareAddress,
    from: Option<EventId>,
    user: &str,
) -> anyhow::Result<ErasureStep> {
    let by = Origin::new(&Principal::command(user), None);
    Ok(app.erasures.of(organization).erase(phone, from, &by).await?)
}

async fn there(service: &Remote, phone: &BareAddress, from: Option<EventId>) -> anyhow::Result<ErasureStep> {
    let cursor = from.map(|from| format!("?cursor={from}")).unwrap_or_default();
    let path = format!("/api/sms/persons/{}{cursor}", phone.as_str());
    let answer: Answer = service.ask_for(service.request(Method::DELETE, &path)).await?;
    let ErasedAnswer { messages, events, consent_changes, reviews, preferences, names } = answer.erased;
    let next = answer.next_cursor.map(|next| next.parse()).transpose();
    Ok(ErasureStep {
        erased: Erased { messages, events, consent_changes, reviews, preferences, names },
        next: next.map_err(|_| service.is_no_service())?,
        on_their_way: answer.on_their_way,
        unreadable: answer.unreadable,
        is_spooled: answer.spooled,
        kept: answer.kept,
    })
}
