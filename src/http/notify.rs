//! Notices to users.

use std::{collections::HashSet, time::Duration};

use actix_web::{HttpResponse, http::StatusCode, web};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    State,
    auth::{Caller, Right},
    fields::Fields,
    idempotency::{IdempotencyKey, Outcome, once},
    openapi::{self, IdempotencyHeader, SendProblems},
    problem::{Code, Problem},
    send::read_content,
};
use crate::{
    app::outgoing::notify::{Notified, Notify, Skipped, USERS_MAX},
    domain::{MessageId, consent::OptedOut},
    twilio::Channel,
};

/// What a notice can be about.
pub const CATEGORIES: [&str; 6] = [
    "workflow_approval",
    "task_assignment",
    "inspection_reminder",
    "emergency",
    "user_invitation",
    "general",
];

/// The longest time after which an SMS follows, in seconds.
const FALLBACK_S_MAX: u32 = 86_400;

/// What became of each user.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Notified)]
struct Results {
    results: Vec<OfUser>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotifiedUser)]
struct OfUser {
    user_id: String,
    queued: Vec<Queued>,
    skipped: Vec<NotSent>,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotifyQueued)]
struct Queued {
    #[schema(value_type = openapi::Channel)]
    channel: Channel,
    #[schema(value_type = String)]
    id: MessageId,
    /// It leaves only if the other does not arrive.
    fallback: bool,
}

#[derive(Debug, Serialize, ToSchema)]
#[schema(as = NotifySkipped)]
struct NotSent {
    #[schema(value_type = openapi::Channel)]
    channel: Channel,
    code: &'static str,
    detail: &'static str,
}

/// Tells users something, on the channels that their preferences and consent allow.
///
/// With `fallback`, a user who has both channels gets an SMS only if the WhatsApp message does not arrive in time.
#[utoipa::path(
    post, path = "/api/sms/notify", tags = [openapi::TAG, openapi::SENDING], operation_id = "notify", params(IdempotencyHeader),
    request_body = openapi::NotifyRequest,
    responses(SendProblems, (status = 202, body = Results, description = "what is queued for each user, and what not")),
)]
pub async fn notify(
    state: web::Data<State>,
    caller: Caller,
    key: IdempotencyKey,
    mut fields: Fields,
) -> Result<HttpResponse, Problem> {
    caller.require(Right::Send)?;
    let fingerprint = fields.fingerprint();
    let user_ids = fields.take_list("user_ids", USERS_MAX);
    if user_ids.is_empty() || user_ids.iter().any(|user| user.is_empty()) {
        fields.fault("user_ids", format!("must hold 1 to {USERS_MAX} names of users"));
    }
    let category = fields.require("category", |text| {
        CATEGORIES
            .iter()
            .find(|category| **category == text)
            .ok_or_else(|| format!("must be one of {}", CATEGORIES.join(", ")))
    });
    let whatsapp_content = read_content(&mut fields);
    let fallback_after = read_fallback(&mut fields);
    // A template is WhatsApp's; the text is for both.
    let mut content = whatsapp_content.clone();
    if content.content_sid.take().is_some() && content.body.is_none() && content.media_url.is_empty() {
        fields.fault("message", "must be given: it is what goes out as SMS");
    }
    content.content_variables = None;
    fields.finish()?;
    let mut seen = HashSet::new();
    let notify = Notify {
        user_ids: user_ids.into_iter().filter(|user| seen.insert(user.clone())).collect(),
        content,
        whatsapp_content,
        category: category.copied().unwrap_or_default().to_owned(),
        fallback_after,
        seed: None,
    };
    let organization = caller.organization.clone();
    once(state.clone(), &caller, "notify", key, fingerprint, async move |seed| {
        let notify = Notify { seed, ..notify };
        let notified = state.app.outgoing.of(&organization).notify(&notify).await?;
        let queued: usize = notified.iter().map(|user| user.queued.len()).sum();
        tracing::info!(%organization, users = notified.len(), queued, category = notify.category, "users notified");
        let results = Results { results: notified.into_iter().map(OfUser::from).collect() };
        Ok(Outcome::new(StatusCode::ACCEPTED, &results))
    })
    .await
}

/// `{"channel": "sms", "after_s": 120}`.
fn read_fallback(fields: &mut Fields) -> Option<Duration> {
    let mut fallback = fields.take_object("fallback")?;
    fallback.require("channel", |text| match text {
        "sms" => Ok(()),
        _ => Err("must be sms"),
    });
    let after_s = fallback.take_number("after_s", 1..=FALLBACK_S_MAX);
    if after_s.is_none() {
        fallback.fault("after_s", "must be given");
    }
    fields.add_faults_of("fallback", fallback);
    after_s.map(|seconds| Duration::from_secs(seconds.into()))
}

impl From<Notified> for OfUser {
    fn from(notified: Notified) -> Self {
        let queued =
            notified.queued.into_iter().map(|(channel, id, fallback)| Queued { channel, id, fallback });
        let skipped = notified.skipped.into_iter().map(|(channel, reason)| {
            let (code, detail) = match reason {
                Skipped::NoPhoneNumber => {
                    ("no_phone_number", "the user has no phone number in the preferences")
                }
                Skipped::ChannelDisabled => ("channel_disabled", "the user has not turned this channel on"),
                Skipped::OptedOut(OptedOut::ByPerson) => {
                    (Code::RecipientOptedOut.as_str(), "the person has opted out of this channel")
                }
                Skipped::OptedOut(OptedOut::ByTwilio) => {
                    (Code::RecipientOptedOut.as_str(), "Twilio blocks messages until the person texts START")
                }
                Skipped::NoSender => ("no_sender", "no sender is configured for this channel"),
            };
            NotSent { channel, code, detail }
        });
        Self { user_id: notified.user_id, queued: queued.collect(), skipped: skipped.collect() }
    }
}
